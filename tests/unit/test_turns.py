"""Whose turn it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_executor.boundaries import Tenant
from twisted_executor.turns import Turns, in_turns


@dataclass
class Request:
    """One that waits."""

    number: int
    tenant: Tenant
    key_turn: int
    tenant_turn: int


class Line:
    """Requests that join and are served one by one; a tenant is "key" or "key/name"."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.waiting: list[Request] = []
        self.joined = 0

    def join(self, *names: str) -> None:
        for name in names:
            key, _, tenant = name.partition("/")
            self.waiting.append(Request(self.joined, Tenant(key, tenant), *self.turns.draw(Tenant(key, tenant))))
            self.joined += 1

    def serve(self) -> Request:
        next_one = in_turns(self.waiting)[0]
        self.turns.serve(next_one, self.waiting)
        self.waiting.remove(next_one)
        return next_one

    def serve_all(self) -> list[int]:
        return [self.serve().number for _ in range(len(self.waiting))]


@pytest.fixture
def line() -> Line:
    return Line()


def test_one_tenant(line: Line) -> None:
    """The oldest first, where there is one tenant."""
    line.join("a", "a", "a")
    assert line.serve_all() == [0, 1, 2]


def test_keys_take_turns(line: Line) -> None:
    """Who sends many does not keep others waiting, and each turn is remembered."""
    line.join("a", "a", "a", "b", "c", "b")
    assert line.serve_all() == [0, 3, 4, 1, 5, 2]


def test_who_comes_later(line: Line) -> None:
    """Who comes while another waits with many is served next but one; who was served long ago has no credit for it."""
    line.join("a", "b")
    line.serve_all()
    line.join(*"aaaaa")
    assert line.serve().number == 2
    line.join("b", "b")
    assert line.serve_all() == [3, 7, 4, 8, 5, 6]


def test_many_tenants_of_one_key(line: Line) -> None:
    """A key gets no more turns by naming many tenants; those share what it has."""
    line.join("a/1", "a/1", "a/2", "a/3", "b")
    assert line.serve_all() == [0, 4, 2, 3, 1]


def test_nothing_is_kept(line: Line) -> None:
    """Tenants that clients invent cost nothing when they are gone."""
    for number in range(1000):
        line.join(f"a/{number}")
        line.serve()
    assert len(line.turns._tenants["a"]._last) <= 101


@given(st.lists(st.sampled_from(["a", "a/1", "b", "b/1", "b/2", "c", "serve"]), max_size=60))
def test_fair(events: list[str]) -> None:
    """Everybody is served once, each tenant in its order; while two keys wait neither gets two turns more."""
    line = Line()
    ahead: Counter[tuple[str, str]] = Counter()  # turns of the first key while the second has waited
    order: list[Request] = []
    for event in [*events, *["serve"] * len(events)]:
        if event != "serve":
            line.join(event)
        elif line.waiting:
            served = line.serve()
            order.append(served)
            waiting = {request.tenant.key for request in line.waiting}
            for other in "abc":
                ahead[served.tenant.key, other] = (ahead[served.tenant.key, other] + 1) * (other in waiting)
                ahead[other, served.tenant.key] = 0
                assert ahead[served.tenant.key, other] <= 2 or other == served.tenant.key
    assert sorted(request.number for request in order) == list(range(line.joined))
    for tenant in {request.tenant for request in order}:
        own = [request.number for request in order if request.tenant == tenant]
        assert own == sorted(own)
