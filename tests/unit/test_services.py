"""Order, supervision, threads."""

from __future__ import annotations

import signal
import threading
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twisted_executor.services import (
    Backoff,
    OrderedMultiService,
    StopOnce,
    Supervised,
    Threads,
    ThreadsLoad,
    Watchdog,
    ended,
    periodic,
    shielded,
)


class Slow(Service):
    """Stops when the test says so."""

    def __init__(self, log: list[str], name: str) -> None:
        self.log = log
        self.stopped: Deferred[None] = Deferred()
        self.setName(name)

    def stopService(self) -> Deferred[None]:
        self.log.append(f"stop {self.name}")
        return self.stopped


class OrderTests(SynchronousTestCase):
    """OrderedMultiService."""

    def test_order(self) -> None:
        """A child is told to stop when the one added after it has stopped."""
        log: list[str] = []
        root = OrderedMultiService()
        first, second = Slow(log, "first"), Slow(log, "second")
        first.setServiceParent(root)
        second.setServiceParent(root)
        root.startService()
        stopped = root.stopService()
        self.assertEqual(log, ["stop second"])
        second.stopped.callback(None)
        self.assertEqual(log, ["stop second", "stop first"])
        self.assertNoResult(stopped)
        first.stopped.callback(None)
        self.successResultOf(stopped)

    def test_failure(self) -> None:
        """A child that fails to stop is logged and the others are stopped all the same."""
        log: list[str] = []
        root = OrderedMultiService()
        first, second = Slow(log, "first"), Slow(log, "second")
        first.setServiceParent(root)
        second.setServiceParent(root)
        stopped = root.stopService()
        second.stopped.errback(ValueError("no"))
        first.stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class SupervisedTests(SynchronousTestCase):
    """Supervised and periodic."""

    def test_again(self) -> None:
        """Work that fails is logged and started again after a pause."""
        clock = Clock()
        calls: list[float] = []

        async def work() -> None:
            calls.append(clock.seconds())
            raise ValueError("no")

        service = Supervised("work", work, clock, pause=2.0)
        service.startService()
        clock.advance(2)
        self.assertEqual(calls, [0.0, 2.0])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)
        self.successResultOf(service.stopService())
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_periodic(self) -> None:
        """Periodic work rests between its end and its next start, and a failure does not end it."""
        clock = Clock()
        calls: list[float] = []

        def work() -> Deferred[None]:
            calls.append(clock.seconds())
            return fail(ValueError("no")) if len(calls) == 2 else deferLater(clock, 1.0)

        service = Supervised("work", periodic(work, clock, 10.0), clock, pause=1.0)
        service.startService()
        clock.pump([1.0] * 24)
        self.assertEqual(calls, [0.0, 11.0, 12.0, 23.0])
        self.flushLoggedErrors(ValueError)
        self.successResultOf(service.stopService())

    def test_stop_waits(self) -> None:
        """Stopping cancels the work and fires when it has ended."""
        clock = Clock()
        cancelled: list[object] = []
        work: Deferred[None] = Deferred(cancelled.append)

        async def forever() -> None:
            await work

        service = Supervised("work", forever, clock)
        service.startService()
        self.successResultOf(service.stopService())
        self.assertEqual(cancelled, [work])


class BackoffTests(SynchronousTestCase):
    """Backoff."""

    def delays(self, backoff: Backoff, clock: Clock, count: int) -> list[float]:
        found = []
        for _ in range(count):
            backoff.failed()
            (call,) = clock.getDelayedCalls()
            found.append(call.getTime() - clock.seconds())
            clock.advance(found[-1])
        return found

    def test_grows(self) -> None:
        """Each failure in a row doubles the wait up to the most; success begins anew."""
        clock, again = Clock(), []
        backoff = Backoff(clock, lambda: 0.5, lambda: again.append(1))
        self.assertEqual([round(d, 3) for d in self.delays(backoff, clock, 7)], [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
        self.assertEqual(len(again), 7)
        backoff.succeeded()
        self.assertEqual([round(d, 3) for d in self.delays(backoff, clock, 1)], [0.2])

    def test_jitter(self) -> None:
        """The wait is from half to one and a half times as long."""
        for number, delay in ((0.0, 0.1), (0.999, 0.2998)):
            clock = Clock()
            self.assertEqual(
                [round(d, 4) for d in self.delays(Backoff(clock, lambda n=number: n, lambda: None), clock, 1)], [delay]
            )

    def test_stop(self) -> None:
        """A stopped one never calls."""
        clock, again = Clock(), []
        backoff = Backoff(clock, lambda: 0.5, lambda: again.append(1))
        backoff.failed()
        self.assertTrue(backoff.waiting)
        backoff.stop()
        clock.advance(10)
        self.assertEqual((again, backoff.waiting), ([], False))


class Reactor:
    """Runs what comes from a thread when the test says so."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.came = threading.Event()

    def callFromThread(self, call: Any, *args: Any, **kwargs: Any) -> None:
        self.calls.append((call, args, kwargs))
        self.came.set()

    def deliver(self) -> None:
        assert self.came.wait(10)
        self.came.clear()
        while self.calls:
            call, args, kwargs = self.calls.pop(0)
            call(*args, **kwargs)


class ThreadsTests(SynchronousTestCase):
    """Threads."""

    def test_call(self) -> None:
        """A call runs in another thread and answers in ours."""
        reactor = Reactor()
        threads = Threads("test", 1, reactor)  # type: ignore[arg-type]
        threads.startService()
        answer = threads.call(threading.get_ident)
        self.assertNoResult(answer)
        reactor.deliver()
        self.assertNotEqual(self.successResultOf(answer), threading.get_ident())
        threads.stopService()

    def test_load(self) -> None:
        """What threads are at and what waits for one are told, also when nobody waits for the answer any more."""
        reactor = Reactor()
        threads = Threads("test", 1, reactor)  # type: ignore[arg-type]
        threads.startService()
        self.assertEqual(threads.load(), ThreadsLoad(busy=0, waiting=0, most=1))
        entered, release, last = threading.Event(), threading.Event(), threading.Event()

        def hang() -> None:
            entered.set()
            release.wait(10)
            raise ValueError

        hung = threads.call(hang)
        begun, waits = threads.begin(last.set)
        assert entered.wait(10)
        self.assertEqual(threads.load(), ThreadsLoad(busy=1, waiting=1, most=1))
        hung.cancel()
        self.failureResultOf(hung, CancelledError)
        self.assertEqual(threads.load(), ThreadsLoad(busy=1, waiting=1, most=1))
        release.set()
        while not waits.called:
            reactor.deliver()
        self.successResultOf(begun)
        self.assertEqual(threads.load(), ThreadsLoad(busy=0, waiting=0, most=1))
        threads.stopService()

    def test_stop_with_a_hung_call(self) -> None:
        """Stopping does not wait for a call that hangs, and its thread would not keep the process alive."""
        reactor = Reactor()
        threads = Threads("test", 1, reactor)  # type: ignore[arg-type]
        threads.startService()
        entered, release = threading.Event(), threading.Event()
        found: list[threading.Thread] = []

        def hang() -> None:
            found.append(threading.current_thread())
            entered.set()
            release.wait(10)

        threads.call(hang)
        assert entered.wait(10)
        threads.stopService()
        self.assertTrue(found[0].daemon)
        self.assertTrue(found[0].is_alive())
        release.set()


class WatchdogTests(SynchronousTestCase):
    """Watchdog."""

    def test_ends(self) -> None:
        """It calls `end` when the time for a stop is over."""
        over = threading.Event()
        dog = Watchdog(0.01, over.set)
        dog.startService()
        dog.stopService()
        self.assertTrue(over.wait(10))


class EndedTests(SynchronousTestCase):
    """ended."""

    def test_result_stays(self) -> None:
        """The result passes by, success or failure."""
        good, bad = succeed(1), fail(ValueError("no"))
        self.successResultOf(ended(good))
        self.successResultOf(ended(bad))
        self.assertEqual(self.successResultOf(good), 1)
        self.failureResultOf(bad, ValueError)


class ShieldedTests(SynchronousTestCase):
    """shielded."""

    def test_result(self) -> None:
        """Success and failure come through."""
        self.assertEqual(self.successResultOf(shielded(succeed(1))), 1)
        self.failureResultOf(shielded(fail(ValueError("no"))), ValueError)

    def test_cancel(self) -> None:
        """Cancelling one's own leaves the other alone, whose late result, good or bad, is dropped."""
        for result in (1, Failure(ValueError("no"))):
            cancelled: list[object] = []
            work: Deferred[int] = Deferred(cancelled.append)
            own = shielded(work)
            own.cancel()
            self.failureResultOf(own, CancelledError)
            self.assertEqual(cancelled, [])
            work.callback(result)  # type: ignore[arg-type]


def test_stop_once() -> None:
    """While it runs signals are the reactor's; once it stops they change nothing."""
    handlers: dict[int, Any] = {}
    service = StopOnce(handlers.__setitem__)
    service.startService()
    assert handlers == {}
    service.stopService()
    assert set(handlers) == {signal.SIGINT, signal.SIGTERM}
    for number, handler in handlers.items():
        assert handler(number, None) is None
