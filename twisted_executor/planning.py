"""Which waiting request gets which idle container, what is retired and what is made: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from twisted_executor.boundaries import Tenant


class Idle(Protocol):
    """An idle container.

    `tenant` is None while nobody has used it, `rested` the time at which it became idle.
    """

    image: str
    tenant: Tenant | None
    rested: float


class Waiting(Protocol):
    """A request that waits; `arrived` is a time."""

    image: str
    tenant: Tenant
    arrived: float


# After so many seconds of rest a container has its whole CPU quota again (the engine's default cpu.cfs_period_us).
QUOTA_PERIOD = 0.1

I = TypeVar("I", bound=Idle)  # noqa: E741
W = TypeVar("W", bound=Waiting)


@dataclass(slots=True)
class Plan(Generic[I, W]):
    """What to do now, in this order."""

    assign: list[tuple[W, I]] = field(default_factory=list)
    retire: list[I] = field(default_factory=list)
    create: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many containers there may be.

    @ivar size: at most so many, busy, idle and being made.
    @ivar standing: the image that fills all places that nobody asks for; None: they stay empty.
    @ivar patience: seconds after which an older request of another tenant comes before a younger one that could use
        the container.  It bounds how long a busy tenant can keep all containers; about one creation.
    """

    size: int
    standing: str | None
    patience: float = 0.25


def plan(
    idle: Iterable[I], waiting: Iterable[W], busy: int, creating: Mapping[str, int], capacity: Capacity, now: float
) -> Plan[I, W]:
    """Decide.

    A request takes an idle container of its own tenant that has rested for a quota period, else one that nobody has
    used, else any of its own; of several the one that has rested longest.  For one that finds none a container is
    made; where there is no room for it, the idle container that has rested longest gives way.

    @param waiting: the requests in the order in which they are served.
    @param creating: how many containers of each image are being made.
    """
    result: Plan[I, W] = Plan()
    free = sorted(idle, key=lambda slot: slot.rested)
    coming = Counter(creating)
    room = capacity.size - len(free) - busy - coming.total()
    stuck: list[W] = []

    def give_way(slot: I) -> None:
        free.remove(slot)
        result.retire.append(slot)
        result.create.append(stuck.pop(0).image)

    for waiter in waiting:
        if not free and room <= 0 and not coming.total():
            break  # nothing is left for those who came later
        slot = _usable(free, waiter, now)
        while slot is not None and slot.tenant is not None and _overdue(stuck, now - capacity.patience):
            give_way(free[0])
            slot = _usable(free, waiter, now)
        if slot is not None:
            free.remove(slot)
            result.assign.append((waiter, slot))
        elif coming[waiter.image] > 0:
            coming[waiter.image] -= 1
        elif room > 0:
            room -= 1
            result.create.append(waiter.image)
        else:
            stuck.append(waiter)
    while stuck and free:
        give_way(free[0])
    if capacity.standing is not None:
        result.create.extend([capacity.standing] * room)
    return result


def _usable(free: list[I], waiter: Waiting, now: float) -> I | None:
    of_image = [slot for slot in free if slot.image == waiter.image]
    own = next((slot for slot in of_image if slot.tenant == waiter.tenant), None)
    if own is not None and own.rested <= now - QUOTA_PERIOD:
        return own
    return next((slot for slot in of_image if slot.tenant is None), own)


def _overdue(stuck: list[W], before: float) -> bool:
    return bool(stuck) and stuck[0].arrived <= before
