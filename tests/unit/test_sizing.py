"""The rule for the size of a pool: its formula, and its promise kept by the real pool."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.pool_simulation import Request, Simulation, bursts, poisson
from twisted_executor.sizing import MOST, PROMISE, Minute, covering, demand, erlang_c, servers_for

# Of thousands of requests, some of which wait for the same reason, the share varies by a hundredth or so.
TOLERANCE = 0.02


def exponential(mean: float) -> Callable[[random.Random], float]:
    return lambda chance: chance.expovariate(1 / mean)


def fixed(seconds: float) -> Callable[[random.Random], float]:
    return lambda _: seconds


@pytest.mark.parametrize(
    ("servers", "load", "expected"),
    [
        (1, 0.3, 0.3),  # M/M/1: the load itself
        (2, 1.0, 1 / 3),
        (3, 2.0, 4 / 9),
        (10, 8.0, 0.40918),
        (20, 15.0, 0.16043),
        (5, 0.0, 0.0),
        (4, 4.0, 1.0),
        (4, 9.0, 1.0),
    ],
)
def test_known_values(servers: int, load: float, expected: float) -> None:
    """Erlang's formula, by the tables."""
    assert erlang_c(servers, load) == pytest.approx(expected, abs=1e-5)


loads = st.floats(0.0, 500.0)


@given(st.integers(1, 600), loads)
def test_probability(servers: int, load: float) -> None:
    """It is one, and no number is too large for it."""
    assert 0.0 <= erlang_c(servers, load) <= 1.0


@given(st.integers(1, 600), loads)
def test_more_servers(servers: int, load: float) -> None:
    """With one more server nobody waits more often."""
    assert erlang_c(servers + 1, load) <= erlang_c(servers, load) + 1e-12


@given(st.integers(1, 600), loads, loads)
def test_more_load(servers: int, one: float, other: float) -> None:
    """With more load nobody waits less often."""
    less, more = sorted((one, other))
    assert erlang_c(servers, less) <= erlang_c(servers, more) + 1e-12


@given(st.floats(0.0, 900.0))
def test_fewest(load: float) -> None:
    """The fewest that keep the promise: it holds with them, and with one less it would not."""
    found = servers_for(load)
    assert erlang_c(found, load) <= PROMISE
    assert found == 1 or erlang_c(found - 1, load) > PROMISE


def test_most() -> None:
    """No advice that POOL_SIZE could not follow."""
    assert servers_for(1e9) == MOST
    assert covering({5000: 1}) == MOST


@given(st.dictionaries(st.integers(0, 50), st.integers(1, 1000)))
def test_covering(counts: dict[int, int]) -> None:
    """All but the promised share is below it, and it is the least such number."""
    found = covering(counts)
    total = sum(counts.values())

    def above(least: int) -> float:
        return sum(count for value, count in counts.items() if value >= least)

    assert above(found) <= PROMISE * total + 1e-6
    assert found == 1 or above(found - 1) > PROMISE * total - 1e-6


def test_nothing() -> None:
    """Without requests there is nothing to tell, and no division by zero."""
    found = demand([], 3, 0.0, 0.0)
    assert (found.requests, found.waited_share, found.average_wait, found.recommended_size) == (0, 0.0, 0.0, None)
    assert demand([Minute(0)], 3, 60.0, 0.0).recommended_size is None


@pytest.mark.parametrize(("requests", "expected"), [(19, None), (20, 1)])
def test_too_few(requests: int, expected: int | None) -> None:
    """Of a handful of requests nobody can tell."""
    minute = Minute(0, requests=requests, present={0: requests}, holds=requests, held=0.01)
    assert demand([minute], 3, 60.0, 0.0).recommended_size == expected


def test_first_seconds() -> None:
    """The rate of a server that has just come is that of its seconds, not of a minute that has not passed."""
    minute = Minute(0, requests=200, holds=200, held=200.0)
    assert demand([minute], 3, 20.0, 0.0).recommended_size == servers_for(10.0)
    assert demand([minute], 3, 0.5, 0.0).recommended_size == servers_for(20.0)


def test_never_smaller_while_waiting() -> None:
    """Whatever the rule says: a pool that made many wait is not called too large."""
    minute = Minute(0, requests=100, waited=6, waits=6, waiting=3.0, longest=2.0, holds=100, held=1.0)
    found = demand([minute], 7, 60.0, 0.0)
    assert (found.waited_share, found.average_wait, found.longest_wait, found.recommended_size) == (0.06, 0.5, 2.0, 7)


# Seconds that a run needs, by its average.
HOLDS = {"exponential": exponential, "fixed": fixed}


@pytest.mark.parametrize("kind", HOLDS)
@pytest.mark.parametrize("load", [0.2, 1.0, 3.0, 8.0])
def test_promise(load: float, kind: str) -> None:
    """With the recommended size hardly anybody waits, with half of it more do; and a large pool can be smaller."""

    def traffic() -> Iterator[Request]:
        return poisson(3.0, HOLDS[kind](load / 3.0), 450.0)

    large = Simulation(30).play(traffic())
    size = large.recommended_size
    assert size is not None
    assert (large.waited_share, 2 <= size < 30) == (0.0, True)
    right, half = Simulation(size).play(traffic()), Simulation(size // 2).play(traffic())
    assert right.waited_share <= PROMISE + TOLERANCE
    assert half.waited_share > PROMISE + 2 * TOLERANCE
    assert right.recommended_size == size
    # Where many wait, fewer runs tell how long they take.
    assert half.recommended_size == pytest.approx(size, rel=0.2)


@pytest.mark.parametrize(("count", "every"), [(10, 5.0), (40, 30.0)])
@pytest.mark.parametrize("size", [2, 100])
def test_bursts(count: int, every: float, size: int) -> None:
    """What comes at once is told, by a small pool and by a large one, though there is little to do on average."""
    found = Simulation(size).play(bursts(count, every, 0.3)).recommended_size
    assert found == count * (1 - PROMISE) or found == count
    assert Simulation(found).play(bursts(count, every, 0.3)).waited_share <= PROMISE


def test_saturated() -> None:
    """A pool that cannot serve what comes, and refuses some, is told a size with which nearly nobody waits."""

    def traffic() -> Iterator[Request]:
        return poisson(4.0, exponential(2.0))

    first = Simulation(2, queue_size=10).play(traffic())
    size = first.recommended_size
    assert size is not None
    assert first.waited_share > 0.9
    assert first.requests == sum(1 for _ in traffic())
    assert Simulation(size, queue_size=10).play(traffic()).waited_share <= PROMISE


def test_fresh_containers() -> None:
    """A pool with a container for each run needs as many as are being made, too."""

    def traffic() -> Iterator[Request]:
        return poisson(4.0, fixed(0.05), 450.0)

    first = Simulation(20, max_uses=1).play(traffic())
    size = first.recommended_size
    assert size is not None
    assert size > servers_for(4.0 * 0.05)
    assert Simulation(size, max_uses=1).play(traffic()).waited_share <= PROMISE + TOLERANCE
    assert Simulation(size // 2, max_uses=1).play(traffic()).waited_share > PROMISE + 2 * TOLERANCE


@pytest.mark.parametrize("size", [3, 20])
def test_tenants(size: int) -> None:
    """Tenants that take turns need a container each, however little they do."""

    def traffic() -> Iterator[Request]:
        return poisson(3.0, fixed(0.05), seconds=600.0, tenants=8)

    found = Simulation(size).play(traffic()).recommended_size
    assert found is not None
    assert 7 <= found <= 8
    assert Simulation(found).play(traffic()).waited_share <= PROMISE + TOLERANCE
    assert Simulation(found // 2).play(traffic()).waited_share > 0.3


def test_rush_hour() -> None:
    """The busiest minute decides, until it is forgotten."""
    quiet, rush = list(poisson(0.5, fixed(0.5), 600.0)), list(poisson(20.0, fixed(0.5), 60.0))
    simulation = Simulation(30)
    sizes = [simulation.play(traffic).recommended_size for traffic in (quiet, rush, quiet, quiet)]
    assert sizes[0] in (2, 3)
    assert sizes[3] in (2, 3)
    assert sizes[1] == sizes[2] == pytest.approx(servers_for(10.0), abs=3)


def test_small_steps() -> None:
    """More traffic never asks for a smaller pool."""
    sizes = [Simulation(40).play(poisson(rate, fixed(0.5), 120.0)).recommended_size or 0 for rate in (1.0, 4.0, 16.0)]
    assert all(less < more for less, more in pairwise(sizes))
