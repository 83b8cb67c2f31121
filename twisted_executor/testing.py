"""Fakes of the use case, for tests of what stands in front of it.  The sandboxes' fakes are in memory.py."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail
from zope.interface import implementer

from twisted_executor.boundaries import (
    Execution,
    ExecutorStats,
    HealthReport,
    IExecutor,
    IHealth,
    Job,
    Outcome,
    PoolStats,
    Status,
)
from twisted_executor.errors import ExecutorError

HELLO = Outcome(Status.OK, 0, None, b"hi\n", b"", 3, 0, 0.001, 0, 0.0009, 1 << 20, None)


def execution(job: Job, outcome: Outcome = HELLO) -> Execution:
    """How a job ended, with what an executor adds."""
    return Execution(outcome, 0.0001, True, job.image or "alpine:latest", job.request_id)


@implementer(IExecutor)
class MemoryExecutor:
    """Runs nothing: a test ends each job, or `answer` holds the outcome of all.

    @ivar answer: the outcome of every job, at once; None: they wait for `finish` or `fail`.
    @ivar refuses: what `check_room` and `execute` raise, None for nothing.
    @ivar waiting: the jobs that have not ended, oldest first.
    @ivar cancelled: the jobs that were.
    @ivar figures: what `stats` says.
    """

    def __init__(self, answer: Outcome | None = None) -> None:
        self.answer = answer
        self.refuses: ExecutorError | None = None
        self.waiting: list[tuple[Job, Deferred[Execution]]] = []
        self.cancelled: list[Job] = []
        self.figures = ExecutorStats((), 0, 0, draining=False)

    def check_room(self, image: str | None) -> None:
        """Raise what a test wants."""
        if self.refuses is not None:
            raise self.refuses

    def execute(self, job: Job) -> Deferred[Execution]:
        """Wait for the test."""
        if self.refuses is not None:
            return fail(self.refuses)
        result: Deferred[Execution] = Deferred(lambda _: self._cancel(job))
        self.waiting.append((job, result))
        if self.answer is not None:
            self.finish(self.answer)
        return result

    def finish(self, outcome: Outcome = HELLO) -> None:
        """The oldest job comes to an end."""
        job, result = self.waiting.pop(0)
        result.callback(execution(job, outcome))

    def fail(self, error: Exception) -> None:
        """The oldest job does not."""
        _, result = self.waiting.pop(0)
        result.errback(error)

    def stats(self) -> ExecutorStats:
        """What a test wants."""
        return self.figures

    def _cancel(self, job: Job) -> None:
        result = next(result for waiting, result in self.waiting if waiting is job)
        self.waiting = [entry for entry in self.waiting if entry[0] is not job]
        self.cancelled.append(job)
        result.errback(CancelledError())


@implementer(IHealth)
class MemoryHealth:
    """@ivar state: what `report` says."""

    def __init__(self) -> None:
        self.state = HealthReport("healthy", (), ready=True)

    def report(self) -> HealthReport:
        """What a test wants."""
        return self.state


def pool_stats(image: str, *, temporary: bool = False, **counts: int) -> PoolStats:
    """The figures of a pool, 0 where nothing else is said."""
    names = ("target", "idle", "busy", "creating", "retiring", "waiting", "executions", "created", "create_failures")
    return PoolStats(
        image=image, retired={}, failure=None, temporary=temporary, **{name: counts.pop(name, 0) for name in names}
    )
