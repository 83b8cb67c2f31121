"""The quota of each tenant, before an executor in memory."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from twisted_executor.boundaries import IExecutor, Job, Tenant
from twisted_executor.errors import Draining, Overloaded, TooManyRequests
from twisted_executor.quota import Quota, QuotaExecutor
from twisted_executor.testing import MemoryExecutor

ALICE, BOB = Tenant("alice"), Tenant("bob")


class Bench:
    """An executor with a quota, and what came of each request."""

    def __init__(self, running: int = 2, waiting: int = 2) -> None:
        self.clock = Clock()
        self.inner = MemoryExecutor()
        self.executor = QuotaExecutor(self.inner, Quota(running, waiting, 30.0), self.clock)  # type: ignore[arg-type]

    def execute(self, tenant: Tenant = ALICE) -> tuple[Deferred[Any], list[Any]]:
        """A request, and a list in which its result or its error will be."""
        came: list[Any] = []
        request = self.executor.execute(Job(b"echo hi", 5.0, "r", tenant=tenant))
        request.addCallbacks(came.append, lambda failure: came.append(failure.value))
        return request, came

    def running(self) -> list[Tenant]:
        """Whose requests the inner executor has."""
        return [job.tenant for job, _ in self.inner.waiting]


@pytest.fixture
def bench() -> Bench:
    """At most two requests of a tenant at once, two more wait."""
    return Bench()


def test_interface(bench: Bench) -> None:
    """It is an executor, and passes on what it is asked."""
    assert verifyObject(IExecutor, bench.executor)
    assert bench.executor.stats() is bench.inner.figures
    bench.inner.refuses = Overloaded("full")
    with pytest.raises(Overloaded):
        bench.executor.check_room()


def test_a_tenant_waits_for_itself(bench: Bench) -> None:
    """The third request waits until the first has ended; another tenant does not wait for it."""
    first, third = bench.execute()[1], (bench.execute(), bench.execute())[1][1]
    assert bench.running() == [ALICE, ALICE]
    bench.execute(BOB)
    assert bench.running() == [ALICE, ALICE, BOB]
    bench.inner.finish()
    assert len(first) == 1
    assert not third
    assert bench.running() == [ALICE, BOB, ALICE]


def test_time_in_the_line(bench: Bench) -> None:
    """The time that a request has waited for its turn is part of its time in queues."""
    came = [bench.execute()[1] for _ in range(3)]
    bench.clock.advance(7.0)
    for _ in came:
        bench.inner.finish()
    own = came[0][0].queue_time
    assert came[2][0].queue_time == pytest.approx(own + 7.0)


def test_too_many(bench: Bench) -> None:
    """One more than may wait is refused at once, with a sentence; the others are not touched."""
    came = [bench.execute()[1] for _ in range(5)]
    assert [len(one) for one in came] == [0, 0, 0, 0, 1]
    (error,) = came[4]
    assert isinstance(error, TooManyRequests)
    assert "2 requests of this tenant are served and 2 wait" in str(error)
    assert not bench.execute(BOB)[1]


def test_too_long(bench: Bench) -> None:
    """Who waits for longer than the timeout is told so; the next has its place in the line."""
    came = [bench.execute()[1] for _ in range(4)]
    bench.clock.advance(29.9)
    assert not came[2]
    bench.clock.advance(0.2)
    assert isinstance(came[2][0], TooManyRequests)
    assert "for 30 seconds" in str(came[2][0])
    assert not bench.execute()[1]
    assert len(bench.clock.getDelayedCalls()) == 1


def test_cancelled_in_the_line(bench: Bench) -> None:
    """A client that leaves the line is passed over."""
    requests = [bench.execute() for _ in range(4)]
    requests[2][0].cancel()
    assert isinstance(requests[2][1][0], CancelledError)
    bench.inner.finish()
    bench.inner.finish()
    assert bench.running() == [ALICE]
    assert len(requests[3][1]) == 0


def test_cancelled_run(bench: Bench) -> None:
    """A run that is cancelled leaves its place to the next."""
    requests = [bench.execute() for _ in range(3)]
    requests[0][0].cancel()
    assert len(bench.inner.cancelled) == 1
    assert bench.running() == [ALICE, ALICE]
    assert not requests[2][1]


def test_all_are_told_when_the_executor_refuses() -> None:
    """However many wait, each is told when the executor refuses all of a sudden."""
    bench = Bench(running=1, waiting=1000)
    came = [bench.execute()[1] for _ in range(1001)]
    bench.inner.refuses = Draining("The server is stopping.")
    bench.inner.finish()
    assert [len(one) for one in came] == [1] * 1001
    assert all(isinstance(one[0], Draining) for one in came[1:])


def test_nothing_is_kept(bench: Bench) -> None:
    """Tenants that have nothing under way cost nothing."""
    for number in range(100):
        bench.execute(Tenant("key", str(number)))
        bench.inner.finish()
    assert bench.executor._shares == {}
    assert bench.clock.getDelayedCalls() == []


class Machine(RuleBasedStateMachine):
    """Any sequence of requests, ends, failures, departures and time."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(running=2, waiting=3)
        self.requests: list[tuple[Tenant, Deferred[Any], list[Any]]] = []

    @rule(tenant=st.sampled_from([ALICE, BOB]))
    def ask(self, tenant: Tenant) -> None:
        self.requests.append((tenant, *self.bench.execute(tenant)))

    @precondition(lambda self: self.live())
    @rule()
    def end(self) -> None:
        self.bench.inner.finish()

    @precondition(lambda self: self.live())
    @rule()
    def fail(self) -> None:
        self.bench.inner.fail(Overloaded("lost"))

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.requests))[1].cancel()

    @rule(seconds=st.sampled_from([0.1, 10, 31]))
    def wait(self, seconds: float) -> None:
        self.bench.clock.advance(seconds)

    def live(self) -> list[Any]:
        return [job for job, _ in self.bench.inner.waiting]

    @invariant()
    def within_the_quota(self) -> None:
        """No tenant has more than it may, and none waits while it may have more."""
        for tenant in (ALICE, BOB):
            running = sum(job.tenant == tenant for job in self.live())
            unanswered = sum(one == tenant and not came for one, _, came in self.requests)
            assert running == min(unanswered, 2)
            assert unanswered <= 5

    def teardown(self) -> None:
        """At the end every request has one answer and nothing is left."""
        while self.live():
            self.end()
        assert [len(came) for _, _, came in self.requests] == [1] * len(self.requests)
        assert self.bench.executor._shares == {}
        assert self.bench.clock.getDelayedCalls() == []


Machine.TestCase.settings = settings(deadline=None, max_examples=60)
TestMachine = Machine.TestCase
