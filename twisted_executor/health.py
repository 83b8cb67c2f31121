"""Whether scripts can run, in words."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_executor.boundaries import CanaryStats, ExecutorStats, HealthReport, IEngine, IHealth, PoolStats
from twisted_executor.errors import EngineError
from twisted_executor.sizing import PROMISE


class EngineWatch:
    """Asks the engine now and then whether it is there.

    @ivar problem: a sentence, None while it answers.
    """

    def __init__(self, engine: IEngine) -> None:
        self._engine = engine
        self.problem: str | None = (
            "The Docker engine has not answered yet; if it does not within seconds, look whether it runs."
        )

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
    """Puts together what the engine's watch, the pools and the canary know."""

    def __init__(
        self,
        stats: Callable[[], ExecutorStats],
        watch: EngineWatch,
        concessions: Callable[[], tuple[str, ...]],
        canaries: Callable[[], tuple[CanaryStats, ...]] = tuple,
    ) -> None:
        """@param stats: its first pool is the default one.

        @param concessions: limits that do not hold, as sentences.
        @param canaries: of the pools, in their order; none where none runs.
        """
        self._stats = stats
        self._watch = watch
        self._concessions = concessions
        self._canaries = canaries

    def report(self) -> HealthReport:
        """Unhealthy when a request without an image could not be served; degraded when others could not.

        Ready, too, is about the first: one image that cannot be had must not take the server out of service.  Only
        at the start it waits for every pool to have a container or a failure.
        """
        stats = self._stats()
        canaries = self._canaries()
        pools = tuple(pool for pool in stats.pools if not pool.temporary)
        default, *others = pools
        fatal = [self._watch.problem, _problem(default), _draining(stats), *(c.problem for c in canaries[:1])]
        grave = [*(_problem(pool) for pool in others), *(c.problem for c in canaries[1:])]
        small = [pool.failure for pool in pools if pool.failure and _alive(pool)]
        reasons = tuple(dict.fromkeys(reason for reason in (*fatal, *grave, *small, *self._concessions()) if reason))
        starting = any(not _alive(pool) and pool.failure is None for pool in others)
        return HealthReport(
            status="unhealthy" if any(fatal) else "degraded" if reasons else "healthy",
            reasons=reasons,
            ready=not any(fatal) and not starting,
            advice=tuple(filter(None, (_advice(pool, pool is default) for pool in pools))),
            pools=pools,
            canary=canaries[0] if canaries else None,
        )


def _alive(pool: PoolStats) -> bool:
    """It has a container, or all of them are being replaced and nothing has gone wrong with that."""
    return pool.idle + pool.busy > 0 or (pool.created > 0 and pool.creating > 0 and pool.failure is None)


def _problem(pool: PoolStats) -> str | None:
    if _alive(pool):
        return None
    return pool.failure or f"No container of {pool.image} is warm yet; the first takes a second or two, a pull longer."


def _draining(stats: ExecutorStats) -> str | None:
    return "The server is stopping; send requests to another, or start it again." if stats.draining else None


def _advice(pool: PoolStats, default: bool) -> str | None:
    """What to do for a pool in which too many wait."""
    demand = pool.demand
    if demand is None or demand.waited_share <= PROMISE or (demand.recommended_size or 0) <= pool.target:
        return None
    setting = "POOL_SIZE=" if default else f"in CUSTOM_POOLS {pool.image}="
    return (
        f"{demand.waited_share:.0%} of the requests for {pool.image} waited in the last "
        f"{max(1, round(demand.window / 60))} min, {demand.average_wait:.2g} s on average; set "
        f"{setting}{demand.recommended_size} (now {pool.target})."
    )
