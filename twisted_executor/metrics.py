"""All figures, from one registry.  The only module that knows prometheus_client.

What counts is wrapped around what works: no pool and no executor counts for itself what is counted here.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from twisted_executor.boundaries import (
    Execution,
    ExecutorStats,
    IExecutor,
    IMetrics,
    ISandbox,
    ISandboxSource,
    Job,
    PoolStats,
    Status,
)
from twisted_executor.errors import ExecutorError
from twisted_executor.images import canonical

# Clients choose what is looked up here; parsing takes longer than all else that is counted for a run.
_canonical = lru_cache(maxsize=256)(canonical)

OTHER = "other"  # the label of all images that nobody configured
TIMES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)  # seconds
LAGS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
LAG_MEMORY = 60.0  # seconds


@implementer(IMetrics)
class Metrics:
    """The registry, and what is counted in it."""

    def __init__(
        self,
        registry: CollectorRegistry,
        clock: IReactorTime,
        stats: Callable[[], ExecutorStats],
        images: Iterable[str],
        instance: str = "",
    ) -> None:
        """@param stats: asked when somebody looks.  @param images: the configured ones, as the operator wrote them.

        @param instance: this server's id, in the label "twisted-executor.instance" of all its containers.
        """
        self._registry = registry
        self._clock = clock
        self._began = clock.seconds()
        self._stats = stats
        self._instance = instance
        self._labels = {canonical(image): image for image in images}
        self._runs = Counter("script_executor_runs", "Runs by how they ended.", ["image", "status"], registry=registry)
        self._runs_by_key = Counter(
            "script_executor_runs_by_key", "Runs by API key and how they ended.", ["key", "status"], registry=registry
        )
        self._refused = Counter(
            "script_executor_refused", "Requests that did not come to a run, by code.", ["code"], registry=registry
        )
        self._run_time = Histogram(
            "script_executor_run_seconds", "Time of the script itself.", ["image"], buckets=TIMES, registry=registry
        )
        self._queue_time = Histogram(
            "script_executor_queue_seconds", "Time until a container was there.", ["warm"], buckets=TIMES,
            registry=registry,
        )  # fmt: skip
        self._create_time = Histogram(
            "script_executor_create_seconds", "Time to make a container.", buckets=TIMES, registry=registry
        )
        self._lag = Histogram(
            "script_executor_loop_lag_seconds", "How late the event loop was.", buckets=LAGS, registry=registry
        )
        self._lags: deque[tuple[float, float]] = deque()  # each larger than all after it
        # labels() takes longer than counting.
        self._runs_of = lru_cache(self._runs.labels)
        self._run_time_of = lru_cache(self._run_time.labels)
        self._queue_time_of = lru_cache(self._queue_time.labels)
        self._by_status: Tally[str] = Tally()
        self._total_time = 0.0
        registry.register(_Pools(stats))

    def ran(self, execution: Execution, key: str) -> None:
        """A script came to an end.  @param key: the name of the API key, empty without keys."""
        outcome = execution.outcome
        image = self._label(execution.image)
        self._runs_of(image, outcome.status.value).inc()
        if key:
            self._runs_by_key.labels(key, outcome.status.value).inc()
        self._run_time_of(image).observe(outcome.execution_time)
        self._queue_time_of("yes" if execution.warm else "no").observe(execution.queue_time)
        self._by_status[outcome.status.value] += 1
        self._total_time += outcome.execution_time

    def _label(self, image: str) -> str:
        """What the operator calls this image; clients may call it otherwise, and may name any other."""
        return self._labels.get(_canonical(image), OTHER)

    def refused(self, code: str) -> None:
        """A request did not come to a run, or its run was lost or cancelled."""
        self._refused.labels(code).inc()

    def made(self, seconds: float) -> None:
        """A container was made in so many seconds."""
        self._create_time.observe(seconds)

    def lagged(self, seconds: float) -> None:
        """The event loop was so late."""
        self._lag.observe(seconds)
        while self._lags and self._lags[-1][1] <= seconds:
            self._lags.pop()
        self._lags.append((self._clock.seconds(), seconds))
        self._largest_lag()

    def _largest_lag(self) -> float:
        """Of the last minute; older ones are forgotten."""
        while self._lags and self._clock.seconds() - self._lags[0][0] > LAG_MEMORY:
            self._lags.popleft()
        return self._lags[0][1] if self._lags else 0.0

    def as_json(self) -> Mapping[str, object]:
        """The README's names, and more."""
        stats = self._stats()
        total = self._by_status.total()
        good = self._by_status[Status.OK.value]
        retired: Tally[str] = Tally()
        for pool in stats.pools:
            retired.update(pool.retired)
        return {
            "pools_active": sum(not pool.temporary for pool in stats.pools),
            "total_available_containers": sum(pool.idle for pool in stats.pools),
            "total_busy_containers": sum(pool.busy for pool in stats.pools),
            "pool_metrics": {pool.image: _pool_json(pool) for pool in stats.pools},
            "total_executions": total,
            "successful_executions": good,
            "failed_executions": total - good,
            "success_rate": good / total if total else None,
            "failure_rate": (total - good) / total if total else None,
            "average_execution_time": self._total_time / total if total else None,
            "executions_by_status": dict(self._by_status),
            "running": stats.running,
            "waiting": stats.waiting,
            "containers_created": sum(pool.created for pool in stats.pools),
            "container_create_failures": sum(pool.create_failures for pool in stats.pools),
            "containers_retired": retired.total(),
            "containers_retired_by_reason": dict(retired),
            "uptime_seconds": self._clock.seconds() - self._began,
            "loop_lag_seconds": self._largest_lag(),
            "instance": self._instance,
        }

    def as_text(self, accept: str) -> tuple[str, bytes]:
        """Prometheus or OpenMetrics text."""
        try:
            encoder, kind = choose_encoder(accept)
        except (TypeError, ValueError):  # a version that is none
            encoder, kind = choose_encoder("text/plain")
        return kind, encoder(self._registry)


def _pool_json(pool: PoolStats) -> Mapping[str, object]:
    return {
        "pool_size": pool.target,
        "available_containers": pool.idle,
        "busy_containers": pool.busy,
        "creating_containers": pool.creating,
        "retiring_containers": pool.retiring,
        "waiting_requests": pool.waiting,
        "total_executions": pool.executions,
        "containers_created": pool.created,
        "container_create_failures": pool.create_failures,
        "containers_retired": dict(pool.retired),
        "last_failure": pool.failure,
        "refresh_failure": pool.refresh_failure,
    }


class _Pools(Collector):
    """Looks at the pools when Prometheus does."""

    def __init__(self, stats: Callable[[], ExecutorStats]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """One sample for each pool and state."""
        containers = GaugeMetricFamily(
            "script_executor_containers", "Containers by state; target is how many are kept.", labels=["image", "state"]
        )
        waiting = GaugeMetricFamily("script_executor_waiting", "Requests in the line of a pool.", labels=["image"])
        # A name that ends with _created is a time in OpenMetrics.
        made = CounterMetricFamily("script_executor_container_creations", "Containers made.", labels=["image"])
        failed = CounterMetricFamily(
            "script_executor_container_creation_failures", "Containers not made.", labels=["image"]
        )
        stale = GaugeMetricFamily(
            "script_executor_image_refresh_failing", "1 while the image cannot be pulled again.", labels=["image"]
        )
        retired = CounterMetricFamily(
            "script_executor_container_retirements", "Containers removed, by reason.", labels=["image", "reason"]
        )
        stats = self._stats()
        running = GaugeMetricFamily("script_executor_running", "Scripts that run.", value=stats.running)
        draining = GaugeMetricFamily("script_executor_draining", "1 while the server stops.", value=stats.draining)
        for pool in stats.pools:
            for state in ("target", "idle", "busy", "creating", "retiring"):
                containers.add_metric([pool.image, state], getattr(pool, state))
            waiting.add_metric([pool.image], pool.waiting)
            made.add_metric([pool.image], pool.created)
            failed.add_metric([pool.image], pool.create_failures)
            stale.add_metric([pool.image], pool.refresh_failure is not None)
            for reason, count in pool.retired.items():
                retired.add_metric([pool.image, reason], count)
        yield from (containers, waiting, made, failed, stale, retired, running, draining)


@implementer(IExecutor)
class MeteredExecutor:
    """An executor whose runs are counted."""

    def __init__(self, executor: IExecutor, metrics: Metrics) -> None:
        self._executor = executor
        self._metrics = metrics

    def check_room(self) -> None:
        """As the executor does, counting a refusal."""
        try:
            self._executor.check_room()
        except ExecutorError as error:
            self._metrics.refused(error.code)
            raise

    def execute(self, job: Job) -> Deferred[Execution]:
        """As the executor does, counting what comes of it."""
        return self._executor.execute(job).addCallbacks(self._ran, self._failed, callbackArgs=(job.tenant.key,))

    def stats(self) -> ExecutorStats:
        """The executor's."""
        found: ExecutorStats = self._executor.stats()
        return found

    def _ran(self, execution: Execution, key: str) -> Execution:
        self._metrics.ran(execution, key)
        return execution

    def _failed(self, failure: Any) -> Any:
        if failure.check(CancelledError):
            self._metrics.refused(Status.CANCELLED.value)
        elif failure.check(ExecutorError):
            self._metrics.refused(failure.value.code)
        return failure


@implementer(ISandboxSource)
class MeteredSource:
    """A source whose creations are timed."""

    def __init__(self, source: ISandboxSource, made: Callable[[float], None], clock: IReactorTime) -> None:
        """@param made: told the seconds of each creation."""
        self._source = source
        self._made = made
        self._clock = clock

    def create(self, image: str) -> Deferred[ISandbox]:
        """As the source does, timing it."""
        began = self._clock.seconds()

        def came(sandbox: ISandbox) -> ISandbox:
            self._made(self._clock.seconds() - began)
            return sandbox

        return self._source.create(image).addCallback(came)
