"""Watches what is asked of a pool, so that the pool can say whether it is too small."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_executor.boundaries import (
    Demand,
    Execution,
    ExecutorStats,
    IExecutor,
    ILease,
    IPool,
    ISandbox,
    Job,
    PoolStats,
    Tenant,
)
from twisted_executor.errors import Overloaded
from twisted_executor.sizing import MINUTE, MINUTES, MOST, Minute, demand

FRESH = 1.0  # seconds


class Creations:
    """How long it takes to make a container: the mean, in which the newest twenty count most.

    @ivar mean: seconds; 0 until one was made.
    """

    def __init__(self) -> None:
        self.mean = 0.0
        self._seen = 0

    def made(self, seconds: float) -> None:
        """One was made."""
        self._seen = min(self._seen + 1, 20)
        self.mean += (seconds - self.mean) / self._seen


class Journal:
    """What was asked of a pool in the last quarter of an hour, by minutes.  Bounded, whatever happens."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._minutes: deque[Minute] = deque([Minute(0)])
        self._arrivals: deque[float] = deque(maxlen=MOST)  # of those that would still have their container
        self._recent: list[int] = []  # the tenants, the one that came last first
        self._held, self._holds = 0.0, 0  # of all minutes together
        self.replacing = 0.0  # seconds for each run
        self.requests = 0  # of all minutes together
        self._due = 0.0  # refusals that are not counted yet, less than one

    def minute(self, now: float) -> Minute:
        """The present one."""
        number = int((now - self._began) / MINUTE)
        if number != self._minutes[-1].number:
            self._turn(number)
        return self._minutes[-1]

    def _turn(self, number: int) -> None:
        self._minutes.append(Minute(number))
        while self._minutes[0].number <= number - MINUTES:
            old = self._minutes.popleft()
            self._held -= old.held
            self._holds -= old.holds
            self.requests -= old.requests

    def asked(self, now: float, tenant: Tenant | None) -> Minute:
        """Somebody wants a container.  @param tenant: None where that is not known."""
        minute = self.minute(now)
        minute.requests += 1
        self.requests += 1
        arrivals = self._arrivals
        over = now - (self._held / self._holds if self._holds else MINUTE) - self.replacing
        while arrivals and arrivals[0] <= over:
            arrivals.popleft()
        present = len(arrivals)
        minute.present[present] = minute.present.get(present, 0) + 1
        arrivals.append(now)
        if tenant is not None:
            self._came(minute, hash(tenant))
        return minute

    def _came(self, minute: Minute, tenant: int) -> None:
        recent = self._recent
        if recent and recent[0] == tenant:
            minute.apart[0] = minute.apart.get(0, 0) + 1
            return
        try:
            others = recent.index(tenant)
        except ValueError:
            del recent[MOST - 1 :]
        else:
            del recent[others]
            minute.apart[others] = minute.apart.get(others, 0) + 1
        recent.insert(0, tenant)

    def refused(self, now: float, share: float) -> None:
        """One was refused that, by this probability, wanted a container of this pool."""
        self._due += share
        if self._due >= 1:
            self._due -= 1
            self.asked(now, None).waited += 1

    def withdrawn(self, minute: Minute) -> None:
        """One that came in that minute tells nothing of the size: no pool could have served it."""
        minute.requests -= 1
        if minute.number >= self._minutes[0].number:
            self.requests -= 1

    def held(self, now: float, seconds: float) -> None:
        """A container is ready again, so long after it was lent."""
        minute = self.minute(now)
        minute.held += seconds
        minute.holds += 1
        self._held += seconds
        self._holds += 1

    def demand(self, now: float, size: int) -> Demand:
        """Look at it.  @param size: of the pool."""
        last = self.minute(now).number
        window = now - self._began - max(0, last - MINUTES + 1) * MINUTE
        return demand(self._minutes, size, window, self.replacing)


@implementer(IPool)
class WatchedPool:
    """A pool that says in its figures how it was asked for."""

    def __init__(self, pool: IPool, creations: Creations, clock: IReactorTime) -> None:
        """@param creations: those of this pool."""
        self._pool = pool
        self._creations = creations
        self._clock = clock
        self.journal = Journal(clock.seconds())
        # When, executions and retirements; one look a minute at most.
        self._demand = Demand(0.0, 0, 0.0, 0.0, 0.0, None)
        self._due = clock.seconds()
        self._looks = deque([(clock.seconds(), 0, 0)], maxlen=MINUTES)

    def take(self, image: str, tenant: Tenant) -> Deferred[ILease]:
        """As the pool does, watching what comes of it."""
        arrived = self._clock.seconds()
        minute = self.journal.asked(arrived, tenant)
        lease: Deferred[ILease] = self._pool.take(image, tenant)
        waits = not lease.called
        if waits:
            minute.waited += 1
        return lease.addCallbacks(
            self._lent, self._failed, callbackArgs=(minute, arrived, waits), errbackArgs=(minute, arrived, waits)
        )

    def _lent(self, lease: ILease, minute: Minute, arrived: float, waits: bool) -> ILease:
        now = self._clock.seconds()
        if waits:
            _over(minute, now - arrived)
        return WatchedLease(lease, now, self._held)

    def _failed(self, failure: Failure, minute: Minute, arrived: float, waits: bool) -> Failure:
        """Who was refused for load, or left, has waited; who failed for another reason tells nothing of the size."""
        if failure.check(Overloaded, CancelledError):
            if waits:
                _over(minute, self._clock.seconds() - arrived)
            else:
                minute.waited += 1
        else:
            minute.waited -= waits
            self.journal.withdrawn(minute)
        return failure

    def _held(self, since: float) -> None:
        now = self._clock.seconds()
        self.journal.held(now, now - since)

    def check_room(self) -> None:
        """As the pool does."""
        self._pool.check_room()

    def holds(self, image: str) -> bool:
        """As the pool does."""
        found: bool = self._pool.holds(image)
        return found

    def stats(self) -> PoolStats:
        """The pool's, with its demand, which is at most FRESH old: anybody may ask for it, as often as he likes."""
        stats: PoolStats = self._pool.stats()
        now = self._clock.seconds()
        if now >= self._due:
            self.journal.replacing = self._replaced(now, stats) * self._creations.mean
            self._demand = self.journal.demand(now, stats.target)
            self._due = now + FRESH
        return replace(stats, demand=self._demand)

    def _replaced(self, now: float, stats: PoolStats) -> float:
        """Containers removed for each run, since the oldest look of the window."""
        retired = sum(stats.retired.values())
        if now - self._looks[-1][0] >= MINUTE:
            self._looks.append((now, stats.executions, retired))
            while len(self._looks) > 1 and now - self._looks[1][0] >= MINUTES * MINUTE:
                self._looks.popleft()
        _, executions_then, retired_then = self._looks[0]
        return (retired - retired_then) / max(1, stats.executions - executions_then)


def _over(minute: Minute, seconds: float) -> None:
    minute.waits += 1
    minute.waiting += seconds
    minute.longest = max(minute.longest, seconds)


@implementer(ILease)
class WatchedLease:
    """A lease whose end is watched: when its container can serve again."""

    __slots__ = ("_held", "_lease", "_since", "sandbox", "warm")

    def __init__(self, lease: ILease, since: float, held: Callable[[float], None]) -> None:
        """@param held: told `since` when the container has settled."""
        self.sandbox: ISandbox = lease.sandbox
        self.warm: bool = lease.warm
        self._lease = lease
        self._since = since
        self._held = held

    def release(self) -> None:
        """As the lease does."""
        # Asked before: a container that is ready at once may have the next run when release returns.
        settled: Deferred[str | None] = self.sandbox.settled()
        self._lease.release()
        settled.addCallback(lambda _: self._held(self._since))


@implementer(IExecutor)
class WatchedExecutor:
    """Counts those that are refused before anybody knows which pool they are for.

    They are shared out among the pools, as those before them were.
    """

    def __init__(self, executor: IExecutor, journals: Sequence[Journal], clock: IReactorTime) -> None:
        self._executor = executor
        self._journals = journals
        self._clock = clock

    def check_room(self) -> None:
        """As the executor does, telling the pools of a refusal."""
        try:
            self._executor.check_room()
        except Overloaded:
            total = sum(journal.requests for journal in self._journals)
            for journal in self._journals:
                share = journal.requests / total if total else 1 / len(self._journals)
                journal.refused(self._clock.seconds(), share)
            raise

    def execute(self, job: Job) -> Deferred[Execution]:
        """As the executor does."""
        return self._executor.execute(job)

    def stats(self) -> ExecutorStats:
        """The executor's."""
        found: ExecutorStats = self._executor.stats()
        return found
