"""How much of the server one tenant may have at once."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from twisted_executor.boundaries import Execution, ExecutorStats, IExecutor, Job, Tenant
from twisted_executor.errors import TooManyRequests


@dataclass(frozen=True, slots=True)
class Quota:
    """@ivar running: requests of a tenant that are served at once, at least 1.

    @ivar waiting: further ones that wait for their turn, for at most `timeout` seconds.
    """

    running: int
    waiting: int
    timeout: float


@dataclass(slots=True)
class _Share:
    """What a tenant has."""

    running: int = 0
    admitting: bool = False
    line: deque[Deferred[None]] = field(default_factory=deque)


@implementer(IExecutor)
class QuotaExecutor:
    """An executor in front of which each tenant has a line of its own."""

    def __init__(self, executor: IExecutor, quota: Quota, clock: IReactorTime) -> None:
        self._executor = executor
        self._quota = quota
        self._clock = clock
        self._shares: dict[Tenant, _Share] = {}

    def check_room(self) -> None:
        """The executor's; whose request it is is not known before its body."""
        self._executor.check_room()

    def stats(self) -> ExecutorStats:
        """The executor's."""
        found: ExecutorStats = self._executor.stats()
        return found

    def execute(self, job: Job) -> Deferred[Execution]:
        """Run the job when its tenant's turn has come; L{TooManyRequests} when too many of it wait already."""
        return Deferred.fromCoroutine(self._execute(job))

    async def _execute(self, job: Job) -> Execution:
        share = self._shares.setdefault(job.tenant, _Share())
        arrived = self._clock.seconds()
        if share.running < self._quota.running:
            share.running += 1
        else:
            await self._turn(share)
        try:
            waited = self._clock.seconds() - arrived
            execution: Execution = await self._executor.execute(job)
            return replace(execution, queue_time=execution.queue_time + waited)
        finally:
            share.running -= 1
            self._admit(share)
            if not share.running:
                self._shares.pop(job.tenant, None)

    async def _turn(self, share: _Share) -> None:
        """Wait for one's place."""
        if len(share.line) >= self._quota.waiting:
            raise TooManyRequests(
                f"{share.running} requests of this tenant are served and {len(share.line)} wait, which is all that may "
                "(TENANT_MAX_RUNNING, TENANT_MAX_WAITING)."
            )
        turn: Deferred[None] = Deferred(share.line.remove)
        share.line.append(turn)
        late = self._clock.callLater(self._quota.timeout, partial(self._expire, share, turn))
        try:
            await turn
        finally:
            if late.active():
                late.cancel()

    def _expire(self, share: _Share, turn: Deferred[None]) -> None:
        share.line.remove(turn)
        turn.errback(
            TooManyRequests(
                f"{share.running} requests of this tenant were served for {self._quota.timeout:g} seconds "
                "(TENANT_MAX_RUNNING, QUEUE_TIMEOUT)."
            )
        )

    def _admit(self, share: _Share) -> None:
        """Give places to those who wait.  One that ends at once comes back here, and leaves the rest to this loop."""
        if share.admitting:
            return
        share.admitting = True
        while share.line and share.running < self._quota.running:
            share.running += 1
            share.line.popleft().callback(None)
        share.admitting = False
