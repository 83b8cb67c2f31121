"""The server's own check: when it runs, what it makes of what it sees, and that it is missed by nobody."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from twisted_executor.boundaries import CanaryStats, ISpares, Outcome, Status, Tenant
from twisted_executor.canary import LIMIT, NO_SHELL, RETRY, SCRIPT, Canary
from twisted_executor.planning import Capacity
from twisted_executor.pool import PoolPolicy, WarmPool
from twisted_executor.services import Supervised
from twisted_executor.testing import HELLO, MemorySource

INTERVAL = 60.0
TIMEOUT = replace(HELLO, status=Status.TIMEOUT, exit_code=137, error="The script ran longer than its limit.")
NO_SUCH_SHELL = replace(HELLO, status=Status.NONZERO_EXIT, exit_code=127, error="The image has no /bin/sh.")
OTHER_EXIT = replace(HELLO, status=Status.NONZERO_EXIT, exit_code=1, error="The script exited with code 1.")


class Watched:
    """Pools of these sizes, and their canary."""

    def __init__(self, *sizes: int, max_uses: int = 1000, interval: float = INTERVAL, held: bool = False) -> None:
        self.clock = Clock()
        self.answers: dict[bytes, Outcome] = {b"": HELLO} if held else {SCRIPT: HELLO}
        self.sources = [MemorySource(answers=self.answers) for _ in sizes]
        self.pools = [
            WarmPool(
                source,
                PoolPolicy(f"image-{number}", Capacity(size, f"image-{number}"), 9, 30.0, max_uses, 1e6),
                self.clock,
                lambda: 0.0,
            )
            for number, (source, size) in enumerate(zip(self.sources, sizes, strict=True))
        ]
        for pool in self.pools:
            pool.startService()
        self.stopping = False
        named = [(pool.stats().image, pool) for pool in self.pools]
        self.good = 0
        self.canary = Canary(named, lambda: self.stopping, lambda _: self.good, self.clock, interval)
        self.service = Supervised("canary", self.canary.watch, self.clock)
        self.service.startService()

    @property
    def first(self) -> CanaryStats:
        return self.canary.figures()[0]

    def take(self, count: int = 1, number: int = 0, tenant: Tenant = Tenant()) -> list[Any]:  # noqa: B008
        """Borrow, as requests do."""
        leases: list[Any] = []
        for _ in range(count):
            self.pools[number].take("", tenant).addCallback(leases.append)
        return leases

    def running(self, number: int = 0) -> Any:
        """The container in which the canary's script runs."""
        (found,) = [sandbox for sandbox in self.sources[number].made if sandbox.running]
        return found


def test_well() -> None:
    """At once and then rarely an empty script runs in each pool."""
    watched = Watched(2, 2)
    watched.clock.advance(INTERVAL - 1)
    assert [figures.runs for figures in watched.canary.figures()] == [{"ok": 1}] * 2
    watched.clock.advance(1)
    assert [figures.runs for figures in watched.canary.figures()] == [{"ok": 2}] * 2
    assert (watched.first.image, watched.first.result, watched.first.problem) == ("image-0", "ok", None)
    jobs = [job for sandbox in watched.sources[0].made for job in sandbox.jobs]
    assert [(job.script, job.timeout) for job in jobs] == [(b"exit 0", LIMIT)] * 2


def test_no_execution() -> None:
    """It is in nobody's figures, and the container stays as free for everybody as it was."""
    watched = Watched(2)
    watched.clock.advance(INTERVAL)
    stats = watched.pools[0].stats()
    assert (stats.executions, stats.idle, stats.busy, stats.created) == (0, 2, 0, 2)
    leases = [watched.take(tenant=Tenant("", name)) for name in "ab"]
    assert all(leases)
    assert watched.pools[0].stats().created == 2


def test_own_tenant() -> None:
    """A tenant's container is still the tenant's after it."""
    watched = Watched(2)
    mine = Tenant("", "a")
    leases = watched.take(2, tenant=mine)
    for lease in leases:
        lease.release()
    watched.clock.advance(INTERVAL)
    assert watched.first.runs["ok"] == 2
    assert {one.sandbox for one in watched.take(2, tenant=mine)} == {lease.sandbox for lease in leases}


def test_counts_as_a_use() -> None:
    """A container serves no more runs than it may, the canary's among them."""
    watched = Watched(2, max_uses=1)
    assert watched.first.runs == {"ok": 1}
    assert watched.pools[0].stats().retired == {"used_up": 1}
    assert watched.pools[0].stats().idle == 2


def test_last_one_is_not_used_up() -> None:
    """However much it is in doubt, it does not cost a request its container."""
    watched = Watched(2, max_uses=1)
    watched.answers[SCRIPT] = TIMEOUT
    watched.clock.advance(INTERVAL)
    watched.sources[0].hold = True
    watched.take()
    assert watched.pools[0].stats().idle == 1
    watched.clock.advance(RETRY)
    assert watched.first.runs == {"ok": 1, "failed": 1, "skipped": 1}


@pytest.mark.parametrize(
    ("size", "taken", "expected"),
    [(1, 0, "skipped"), (1, 1, "skipped"), (3, 1, "ok"), (3, 2, "skipped"), (3, 3, "skipped")],
)
def test_leaves_the_last(size: int, taken: int, expected: str) -> None:
    """It takes no container that a request could miss."""
    watched = Watched(size)
    watched.take(taken)
    before = watched.first.runs.get(expected, 0)
    watched.clock.advance(INTERVAL)
    assert watched.first.runs[expected] > before


def test_nobody_waits() -> None:
    """Where somebody waits, for a container of another tenant for one, nothing is to spare."""
    watched = Watched(2)
    for source in watched.sources:
        source.hold = True
    for name in "ab":
        watched.take(tenant=Tenant("", name))[0].release()
    waiting = watched.take(tenant=Tenant("", "c"))
    assert not waiting
    assert watched.pools[0].spare(last=True) is None


def test_stopping() -> None:
    """A server that stops has other things to do."""
    watched = Watched(2)
    watched.stopping = True
    watched.clock.advance(INTERVAL)
    assert watched.first.runs == {"ok": 1, "skipped": 1}


def test_stopped_in_the_middle() -> None:
    """The end of the service ends the run; the container is free again, and nothing is told of it."""
    watched = Watched(2, held=True)
    assert watched.pools[0].stats().busy == 1
    stopped: list[Any] = []
    Deferred.addCallback(watched.service.stopService(), stopped.append)
    assert stopped
    assert watched.pools[0].stats().idle == 2
    assert watched.first.runs == {}


@pytest.mark.parametrize("code", NO_SHELL)
def test_no_shell(code: int) -> None:
    """An image without a shell is no fault of the server's."""
    watched = Watched(2)
    watched.answers[SCRIPT] = replace(NO_SUCH_SHELL, exit_code=code)
    watched.clock.advance(INTERVAL)
    assert watched.first.runs == {"ok": 2}


@pytest.mark.parametrize("outcome", [TIMEOUT, OTHER_EXIT])
def test_failed(outcome: Outcome) -> None:
    """It is told in words what went wrong, where, and what to look at."""
    watched = Watched(2)
    watched.answers[SCRIPT] = outcome
    watched.clock.advance(INTERVAL)
    figures = watched.first
    assert (figures.result, figures.runs) == ("failed", {"ok": 1, "failed": 1})
    assert figures.problem is not None
    assert "image-0" in figures.problem
    assert str(outcome.error) in figures.problem
    watched.clock.advance(2)
    assert (watched.first.age, watched.first.since_ok) == (2.0, INTERVAL + 2)


def test_recovers() -> None:
    """After a failure it is tried again soon, and one good run makes all well."""
    watched = Watched(2)
    watched.answers[SCRIPT] = TIMEOUT
    watched.clock.advance(INTERVAL)
    watched.answers[SCRIPT] = HELLO
    watched.clock.advance(RETRY)
    assert (watched.first.result, watched.first.problem) == ("ok", None)
    watched.clock.advance(RETRY)
    assert watched.first.runs == {"ok": 2, "failed": 1}


def test_recovers_with_the_last_container() -> None:
    """What matters is whether scripts run: while that is in doubt it takes the last idle one too."""
    watched = Watched(2)
    watched.answers[SCRIPT] = TIMEOUT
    watched.clock.advance(INTERVAL)
    watched.answers[SCRIPT] = HELLO
    watched.take()
    watched.clock.advance(RETRY)
    assert watched.first.result == "ok"


def test_recovers_by_the_runs_of_others() -> None:
    """Where nothing is to spare, a script that ends well since then shows as much; one before it does not."""
    watched = Watched(2)
    watched.good = 7
    watched.answers[SCRIPT] = TIMEOUT
    watched.clock.advance(INTERVAL)
    watched.take(2)
    watched.clock.advance(RETRY)
    assert watched.first.result == "failed"
    watched.good = 8
    watched.clock.advance(RETRY)
    assert (watched.first.result, watched.first.problem, watched.first.since_ok) == ("ok", None, 0.0)
    assert watched.first.runs == {"ok": 1, "failed": 1, "skipped": 2}


def test_lost() -> None:
    """A container that dies under it is a failure, and is replaced."""
    watched = Watched(2, held=True)
    watched.running().die("Somebody removed it.")
    assert watched.first.result == "failed"
    assert "Somebody removed it." in str(watched.first.problem)
    assert watched.pools[0].stats().idle == 2
    watched.answers[SCRIPT] = HELLO
    watched.clock.advance(RETRY)
    assert watched.first.result == "ok"


def test_dead_already() -> None:
    """So is one that turns out to be of no use when it is borrowed."""
    watched = Watched(2, interval=1.0)
    watched.sources[0].made[1].run = lambda job: 1 / 0  # type: ignore[assignment, method-assign]
    watched.clock.advance(1.0)
    assert (watched.first.result, watched.pools[0].stats().busy) == ("failed", 0)
    watched.clock.advance(1.0)
    assert watched.first.result == "ok"


def test_takes_its_time() -> None:
    """How long it took is told; while one runs there is no second."""
    watched = Watched(2, held=True)
    watched.clock.advance(3.0)
    assert watched.first.runs == {}
    watched.running().finish(HELLO)
    assert (watched.first.result, watched.first.seconds) == ("ok", 3.0)


def test_skips_until_there_is_one() -> None:
    """A pool that is empty at first is looked at again soon, not after the interval."""
    watched = Watched(2)
    leases = watched.take(2)
    watched.answers.clear()
    canary = Canary([("image-0", watched.pools[0])], lambda: False, lambda _: 0, watched.clock, INTERVAL)
    Deferred.fromCoroutine(canary.watch())
    assert canary.figures()[0] == CanaryStats("image-0", None, None, 0.0, 0.0, None, {"skipped": 1})
    for lease in leases:
        lease.release()
    watched.answers[SCRIPT] = HELLO
    watched.clock.advance(RETRY)
    assert canary.figures()[0].runs == {"skipped": 1, "ok": 1}


def test_one_pool_does_not_hide_another() -> None:
    """Each pool has its own result."""
    watched = Watched(2, 2)
    for sandbox in watched.sources[1].made:
        sandbox._answers = {SCRIPT: TIMEOUT}
    watched.clock.advance(INTERVAL)
    assert [figures.result for figures in watched.canary.figures()] == ["ok", "failed"]


class CanaryMachine(RuleBasedStateMachine):
    """Requests, deaths, hangs and time in any order: containers are never missing, and it always recovers."""

    def __init__(self) -> None:
        super().__init__()
        self.watched = Watched(2, held=True)
        self.leases: list[Any] = []

    @rule()
    def request(self) -> None:
        self.watched.pools[0].take("", Tenant()).addCallbacks(self.leases.append, lambda _: None)

    @rule()
    def give_back(self) -> None:
        if self.leases:
            self.leases.pop(0).release()

    @rule(outcome=st.sampled_from([HELLO, TIMEOUT, NO_SUCH_SHELL, OTHER_EXIT]), unfit=st.sampled_from([None, "dirty"]))
    def finish(self, outcome: Outcome, unfit: str | None) -> None:
        for sandbox in self.of_canary():
            sandbox.finish(outcome)
            sandbox.settle(unfit)

    @rule(number=st.integers(0, 1))
    def die(self, number: int) -> None:
        alive = self.watched.sources[0].alive
        if number < len(alive):
            alive[number].die()

    @rule(stopping=st.booleans())
    def stop(self, stopping: bool) -> None:
        self.watched.stopping = stopping

    @rule(seconds=st.sampled_from([0.5, RETRY, INTERVAL]))
    def wait(self, seconds: float) -> None:
        self.watched.clock.advance(seconds)

    def of_canary(self) -> list[Any]:
        return [sandbox for sandbox in self.watched.sources[0].made if sandbox.running]

    @invariant()
    def one_at_a_time(self) -> None:
        assert len(self.of_canary()) <= 1

    @invariant()
    def nothing_is_lost(self) -> None:
        stats = self.watched.pools[0].stats()
        assert stats.idle + stats.busy + stats.creating >= 2
        assert stats.busy <= len(self.leases) + len(self.of_canary())

    @invariant()
    def problem_is_the_last_result(self) -> None:
        figures = self.watched.first
        assert (figures.problem is not None) == (figures.result == "failed")

    def teardown(self) -> None:
        """Whatever was: with a good container and a little time all is well."""
        self.watched.stopping = False
        while self.leases:
            self.leases.pop().release()
        self.finish(HELLO, None)
        for _ in range(3):
            self.watched.clock.advance(INTERVAL)
            self.finish(HELLO, None)
        assert self.watched.first.result == "ok"


CanaryMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestCanaryMachine = CanaryMachine.TestCase


def test_interface() -> None:
    """A pool provides what the canary asks of it."""
    from zope.interface.verify import verifyObject

    assert verifyObject(ISpares, Watched(1).pools[0])
