"""The executor over pools of sandboxes in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_executor.boundaries import Execution, IExecutor, ImageInfo, Job
from twisted_executor.errors import Draining, ImageNotFound, Overloaded
from twisted_executor.executor import Executor
from twisted_executor.images import canonical
from twisted_executor.planning import Capacity
from twisted_executor.pool import PoolPolicy, WarmPool
from twisted_executor.testing import HELLO, MemorySource


class Store:
    """Images that are there at once, or when the test says so."""

    def __init__(self) -> None:
        self.waiting: dict[str, Deferred[ImageInfo]] = {}

    def resolve(self, reference: str) -> Deferred[ImageInfo]:
        if reference == "missing":
            return fail(ImageNotFound("There is no image missing."))
        if reference.startswith("slow"):
            return self.waiting.setdefault(reference, Deferred())
        return succeed(ImageInfo(reference, "id", "amd64", ()))


class ExecutorTests(SynchronousTestCase):
    """Executor."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.source = MemorySource()
        self.store = Store()
        pools = {canonical(image): self.pool(image, image) for image in ("base", "py:3")}
        self.temporary = self.pool("temporary", None)
        self.executor = Executor("base", pools, self.temporary, self.store, self.clock, 2, 10.0)  # type: ignore[arg-type]
        self.services = [*pools.values(), self.temporary, self.executor]
        for service in self.services:
            service.startService()

    def pool(self, label: str, standing: str | None) -> WarmPool:
        policy = PoolPolicy(label, Capacity(2, standing), queue_size=2, queue_timeout=30, max_uses=9, max_age=99)
        return WarmPool(self.source, policy, self.clock, lambda: 0.5)

    def execute(self, image: str | None = None, **values: Any) -> Deferred[Execution]:
        return self.executor.execute(Job(b"echo hi", 5.0, "r1", image=image, **values))

    def finish(self) -> None:
        """End what runs, oldest first."""
        sandbox = next(s for s in self.source.made if s.running)
        sandbox.finish(HELLO)
        sandbox.settle(None)

    def test_interface(self) -> None:
        """It provides what the web edge asks of it."""
        verifyObject(IExecutor, self.executor)

    def test_default(self) -> None:
        """A job without an image runs in the default pool."""
        execution = self.execute()
        self.clock.advance(2)
        self.finish()
        found = self.successResultOf(execution)
        self.assertEqual((found.outcome, found.image, found.warm, found.request_id), (HELLO, "base", False, "r1"))
        self.assertEqual(self.executor.stats().pools[0].executions, 1)

    def test_other_spelling(self) -> None:
        """A pool is found by any spelling of its image."""
        self.clock.advance(1)
        execution = self.execute("docker.io/library/py:3")
        self.finish()
        self.assertTrue(self.successResultOf(execution).warm)
        self.assertEqual(self.executor.stats().pools[1].executions, 1)

    def test_temporary(self) -> None:
        """Another image gets a temporary container."""
        execution = self.execute("other")
        self.finish()
        self.assertFalse(self.successResultOf(execution).warm)
        self.assertEqual(self.source.made[-1].image, "other")

    def test_missing_image(self) -> None:
        """An image that cannot be had is told to who asked, and takes no place."""
        self.failureResultOf(self.execute("missing"), ImageNotFound)
        self.assertEqual(self.executor.stats().running, 0)

    def test_queue_time(self) -> None:
        """Time in the line is queue time, a pull is not."""
        slow = self.execute("slow")
        self.clock.advance(50)
        self.store.waiting["slow"].callback(ImageInfo("slow", "id", "amd64", ()))
        self.finish()
        self.assertEqual(self.successResultOf(slow).queue_time, 0)
        first, _, third = self.execute(), self.execute(), self.execute()
        self.clock.advance(3)
        self.finish()
        self.successResultOf(first)
        self.finish()
        self.assertEqual(self.successResultOf(third).queue_time, 3)

    def test_pulls_are_bounded(self) -> None:
        """Only so many requests may wait for images."""
        for name in ("slow1", "slow2"):
            self.assertNoResult(self.execute(name))
        self.failureResultOf(self.execute("slow3"), Overloaded)

    def test_room(self) -> None:
        """Before a body is read a request is refused only when every configured pool is full."""
        for image in (None, "py:3"):
            self.executor.check_room()
            for _ in range(4):
                self.assertNoResult(self.execute(image))
        self.assertRaises(Overloaded, self.executor.check_room)

    def test_full_pool_beside_another(self) -> None:
        """A full pool refuses its own requests, and no others."""
        for _ in range(4):
            self.execute()
        self.failureResultOf(self.execute(), Overloaded)
        self.assertNoResult(self.execute("py:3"))

    def test_warm_temporary(self) -> None:
        """For an image of which a container is there nobody is asked whether the image is."""
        first = self.execute("slow")
        self.store.waiting["slow"].callback(ImageInfo("slow", "id", "amd64", ()))
        self.finish()
        self.successResultOf(first)
        del self.store.waiting["slow"]
        second = self.execute("slow")
        self.finish()
        self.assertTrue(self.successResultOf(second).warm is not None)

    def test_cancel(self) -> None:
        """A client that leaves ends its run; the container serves on."""
        execution = self.execute()
        execution.cancel()
        self.failureResultOf(execution, CancelledError)
        self.assertEqual(self.executor.stats().running, 0)
        self.assertEqual(self.executor.stats().pools[0].idle, 2)

    def test_lost_sandbox(self) -> None:
        """A container that dies in mid-run is told and replaced, and the job is not repeated."""
        execution = self.execute()
        next(s for s in self.source.made if s.running).die()
        failure = self.failureResultOf(execution)
        self.assertEqual(failure.value.code, "sandbox_lost")
        self.assertEqual(sum(len(s.jobs) for s in self.source.made), 1)
        self.assertEqual(self.executor.stats().pools[0].idle, 2)

    def test_drain(self) -> None:
        """A stop lets what runs end, refuses what is new, and fires when all is done."""
        execution = self.execute()
        stopped = self.executor.stopService()
        self.failureResultOf(self.execute(), Draining)
        self.assertRaises(Draining, self.executor.check_room)
        self.assertNoResult(stopped)
        self.finish()
        self.successResultOf(execution)
        self.successResultOf(stopped)
        self.assertFalse([c for c in self.clock.getDelayedCalls() if c.getTime() == 10.0])

    def test_drain_timeout(self) -> None:
        """What has not ended by the drain timeout is cancelled and told that the server stops."""
        running = self.execute()
        waiting = [self.execute(), self.execute()]
        stopped = self.executor.stopService()
        self.clock.advance(10)
        self.successResultOf(stopped)
        for execution in (running, *waiting):
            self.failureResultOf(execution, Draining)

    def test_stats(self) -> None:
        """The figures count what runs and what waits."""
        executions = [self.execute() for _ in range(3)]
        stats = self.executor.stats()
        self.assertEqual((stats.running, stats.waiting, stats.draining), (2, 1, False))
        self.assertEqual([p.image for p in stats.pools], ["base", "py:3", "temporary"])
        for execution in executions:
            execution.addErrback(lambda _: None)
