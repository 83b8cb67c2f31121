"""What is watched of a pool: waits, refusals, holds, and the end of the memory."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from twisted_executor.boundaries import Demand, ExecutorStats, IExecutor, ILease, IPool, Job, Tenant
from twisted_executor.demand import FRESH, Creations, Journal, WatchedExecutor, WatchedPool
from twisted_executor.errors import Draining, EngineUnavailable, ExecutorError, Overloaded
from twisted_executor.planning import Capacity
from twisted_executor.pool import PoolPolicy, WarmPool
from twisted_executor.sizing import MINUTE, MINUTES, MOST
from twisted_executor.testing import HELLO, MemoryExecutor, MemorySource

IMAGE = "img"
A = Tenant("", "a")
JOB = Job(b"x", 1.0, "r")


class Watched:
    """A pool of one container, a line of one, and what is seen of it."""

    def __init__(self, size: int = 1) -> None:
        self.clock = Clock()
        self.source = MemorySource()
        self.inner = WarmPool(
            self.source, PoolPolicy(IMAGE, Capacity(size, IMAGE), 1, 30.0, 100, 3600.0), self.clock, lambda: 0.5
        )
        self.inner.startService()
        self.creations = Creations()
        self.pool = WatchedPool(self.inner, self.creations, self.clock)

    def take(self, tenant: Tenant = A) -> Deferred[ILease]:
        return self.pool.take(IMAGE, tenant)

    def leased(self, tenant: Tenant = A) -> Any:
        """A lease that is there at once."""
        found: list[Any] = []
        self.take(tenant).addCallback(found.append)
        return found[0]

    @property
    def demand(self) -> Demand:
        found = self.pool.stats().demand
        assert found is not None
        return found

    @property
    def waits(self) -> tuple[int, float, float, float]:
        found = self.demand
        return found.requests, found.waited_share, found.average_wait, found.longest_wait


def test_interfaces() -> None:
    """They provide what the executor, and those above it, ask of the real ones."""
    watched = Watched()
    assert verifyObject(IPool, watched.pool)
    assert verifyObject(ILease, watched.leased())
    assert verifyObject(IExecutor, WatchedExecutor(MemoryExecutor(), [], watched.clock))


def test_passes_on() -> None:
    """What the pool says is said, and its figures stay what they are."""
    watched = Watched()
    assert watched.pool.holds(IMAGE)
    lease = watched.leased()
    assert lease.sandbox is watched.source.made[0]
    assert lease.warm is False
    watched.take()
    with pytest.raises(Overloaded):
        watched.pool.check_room()
    stats = watched.pool.stats()
    assert (stats.busy, stats.waiting, stats.image) == (1, 1, IMAGE)


def test_at_once() -> None:
    """Who gets a container at once has not waited."""
    watched = Watched()
    watched.leased()
    assert watched.waits == (1, 0.0, 0.0, 0.0)


def test_waited() -> None:
    """Who waits is counted at once, and how long it was when it is over."""
    watched = Watched()
    lease = watched.leased()
    watched.take()
    assert watched.waits == (2, 0.5, 0.0, 0.0)
    watched.clock.advance(3.0)
    lease.release()
    assert watched.waits == (2, 0.5, 3.0, 3.0)


def test_refused() -> None:
    """Who is refused for load wanted a container; no wait is made up for it."""
    watched = Watched()
    watched.leased()
    watched.take()
    watched.take().addErrback(lambda failure: failure.trap(Overloaded))
    assert watched.waits == (3, pytest.approx(2 / 3), 0.0, 0.0)


def test_too_late() -> None:
    """Who waited in vain has waited."""
    watched = Watched()
    watched.leased()
    watched.take().addErrback(lambda failure: failure.trap(Overloaded))
    watched.clock.advance(30.0)
    assert watched.waits == (2, 0.5, 30.0, 30.0)


def test_gave_up() -> None:
    """A client that leaves has waited, and leaves the line of the real pool."""
    watched = Watched()
    watched.leased()
    waiting = watched.take().addErrback(lambda _: None)
    watched.clock.advance(2.0)
    waiting.cancel()
    assert watched.inner.stats().waiting == 0
    assert watched.waits == (2, 0.5, 2.0, 2.0)


def test_engine_down() -> None:
    """Requests that no pool could serve, at once or after a wait, say nothing of the size."""
    watched = Watched()
    lease = watched.leased()
    watched.source.hold = True
    lost: list[Any] = []
    watched.take().addErrback(lost.append)
    lease.sandbox.die()
    lease.release()
    watched.source.fail(EngineUnavailable("There is no engine."))
    assert lost[0].check(EngineUnavailable)
    watched.take().addErrback(lambda failure: failure.trap(ExecutorError))
    assert watched.waits == (1, 0.0, 0.0, 0.0)


def test_draining() -> None:
    """Nor do those that come to a pool that has stopped."""
    watched = Watched()
    watched.inner.stopService()
    watched.take().addErrback(lambda failure: failure.trap(Draining))
    assert watched.demand.requests == 0


def test_hold() -> None:
    """A container is held until it could serve the next: the wipe is part of it."""
    watched = Watched()
    lease = watched.leased()
    lease.sandbox.run(JOB)
    watched.clock.advance(1.0)
    lease.sandbox.finish(HELLO)
    lease.release()
    watched.clock.advance(0.5)
    lease.sandbox.settle(None)
    minute = watched.pool.journal.minute(watched.clock.seconds())
    assert (minute.holds, minute.held) == (1, 1.5)


def test_hold_of_one_that_is_lent_on() -> None:
    """When the next run begins before release has returned, the hold of the first is its own."""
    watched = Watched()
    first = watched.leased()
    watched.take().addCallback(lambda lease: lease.sandbox.run(JOB))
    watched.clock.advance(1.0)
    first.release()
    watched.clock.advance(5.0)
    minute = watched.pool.journal.minute(watched.clock.seconds())
    assert (minute.holds, minute.held) == (1, 1.0)


def test_released_twice() -> None:
    """It is the error that it was, and counted once."""
    watched = Watched()
    lease = watched.leased()
    lease.release()
    with pytest.raises(RuntimeError):
        lease.release()
    assert watched.pool.journal.minute(0.0).holds == 1


def test_replacing() -> None:
    """What containers take to be made is part of what runs take, where runs use them up."""
    watched = Watched()
    watched.creations.made(3.0)
    for unfit in (None, "timeout", None, None):
        lease = watched.leased()
        lease.sandbox.run(JOB)
        lease.sandbox.finish(HELLO)
        lease.release()
        lease.sandbox.settle(unfit)
    assert watched.pool.stats().retired == {"timeout": 1}
    assert watched.pool.journal.replacing == 0.75


def test_creations() -> None:
    """The mean follows what is new."""
    creations = Creations()
    assert creations.mean == 0.0
    creations.made(1.0)
    creations.made(2.0)
    assert creations.mean == 1.5
    for _ in range(200):
        creations.made(5.0)
    assert creations.mean == pytest.approx(5.0, abs=0.01)


def test_forgets() -> None:
    """After a quarter of an hour it is as if nothing had been; the window says what is remembered."""
    watched = Watched()
    watched.leased().release()
    for minute in range(MINUTES):
        assert watched.demand.requests == 1
        assert watched.demand.window == minute * MINUTE
        watched.clock.advance(MINUTE)
    found = watched.demand
    assert (found.requests, found.window) == (0, (MINUTES - 1) * MINUTE)
    watched.leased()
    watched.clock.advance(FRESH)
    assert watched.demand.requests == 1


def test_looked_at_often() -> None:
    """Within a second all who ask are told the same: it is reckoned once."""
    watched = Watched(2)
    first = watched.demand
    watched.leased()
    watched.clock.advance(FRESH / 2)
    assert watched.demand is first
    watched.clock.advance(FRESH / 2)
    assert watched.demand.requests == 1


def test_replacing_holds_a_container_too() -> None:
    """A container that has to be made anew after each run is away for longer than the run."""
    present = []
    for replacing in (0.0, 5.0):
        journal = Journal(0.0)
        journal.held(0.0, 1.0)
        journal.replacing = replacing
        journal.asked(10.0, A)
        present.append(dict(journal.asked(13.0, A).present))
    assert present == [{0: 2}, {0: 1, 1: 1}]


def test_bounded() -> None:
    """Thousands of requests of as many tenants, whose containers are held for ever, take no more memory."""
    journal = Journal(0.0)
    for number in range(5000):
        journal.asked(number / 50, Tenant("", str(number)))
    journal.asked(1000.0, None)
    minute = journal.minute(1000.0)
    assert len(journal._arrivals) <= MOST
    assert len(journal._recent) == MOST
    assert sum(len(found.present) + len(found.apart) for found in journal._minutes) <= MINUTES * 2 * (MOST + 1)
    assert minute.requests == 1


def refusing(*requests: int) -> tuple[WatchedExecutor, list[Journal]]:
    """An executor that has no room, and pools that so many came for."""
    executor = MemoryExecutor()
    executor.refuses = Overloaded("All is full.")
    journals = [Journal(0.0) for _ in requests]
    for journal, count in zip(journals, requests, strict=True):
        for _ in range(count):
            journal.asked(0.0, A)
    return WatchedExecutor(executor, journals, Clock()), journals


@pytest.mark.parametrize(
    ("requests", "refused"), [((0,), (100,)), ((10,), (100,)), ((75, 25), (75, 25)), ((0, 0), (50, 50))]
)
def test_refused_at_the_gate(requests: tuple[int, ...], refused: tuple[int, ...]) -> None:
    """Who is refused unread is counted once, for the pools as they were asked for."""
    executor, journals = refusing(*requests)
    for _ in range(100):
        with pytest.raises(Overloaded):
            executor.check_room()
    found = [journal.demand(0.0, 1).requests - before for journal, before in zip(journals, requests, strict=True)]
    assert found == [pytest.approx(count, abs=1) for count in refused]
    assert sum(found) == pytest.approx(100, abs=1)


def test_other_refusals_at_the_gate() -> None:
    """A server that stops is not too small."""
    executor, (journal,) = refusing(0)
    executor._executor.refuses = Draining("The server is stopping.")
    with pytest.raises(Draining):
        executor.check_room()
    assert journal.demand(0.0, 1).requests == 0


def test_executor_passes_on() -> None:
    """All else is the executor's."""
    inner = MemoryExecutor(HELLO)
    executor = WatchedExecutor(inner, [], Clock())
    executor.check_room()
    assert executor.stats() == ExecutorStats((), 0, 0, False)
