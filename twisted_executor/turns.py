"""Whose turn it is in a line: API keys take turns, and in each key its tenants.  Pure.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): who joins gets a number above the last of its own group and above
the number that is served; lower numbers come first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from operator import attrgetter
from typing import Protocol, TypeVar

from twisted_executor.boundaries import Tenant


class Turn(Protocol):
    """One that waits, with its numbers among all keys and among the tenants of its own."""

    tenant: Tenant
    key_turn: int
    tenant_turn: int


W = TypeVar("W", bound=Turn)


class _Numbers:
    """Numbers for groups."""

    def __init__(self) -> None:
        self._served = 0
        self._last: dict[Hashable, int] = {}

    def draw(self, group: Hashable) -> int:
        number = self._last[group] = max(self._served, self._last.get(group, 0)) + 1
        return number

    def serve(self, number: int) -> None:
        self._served = max(self._served, number)
        if len(self._last) > 100:  # tenants are named by clients
            self._last = {group: last for group, last in self._last.items() if last > self._served}


class Turns:
    """Gives each who joins its numbers."""

    def __init__(self) -> None:
        self._keys = _Numbers()
        self._tenants: defaultdict[str, _Numbers] = defaultdict(_Numbers)

    def draw(self, tenant: Tenant) -> tuple[int, int]:
        """The numbers of a request that joins: its key's and its tenant's."""
        return self._keys.draw(tenant.key), self._tenants[tenant.key].draw(tenant.name)

    def serve(self, waiter: W, waiting: Iterable[W]) -> None:
        """Its turn has come.  It takes its key's first number from whoever of `waiting` has that, for its own."""
        own = (other for other in waiting if other.tenant.key == waiter.tenant.key)
        first = min(own, key=attrgetter("key_turn"))
        first.key_turn, waiter.key_turn = waiter.key_turn, first.key_turn
        self._keys.serve(waiter.key_turn)
        self._tenants[waiter.tenant.key].serve(waiter.tenant_turn)


def in_turns(waiting: Iterable[W]) -> list[W]:
    """The order in which they are served, of requests in the order of their arrival."""
    line = list(waiting)
    if len({waiter.tenant for waiter in line}) < 2:
        return line
    places = sorted(line, key=attrgetter("key_turn"))
    own: defaultdict[str, list[W]] = defaultdict(list)
    for waiter in sorted(line, key=attrgetter("tenant_turn")):
        own[waiter.tenant.key].append(waiter)
    # A key's places are its tenants' in their own order.
    orders = {key: iter(waiters) for key, waiters in own.items()}
    return [next(orders[place.tenant.key]) for place in places]
