"""What Twisted's services lack: order, supervision, and threads that end.  Knows nothing of us."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from signal import SIGINT, SIGTERM, signal
from threading import Lock, Thread, Timer
from typing import Any, TypeVar

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads, IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")


class OrderedMultiService(MultiService):
    """Stops its children one after another, the newest first.

    MultiService tells all of them at once and waits for none (twisted/application/service.py, "No service will
    wait for another").  A child that fails to stop is logged and does not keep the others from stopping.
    """

    log = Logger()

    def stopService(self) -> Deferred[None]:
        """Fires when every child has stopped."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop_each())

    async def _stop_each(self) -> None:
        for child in reversed(list(self)):
            await self._stop(child)

    async def _stop(self, child: IService) -> None:
        try:
            await maybeDeferred(child.stopService)
        except Exception:
            self.log.failure("{child} did not stop cleanly", child=child)


class Supervised(Service):
    """Runs a coroutine function for the life of the service, and again when it fails.

    @ivar work: what to run; returning ends it for good.
    """

    log = Logger()

    def __init__(
        self,
        name: str,
        work: Callable[[], Coroutine[Deferred[Any], Any, None]],
        clock: IReactorTime,
        pause: float = 1.0,
    ) -> None:
        """@param pause: seconds between a failure and the next start."""
        self.setName(name)
        self._work = work
        self._clock = clock
        self._pause = pause
        self._running: Deferred[None] | None = None

    def startService(self) -> None:
        """Start the work; what it does before its first wait is done when this returns."""
        super().startService()
        self._running = Deferred.fromCoroutine(self._supervise())

    def stopService(self) -> Deferred[None]:
        """Cancel the work; fires when it has ended."""
        super().stopService()
        running, self._running = self._running, None
        return Deferred.fromCoroutine(cancelled(running))

    async def _supervise(self) -> None:
        while self.running:
            try:
                return await self._work()
            except CancelledError:
                raise
            except Exception:
                self.log.failure("{name} failed; it starts again in {pause} seconds", name=self.name, pause=self._pause)
            await deferLater(self._clock, self._pause)


def periodic(
    work: Callable[[], Deferred[None]], clock: IReactorTime, interval: float
) -> Callable[[], Coroutine[Deferred[Any], Any, None]]:
    """What a L{Supervised} can run: work, a rest of `interval` seconds, work, and so on."""

    async def forever() -> None:
        while True:
            await work()
            await deferLater(clock, interval)

    return forever


class Backoff:
    """Waits longer after each failure in a row, with jitter."""

    first = 0.2  # seconds, halved to 1.5 times by the jitter
    most = 5.0

    def __init__(self, clock: IReactorTime, random: Callable[[], float], again: Callable[[], object]) -> None:
        """@param random: numbers in [0, 1).  @param again: called when the wait is over."""
        self._clock = clock
        self._random = random
        self._again = again
        self._failures = 0
        self._timer: IDelayedCall | None = None

    @property
    def waiting(self) -> bool:
        """Whether `again` is still to be called."""
        return self._timer is not None

    def failed(self) -> None:
        """Wait, unless it waits already."""
        if self._timer is None:
            delay = min(self.most, self.first * 2 ** min(self._failures, 10)) * (0.5 + self._random())
            self._failures += 1
            self._timer = self._clock.callLater(delay, self._over)

    def succeeded(self) -> None:
        """The next failure is the first."""
        self._failures = 0

    def stop(self) -> None:
        """Wait no more; `again` is not called."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _over(self) -> None:
        self._timer = None
        self._again()


def ended(deferred: Deferred[Any]) -> Deferred[None]:
    """Fires when that one does, however it ends, and leaves its result alone."""
    end: Deferred[None] = Deferred()

    def fire(result: Any) -> Any:
        end.callback(None)
        return result

    deferred.addBoth(fire)
    return end


def follow(deferred: Deferred[T]) -> Deferred[T]:
    """One's own Deferred for the success of one that several wait for; cancelling it changes nothing for them."""
    own: Deferred[T] = Deferred(lambda _: None)

    def fire(result: T) -> T:
        if not own.called:
            own.callback(result)
        return result

    deferred.addCallback(fire)
    return own


def shielded(deferred: Deferred[T]) -> Deferred[T]:
    """One's own Deferred for the result of one that must not be cancelled, such as a call in a thread."""
    own: Deferred[T] = Deferred(lambda _: None)

    def fire(result: Any) -> None:
        if not own.called:
            own.callback(result)  # a Failure makes it an errback

    deferred.addBoth(fire)
    return own


async def uninterrupted(work: Coroutine[Deferred[Any], Any, Any]) -> None:
    """Do it to its end, however often one is cancelled meanwhile; how it ended does not matter."""
    end = ended(Deferred.fromCoroutine(work))
    while not end.called:
        with suppress(CancelledError):
            await follow(end)


async def cancelled(deferred: Deferred[Any] | None) -> None:
    """Cancel it and wait until it has ended; how it ended does not matter."""
    if deferred is not None:
        deferred.cancel()
        await deferred.addErrback(lambda _: None)


class _DaemonThreads(ThreadPool):
    """Threads that do not keep the process from ending."""

    threadFactory = staticmethod(partial(Thread, daemon=True))  # type: ignore[assignment]

    def dismiss(self) -> None:
        """Stop without joining: `stop` joins what `threads` lists."""
        self.threads = []
        self.stop()


@dataclass(frozen=True, slots=True)
class ThreadsLoad:
    """Calls at one moment.

    @ivar busy: that threads are at, also those whose answers nobody waits for any more.  @ivar waiting: for a thread.
    @ivar most: how many threads there may be.
    """

    busy: int
    waiting: int
    most: int


class Threads(Service):
    """A bounded pool of threads for blocking calls.

    Its threads are daemons and stopping does not join them: a call that hangs must not keep the process from
    ending (twisted's ThreadPool.stop joins, which was measured to block the reactor for as long as the call).
    """

    def __init__(self, name: str, size: int, reactor: IReactorFromThreads) -> None:
        """@param size: how many calls run at once."""
        self.setName(name)
        self._reactor = reactor
        self._pool = _DaemonThreads(minthreads=0, maxthreads=size, name=name)
        self._size = size
        self._lock = Lock()  # of the counts
        self._asked = self._begun = self._ended = 0

    def startService(self) -> None:
        """Allow calls."""
        super().startService()
        self._pool.start()

    def stopService(self) -> None:
        """Let idle threads end, and busy ones as their calls return."""
        super().stopService()
        self._pool.dismiss()

    def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> Deferred[T]:
        """Run it in a thread of this pool; the answer comes back in the reactor's."""
        self._asked += 1
        return deferToThreadPool(self._reactor, self._pool, self._counted, function, *args, **kwargs)

    def load(self) -> ThreadsLoad:
        """Look; it waits for no call."""
        with self._lock:
            return ThreadsLoad(self._begun - self._ended, self._asked - self._begun, self._size)

    def _counted(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        with self._lock:
            self._begun += 1
        try:
            return function(*args, **kwargs)
        finally:
            with self._lock:
                self._ended += 1

    def begin(self, function: Callable[[], T]) -> tuple[Deferred[None], Deferred[T]]:
        """The same, with a Deferred that fires when a thread has taken it up."""
        begun: Deferred[None] = Deferred()

        def work() -> T:
            self._reactor.callFromThread(begun.callback, None)
            return function()

        return begun, self.call(work)


class Watchdog(Service):
    """Ends the process when an orderly stop takes too long.

    Added last to an L{OrderedMultiService} it is told of the stop first.
    """

    def __init__(self, limit: float, end: Callable[[], object]) -> None:
        """@param limit: seconds that a stop may take.  @param end: called in a thread of its own after them."""
        self.setName("watchdog")
        self._limit = limit
        self._end = end

    def stopService(self) -> None:
        """Start to count."""
        super().stopService()
        timer = Timer(self._limit, self._end)
        timer.daemon = True
        timer.start()


class StopOnce(Service):
    """Once the server stops, further signals to do so change nothing; the reactor would log each as a fault."""

    def __init__(self, handle: Callable[..., object] = signal) -> None:
        """@param handle: as signal.signal."""
        self.setName("stop once")
        self._handle = handle

    def stopService(self) -> None:
        """From now on."""
        super().stopService()
        for number in (SIGINT, SIGTERM):
            self._handle(number, lambda *_: None)
