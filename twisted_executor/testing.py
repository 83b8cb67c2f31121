"""Fakes of sandboxes, of the executor and of health.  The real ones pass the same tests, where there is a contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from zope.interface import implementer

from twisted_executor.boundaries import (
    Execution,
    ExecutorStats,
    HealthReport,
    IExecutor,
    IHealth,
    ISandbox,
    ISandboxSource,
    Job,
    Outcome,
    PoolStats,
    Status,
)
from twisted_executor.errors import ExecutorError, ImageNotFound, SandboxLost
from twisted_executor.services import follow

HELLO = Outcome(Status.OK, 0, None, b"hi\n", b"", 3, 0, 0.001, 0, 0.0009, 1 << 20, None)


def execution(job: Job, outcome: Outcome = HELLO) -> Execution:
    """How a job ended, with what an executor adds."""
    return Execution(outcome, 0.0001, True, job.image or "alpine:latest", job.request_id)


@implementer(ISandbox)
class MemorySandbox:
    """Runs nothing: a test ends the run, or `answers` holds its outcome."""

    def __init__(self, name: str, image: str, image_id: str, answers: Mapping[bytes, Outcome]) -> None:
        self.name = name
        self.image = image
        self.image_id = image_id
        self.lost: Deferred[str] = Deferred()
        self.jobs: list[Job] = []
        self.dead = False
        self.held_removal: Deferred[None] | None = None
        self._answers = answers
        self._finished: Deferred[Outcome] | None = None
        self._settling: Deferred[str | None] | None = None
        self._unfit: str | None = None

    def run(self, job: Job) -> Deferred[Outcome]:
        """Wait for `finish`, unless there is an answer to this script."""
        if self.dead or self._finished is not None or self._settling is not None:
            raise SandboxLost("The container is not idle.")
        self.jobs.append(job)
        self._settling = Deferred()
        finished: Deferred[Outcome] = Deferred(lambda _: self.settle(None))
        self._finished = finished
        if job.script in self._answers:
            self.finish(self._answers[job.script])
            self.settle(None)
        return finished

    @property
    def running(self) -> bool:
        """Whether a job is under way or its traces are not wiped."""
        return self._finished is not None or self._settling is not None

    def finish(self, outcome: Outcome) -> None:
        """The script ends."""
        finished, self._finished = self._finished, None
        if finished is not None and not finished.called:
            finished.callback(outcome)

    def settle(self, unfit: str | None) -> None:
        """The wipe ends."""
        self._finished = None
        self._unfit = unfit
        settling, self._settling = self._settling, None
        if settling is not None:
            settling.callback(unfit)

    def settled(self) -> Deferred[str | None]:
        """Fires with what `settle` is told."""
        if self._settling is None:
            return succeed(self._unfit)
        return follow(self._settling)

    def die(self, reason: str = "The container's stream ended.") -> None:
        """The container ends by itself."""
        if self.dead:
            return
        self.dead = True
        finished, self._finished = self._finished, None
        if finished is not None and not finished.called:
            finished.errback(SandboxLost(reason))
        self.settle("lost")
        self.lost.callback(reason)

    def destroy(self) -> Deferred[None]:
        """Remove it; where a test holds the removal, it ends when the test says so."""
        self.die("The server removed the container.")
        if self.held_removal is None:
            return succeed(None)
        return follow(self.held_removal)


@implementer(ISandboxSource)
class MemorySource:
    """Makes sandboxes at once, or when the test says so.

    @ivar hold: creations wait for `arrive` or `fail`.
    @ivar made: all sandboxes ever.
    @ivar pending: creations that wait, oldest first, with their images and the ids of those.
    @ivar image_id: what every image means for creations that begin now.
    """

    def __init__(
        self, images: frozenset[str] | None = None, hold: bool = False, answers: Mapping[bytes, Outcome] | None = None
    ) -> None:
        """@param images: those that exist; None: any."""
        self.hold = hold
        self.made: list[MemorySandbox] = []
        self.pending: list[tuple[Deferred[ISandbox], str, str]] = []
        self.image_id = "sha256:1"
        self._images = images
        self._answers = answers or {}

    @property
    def alive(self) -> list[MemorySandbox]:
        """Those that have not died."""
        return [sandbox for sandbox in self.made if not sandbox.dead]

    def create(self, image: str) -> Deferred[ISandbox]:
        """Make one of this image."""
        creation: Deferred[ISandbox] = Deferred(self._cancelled)
        self.pending.append((creation, image, self.image_id))
        if self._images is not None and image not in self._images:
            self.fail(ImageNotFound(f"There is no image {image}."))
        elif not self.hold:
            self.arrive()
        return creation

    def arrive(self) -> None:
        """The oldest creation succeeds."""
        creation, image, image_id = self.pending.pop(0)
        sandbox = MemorySandbox(f"sandbox-{len(self.made)}", image, image_id, self._answers)
        self.made.append(sandbox)
        creation.callback(sandbox)

    def fail(self, error: ExecutorError) -> None:
        """The newest creation fails."""
        creation, *_ = self.pending.pop()
        creation.errback(error)

    def _cancelled(self, creation: Deferred[ISandbox]) -> None:
        self.pending = [entry for entry in self.pending if entry[0] is not creation]
        creation.errback(CancelledError())


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

    def check_room(self) -> None:
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


def pool_stats(image: str, **figures: Any) -> PoolStats:
    """The figures of a pool, 0 where nothing else is said."""
    names = ("target", "idle", "busy", "creating", "retiring", "waiting", "executions", "created", "create_failures")
    return PoolStats(image=image, **dict.fromkeys(names, 0) | {"retired": {}, "failure": None} | figures)
