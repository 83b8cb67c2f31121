"""Runs an empty script in each pool now and then, so that a server knows that scripts run before a client asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from twisted_executor.boundaries import CanaryStats, ILease, ISpares, Job, Outcome, Status
from twisted_executor.errors import ExecutorError

SCRIPT = b"exit 0"
LIMIT = 5.0  # seconds that it may run
RETRY = 5.0  # seconds until the next one where the last did not end well, or there was none yet
# What a shell, or the agent in its stead, says where the image has none: then all but the image works.
NO_SHELL = (126, 127)


@dataclass(slots=True)
class _Pool:
    """A pool and what is known of it."""

    image: str
    pool: ISpares
    due: float
    result: str | None = None
    problem: str | None = None
    seconds: float = 0.0
    ended: float = 0.0
    ok: float | None = None
    good: int = 0
    runs: Counter[str] = field(default_factory=Counter)


class Canary:
    """One for all pools; they are looked at one after another."""

    log = Logger()

    def __init__(
        self,
        pools: Iterable[tuple[str, ISpares]],
        stopping: Callable[[], bool],
        good: Callable[[str], int],
        clock: IReactorTime,
        interval: float,
        limit: float = LIMIT,
    ) -> None:
        """@param pools: the image as the operator wrote it, and the pool; the default one first.

        @param stopping: whether the server is.
        @param good: how many scripts of clients have ended well in an image.
        @param interval: seconds between two runs in a pool.
        @param limit: seconds that one may take.
        """
        self._pools = [_Pool(image, pool, clock.seconds()) for image, pool in pools]
        self._stopping = stopping
        self._good = good
        self._clock = clock
        self._interval = interval
        self._limit = limit

    async def watch(self) -> None:
        """Look at each pool when it is due; for ever."""
        while True:
            for pool in self._pools:
                if pool.due <= self._clock.seconds():
                    await self._look(pool)
            due = min(pool.due for pool in self._pools)
            await deferLater(self._clock, max(0.0, due - self._clock.seconds()))

    def figures(self) -> tuple[CanaryStats, ...]:
        """How they went, in the order of the pools."""
        now = self._clock.seconds()
        return tuple(
            CanaryStats(
                image=pool.image,
                result=pool.result,
                problem=pool.problem,
                seconds=pool.seconds,
                age=now - pool.ended if pool.result else 0.0,
                since_ok=None if pool.ok is None else now - pool.ok,
                runs=dict(pool.runs),
            )
            for pool in self._pools
        )

    async def _look(self, pool: _Pool) -> None:
        # Where the last one failed it matters more to know than to leave the last container to others.
        lease = None if self._stopping() else pool.pool.spare(last=pool.result == "failed")
        if lease is None:
            pool.runs["skipped"] += 1
            if pool.result == "failed" and self._good(pool.image) > pool.good:
                self._works(pool)
        else:
            began = self._clock.seconds()
            self._ended(pool, await self._run(lease), began)
        wait = self._interval if pool.result == "ok" else min(RETRY, self._interval)
        pool.due = self._clock.seconds() + wait

    async def _run(self, lease: ILease) -> str | None:
        """What was wrong, None if nothing was."""
        try:
            outcome: Deferred[Outcome] = lease.sandbox.run(Job(SCRIPT, self._limit, "canary"))
            return _fault(await outcome)
        except CancelledError:
            raise
        except ExecutorError as error:
            return str(error)
        except Exception:
            self.log.failure("the server's own check failed", event="canary_fault")
            return "The server's log has the fault."
        finally:
            lease.release()

    def _ended(self, pool: _Pool, fault: str | None, began: float) -> None:
        was, pool.result = pool.result, "ok" if fault is None else "failed"
        pool.ended = self._clock.seconds()
        pool.seconds = pool.ended - began
        pool.runs[pool.result] += 1
        pool.good = self._good(pool.image)
        if fault is None:
            pool.ok, pool.problem = pool.ended, None
        else:
            pool.problem = (
                f"The last check, an empty script in a container of {pool.image}, failed: {fault} It is repeated every "
                f"{min(RETRY, self._interval):g} seconds; while it fails, look at the engine's load and log, and run "
                f"the image's /bin/sh by hand."
            )
        if pool.result != was and fault is not None:
            self.log.error("{problem}", event="canary_failed", image=pool.image, problem=pool.problem)
        elif pool.result != was and was is not None:
            self.log.info("scripts run in containers of {image} again", event="canary_works", image=pool.image)

    def _works(self, pool: _Pool) -> None:
        """Others are served: where a pool is so busy that it has nothing to spare, their runs tell as much."""
        pool.result, pool.problem, pool.ok = "ok", None, self._clock.seconds()
        self.log.info("scripts run in containers of {image} again", event="canary_works", image=pool.image)


def _fault(outcome: Outcome) -> str | None:
    if outcome.status is Status.OK or (outcome.status is Status.NONZERO_EXIT and outcome.exit_code in NO_SHELL):
        return None
    return outcome.error
