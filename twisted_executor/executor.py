"""The use case: run a job in a sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from twisted_executor.boundaries import (
    Execution,
    ExecutorStats,
    IExecutor,
    IImageStore,
    ILease,
    IPool,
    Job,
)
from twisted_executor.errors import Draining, Overloaded
from twisted_executor.images import canonical
from twisted_executor.services import ended


@implementer(IExecutor)
class Executor(Service):
    """Finds the pool, borrows a sandbox, runs, gives it back."""

    def __init__(
        self,
        default: str,
        pools: Mapping[str, IPool],
        temporary: IPool,
        images: IImageStore,
        clock: IReactorTime,
        most_pulling: int,
        drain_timeout: float,
    ) -> None:
        """@param default: the image of jobs that name none.  @param pools: by canonical reference.

        @param temporary: the pool of all other images.
        @param most_pulling: requests that may wait for a pull.
        @param drain_timeout: seconds for which a stop waits for what runs and is queued.
        """
        self.setName("executor")
        self._default = default
        self._pools = pools
        self._temporary = temporary
        self._images = images
        self._clock = clock
        self._most_pulling = most_pulling
        self._drain_timeout = drain_timeout
        self._under_way: set[Deferred[Execution]] = set()
        self._running = self._pulling = 0
        self._draining = self._cut_off = False

    def startService(self) -> None:
        """Accept jobs."""
        super().startService()
        self._draining = self._cut_off = False

    @property
    def draining(self) -> bool:
        """Whether new jobs are refused."""
        return self._draining

    def drain(self) -> None:
        """Refuse new jobs from now on."""
        self._draining = True

    def stopService(self) -> Deferred[None]:
        """Refuse new jobs; fires when all others are done, the last of them cancelled after the drain timeout."""
        super().stopService()
        self.drain()
        return Deferred.fromCoroutine(self._finish())

    async def _finish(self) -> None:
        deadline: Deferred[None] = deferLater(self._clock, self._drain_timeout)
        all_ended = DeferredList([ended(execution) for execution in self._under_way])
        await DeferredList([ended(deadline), ended(all_ended)], fireOnOneCallback=True)
        deadline.addErrback(lambda _: None).cancel()
        self._cut_off = True
        for execution in list(self._under_way):
            execution.cancel()

    def check_room(self) -> None:
        """Raise L{Draining}, or L{Overloaded} when no configured pool has room.

        Which one a request is for stands in its body, which is not read when the server has so much to do.
        """
        self._check_draining()
        full: Overloaded | None = None
        for pool in self._pools.values():
            try:
                return pool.check_room()
            except Overloaded as error:
                full = full or error
        if full is not None:
            raise full

    def _check_draining(self) -> None:
        if self._draining:
            raise Draining("The server is stopping; another may serve the request.", retry_after=5.0)

    def execute(self, job: Job) -> Deferred[Execution]:
        """Run the job."""
        execution = Deferred.fromCoroutine(self._execute(job))
        if not execution.called:
            self._under_way.add(execution)
            execution.addBoth(self._ended, execution)
        return execution

    def _ended(self, result: Any, execution: Deferred[Execution]) -> Any:
        self._under_way.discard(execution)
        return result

    async def _execute(self, job: Job) -> Execution:
        image = job.image or self._default
        self._check_draining()
        pool = self._pool_of(job.image)
        try:
            if pool is self._temporary:
                pool.check_room()  # before a pull that would be for nothing
                if not pool.holds(image):
                    await self._present(image)
            arrived = self._clock.seconds()
            lease: ILease = await pool.take(image, job.tenant)
            started = self._clock.seconds()
            self._running += 1
            try:
                outcome = await lease.sandbox.run(job)
            finally:
                self._running -= 1
                lease.release()
        except CancelledError:
            if self._cut_off:
                raise Draining("The server stopped before the script ended.", retry_after=5.0) from None
            raise
        return Execution(outcome, started - arrived, lease.warm, image, job.request_id)

    def _pool_of(self, image: str | None) -> IPool:
        return self._pools.get(canonical(image or self._default), self._temporary)

    async def _present(self, image: str) -> None:
        """Have the image on the engine before the request takes its place in the line."""
        if self._pulling >= self._most_pulling:
            raise Overloaded(f"{self._pulling} requests wait for images already.", retry_after=5.0)
        self._pulling += 1
        try:
            await self._images.resolve(image)
        finally:
            self._pulling -= 1

    def stats(self) -> ExecutorStats:
        """Look at all pools."""
        pools = tuple(pool.stats() for pool in (*self._pools.values(), self._temporary))
        waiting = self._pulling + sum(pool.waiting for pool in pools)
        return ExecutorStats(pools, self._running, waiting, self._draining)
