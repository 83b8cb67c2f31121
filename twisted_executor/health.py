"""Whether scripts can run, in words."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_executor.boundaries import ExecutorStats, HealthReport, IEngine, IHealth, PoolStats
from twisted_executor.errors import EngineError


class EngineWatch:
    """Asks the engine now and then whether it is there.

    @ivar problem: a sentence, None while it answers.
    """

    def __init__(self, engine: IEngine) -> None:
        self._engine = engine
        self.problem: str | None = "The Docker engine has not answered yet."

    def look(self) -> Deferred[None]:
        """Ask once; never errbacks."""
        return Deferred.fromCoroutine(self._look())

    async def _look(self) -> None:
        try:
            await self._engine.info()
            self.problem = None
        except EngineError as error:
            self.problem = str(error)


@implementer(IHealth)
class Health:
    """Puts together what the engine's watch and the pools know."""

    def __init__(
        self, stats: Callable[[], ExecutorStats], watch: EngineWatch, concessions: Callable[[], tuple[str, ...]]
    ) -> None:
        """@param stats: its first pool is the default one.

        @param concessions: limits that do not hold, as sentences.
        """
        self._stats = stats
        self._watch = watch
        self._concessions = concessions

    def report(self) -> HealthReport:
        """Unhealthy when a request without an image could not be served; degraded when others could not.

        Ready, too, is about the first: one image that cannot be had must not take the server out of service.  Only
        at the start it waits for every pool to have a container or a failure.
        """
        stats = self._stats()
        default, *others = [pool for pool in stats.pools if not pool.temporary]
        fatal = [self._watch.problem, _problem(default), _draining(stats)]
        grave = [_problem(pool) for pool in others]
        small = [pool.failure for pool in stats.pools if pool.failure and not pool.temporary and _alive(pool)]
        reasons = tuple(dict.fromkeys(reason for reason in (*fatal, *grave, *small, *self._concessions()) if reason))
        if any(fatal):
            return HealthReport("unhealthy", reasons, ready=False)
        starting = any(not _alive(pool) and pool.failure is None for pool in others)
        return HealthReport("degraded" if reasons else "healthy", reasons, ready=not starting)


def _alive(pool: PoolStats) -> bool:
    """It has a container, or all of them are being replaced and nothing has gone wrong with that."""
    return pool.idle + pool.busy > 0 or (pool.created > 0 and pool.creating > 0 and pool.failure is None)


def _problem(pool: PoolStats) -> str | None:
    if _alive(pool):
        return None
    return pool.failure or f"No container of {pool.image} is warm yet."


def _draining(stats: ExecutorStats) -> str | None:
    return "The server is stopping." if stats.draining else None
