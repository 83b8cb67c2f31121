"""What the status page shows: the newest runs, and what each second of the last minutes was like."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from twisted_executor.boundaries import Answered, ExecutorStats, IHealth, IStatus, Status

MOST_RECENT = 50
SECONDS = 300  # for which there are rates
MINUTE = 60
STEPS = 8  # in which a time doubles: what is told of times is right within 5 %


@dataclass(frozen=True, slots=True)
class Ran:
    """A run in short: nothing of its script, its input or its output, which nobody else may see.

    @ivar number: of this run, counted from the start of the server.
    @ivar at: seconds on the clock.
    """

    number: int
    at: float
    image: str
    status: str
    exit_code: int | None
    execution_time: float
    queue_time: float
    warm: bool
    key: str
    request_id: str


_SHOWN = [field.name for field in fields(Ran) if field.name != "at"]


class Second:
    """What came to its end within one second.

    @ivar times: how many runs took how long, by the logarithm of it.
    """

    __slots__ = ("_ends", "failed", "number", "refused", "runs", "times")

    def __init__(self, number: int) -> None:
        self.number = number
        self.runs = self.failed = self.refused = 0
        self.times: dict[int, int] = {}
        self._ends: tuple[float | None, float | None] | None = None

    def ends(self) -> tuple[float | None, float | None]:
        """The percentiles of its times, once it is over."""
        if self._ends is None:
            self._ends = _quantiles((self,))
        return self._ends


@implementer(IStatus)
class StatusBoard:
    """Remembers a bounded number of things, each in the same short time."""

    def __init__(self, clock: IReactorTime, stats: Callable[[], ExecutorStats], health: IHealth, version: str) -> None:
        """@param stats: asked when somebody looks.  @param version: of the server; empty when nobody knows."""
        self._clock = clock
        self._began = clock.seconds()
        self._stats = stats
        self._health = health
        self._version = version
        self._count = 0
        self._recent: deque[Ran] = deque(maxlen=MOST_RECENT)
        # One more than is shown: the second that is not over.
        self._ring = [Second(-1) for _ in range(SECONDS + 1)]
        self._newest = self._ring[0]
        self._rates: tuple[int, Mapping[str, object]] = (-1, {})

    def answered(self, exchange: Answered) -> None:
        """A request has had its answer, or its client has gone."""
        if exchange.execution is not None:
            self._ran(exchange)
        elif exchange.error is not None and exchange.path == "/execute":
            self._second().refused += 1

    def _ran(self, exchange: Answered) -> None:
        execution = exchange.execution
        assert execution is not None
        outcome = execution.outcome
        second = self._second()
        second.runs += 1
        second.failed += outcome.status is not Status.OK
        step = _step(outcome.execution_time)
        second.times[step] = second.times.get(step, 0) + 1
        self._count += 1
        self._recent.append(
            Ran(
                number=self._count,
                at=self._clock.seconds(),
                image=execution.image,
                status=outcome.status.value,
                exit_code=outcome.exit_code,
                execution_time=round(outcome.execution_time, 6),
                queue_time=round(execution.queue_time, 6),
                warm=execution.warm,
                key=exchange.key,
                request_id=execution.request_id,
            )
        )

    def _second(self) -> Second:
        """The one that it is now."""
        number = int(self._clock.seconds())
        if self._newest.number != number:
            # Now, as the first look would have to do it for all of them at once.
            self._newest.ends()
            self._newest = self._ring[number % len(self._ring)] = Second(number)
        return self._newest

    def _rates_now(self) -> Mapping[str, object]:
        """Made once a second, however many look."""
        number = int(self._clock.seconds())
        if self._rates[0] != number:
            self._rates = (number, _rates(self._past()))
        return self._rates[1]

    def _past(self) -> list[Second]:
        """Those that are over, the oldest first; one in which nothing happened is an empty one."""
        now = int(self._clock.seconds())
        found = []
        for number in range(now - SECONDS, now):
            second = self._ring[number % len(self._ring)]
            found.append(second if second.number == number else Second(number))
        return found

    def as_json(self) -> Mapping[str, object]:
        """All that the page shows."""
        now = self._clock.seconds()
        stats = self._stats()
        health = self._health.report()
        return {
            "version": self._version,
            "uptime_seconds": round(now - self._began, 3),
            "health": {name: getattr(health, name) for name in ("status", "reasons", "ready", "advice")},
            "running": stats.running,
            "waiting": stats.waiting,
            "draining": stats.draining,
            "pools": stats.pools,
            "rates": self._rates_now(),
            "recent": [
                {"seconds_ago": round(now - ran.at, 3)} | {name: getattr(ran, name) for name in _SHOWN}
                for ran in reversed(self._recent)
            ],
        }


def _step(seconds: float) -> int:
    """Where a time stands among all: a ninth more is the next one."""
    return round(math.log2(max(seconds, 1e-6)) * STEPS)


def _rates(past: list[Second]) -> Mapping[str, object]:
    """Counts of each second, and what the quicker half and nineteen of twenty runs took at most."""
    ends = [second.ends() for second in past]
    median, most = _quantiles(past[-MINUTE:])
    return {
        "seconds": len(past),
        "runs": [second.runs for second in past],
        "failed": [second.failed for second in past],
        "refused": [second.refused for second in past],
        "p50": [half for half, _ in ends],
        "p95": [nearly for _, nearly in ends],
        "last_minute": {"p50": median, "p95": most},
    }


def _quantiles(seconds: Iterable[Second]) -> tuple[float | None, float | None]:
    """The 50th and 95th percentile of the times of all runs in them, None without runs."""
    times: dict[int, int] = {}
    for second in seconds:
        for step, count in second.times.items():
            times[step] = times.get(step, 0) + count
    if not times:
        return None, None
    total = sum(times.values())
    return _quantile(times, total, 0.5), _quantile(times, total, 0.95)


def _quantile(times: Mapping[int, int], total: int, share: float) -> float:
    seen = 0
    for step in sorted(times):
        seen += times[step]
        if seen >= share * total:
            break
    return float(f"{2 ** (step / STEPS):.3g}")
