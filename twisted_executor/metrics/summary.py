"""The figures as JSON: the README's names, and more."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from twisted_executor.boundaries import PoolStats, Status
from twisted_executor.metrics.collectors import Watched, versions
from twisted_executor.metrics.counters import Counters


def summary(counters: Counters, watched: Watched) -> Mapping[str, object]:
    """All of them, but for those of the server as a whole."""
    stats = watched.executor()
    return {
        "pools_active": sum(not pool.temporary for pool in stats.pools),
        "total_available_containers": sum(pool.idle for pool in stats.pools),
        "total_busy_containers": sum(pool.busy for pool in stats.pools),
        "pool_metrics": {pool.image: _pool(pool) for pool in stats.pools},
        **_runs(counters),
        "running": stats.running,
        "waiting": stats.waiting,
        **_containers(stats.pools),
        "leaked_containers": watched.leaks(),
        **_engine(counters),
        "threads": {lane: asdict(load) for lane, load in watched.lanes().items()},
        "attach_streams": watched.streams(),
        "http_requests": counters.requests.by("code"),
        "loop_lag_seconds": counters.largest_lag(),
        "version": versions()[0],
    }


def _runs(counters: Counters) -> Mapping[str, object]:
    by_status = counters.runs.by("status")
    total, good = sum(by_status.values()), by_status.get(Status.OK.value, 0)
    return {
        "total_executions": total,
        "successful_executions": good,
        "failed_executions": total - good,
        "success_rate": good / total if total else None,
        "failure_rate": (total - good) / total if total else None,
        "average_execution_time": counters.total_run_time / total if total else None,
        "executions_by_status": by_status,
    }


def _containers(pools: Iterable[PoolStats]) -> Mapping[str, object]:
    retired: Tally[str] = Tally()
    for pool in pools:
        retired.update(pool.retired)
    return {
        "containers_created": sum(pool.created for pool in pools),
        "container_create_failures": sum(pool.create_failures for pool in pools),
        "containers_retired": retired.total(),
        "containers_retired_by_reason": dict(retired),
    }


def _engine(counters: Counters) -> Mapping[str, object]:
    errors: dict[str, dict[str, int]] = {}
    for (call, error), count in counters.call_errors.items():
        errors.setdefault(call, {})[error] = count
    return {
        "engine_errors": errors,
        "engine_call_times": {call: average for (call,), average in counters.call_time.averages()},
    }


def _pool(pool: PoolStats) -> Mapping[str, object]:
    demand = pool.demand
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
        "waited_share": demand and demand.waited_share,
        "average_wait": demand and demand.average_wait,
        "longest_wait": demand and demand.longest_wait,
        "recommended_size": demand and demand.recommended_size,
    }
