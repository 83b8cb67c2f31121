"""What is looked at when somebody looks.  Nothing of it waits or asks the engine, which may hang."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata

from twisted_executor.boundaries import CanaryStats, ExecutorStats, PoolStats
from twisted_executor.metrics.instruments import Family
from twisted_executor.services import ThreadsLoad

STATES = ("target", "idle", "busy", "creating", "retiring")


@dataclass(frozen=True, slots=True)
class Watched:
    """Where to look.

    @ivar lanes: the engine's threads by their name.  @ivar streams: those to containers that are open.
    @ivar leaks: containers that the sweep has found and removed.  @ivar connections: of clients.
    @ivar canary: of each pool, if there is one.  @ivar lost_events: events of the log that an observer has dropped.
    """

    executor: Callable[[], ExecutorStats]
    lanes: Callable[[], Mapping[str, ThreadsLoad]] = dict
    streams: Callable[[], int] = int
    leaks: Callable[[], int] = int
    connections: Callable[[], int] = int
    canary: Callable[[], tuple[CanaryStats, ...]] = tuple
    lost_events: Callable[[], Mapping[str, int]] = dict


@cache
def versions() -> tuple[str, str, str]:
    """Of this package, of Python and of Twisted."""
    try:
        own = metadata.version("twisted-executor")
    except metadata.PackageNotFoundError:  # it runs from a folder that nobody installed
        own = "unknown"
    return own, platform.python_version(), metadata.version("twisted")


_RUNNING = Family("running", "gauge", "Scripts that run.")
_DRAINING = Family("draining", "gauge", "1 while the server stops.")
_CONTAINERS = Family("containers", "gauge", "Containers by state; target is how many are kept.", "image", "state")
_WAITING = Family("waiting", "gauge", "Requests in the line of a pool.", "image")
# A name that ends with _created is a time in OpenMetrics.
_MADE = Family("container_creations", "counter", "Containers made.", "image")
_NOT_MADE = Family("container_creation_failures", "counter", "Containers not made.", "image")
_RETIRED = Family("container_retirements", "counter", "Containers removed, by reason.", "image", "reason")
_WAITED = Family("pool_waited_share", "gauge", "Share of the requests for which no container was there.", "image")
_SIZE = Family("pool_recommended_size", "gauge", "Size of the pool that would do.", "image")
_THREADS = Family("threads", "gauge", "Calls to the engine: busy, waiting, and most at once.", "lane", "state")
_STREAMS = Family("attach_streams", "gauge", "Open streams to containers.")
_LEAKED = Family("leaked_containers", "counter", "Containers that the sweep found and removed.")
_CONNECTIONS = Family("http_connections", "gauge", "Connections of clients.")
_CANARY_RUNS = Family("canary_runs", "counter", "Runs of the canary, by result.", "result")
_CANARY_TIME = Family("canary_seconds", "gauge", "Time that the newest run of the canary took.", "image")
_LOST = Family("log_events_lost", "counter", "Events of the log that could not be written.", "observer")
_BUILD = Family("build_info", "gauge", "What runs here.", "version", "python", "twisted")


def collected(watched: Watched, strict: bool) -> Iterator[str]:
    """The text of all that is looked at.  @param strict: for OpenMetrics."""
    stats = watched.executor()
    yield _RUNNING.text([((), stats.running)], strict)
    yield _DRAINING.text([((), int(stats.draining))], strict)
    yield from _pools(stats.pools, strict)
    loads = watched.lanes().items()
    yield _THREADS.text(
        [((lane, state), getattr(load, state)) for lane, load in loads for state in ("busy", "waiting", "most")], strict
    )
    yield _STREAMS.text([((), watched.streams())], strict)
    yield _LEAKED.text([((), watched.leaks())], strict)
    yield _CONNECTIONS.text([((), watched.connections())], strict)
    yield from _canary(watched.canary(), strict)
    yield _LOST.text([((observer,), count) for observer, count in watched.lost_events().items()], strict)
    yield _BUILD.text([(versions(), 1)], strict)


def _canary(canaries: tuple[CanaryStats, ...], strict: bool) -> Iterator[str]:
    runs: Counter[str] = Counter()
    for canary in canaries:
        runs.update(canary.runs)
    yield _CANARY_RUNS.text([((result,), count) for result, count in runs.items()], strict)
    yield _CANARY_TIME.text([((c.image,), c.seconds) for c in canaries if c.result is not None], strict)


def _pools(pools: tuple[PoolStats, ...], strict: bool) -> Iterator[str]:
    yield _CONTAINERS.text([((p.image, state), getattr(p, state)) for p in pools for state in STATES], strict)
    yield _WAITING.text([((p.image,), p.waiting) for p in pools], strict)
    yield _MADE.text([((p.image,), p.created) for p in pools], strict)
    yield _NOT_MADE.text([((p.image,), p.create_failures) for p in pools], strict)
    yield _RETIRED.text([((p.image, why), count) for p in pools for why, count in p.retired.items()], strict)
    watched = [(p.image, p.demand) for p in pools if p.demand is not None]
    yield _WAITED.text([((image,), demand.waited_share) for image, demand in watched], strict)
    sizes = [(image, demand.recommended_size) for image, demand in watched]
    yield _SIZE.text([((image,), size) for image, size in sizes if size is not None], strict)
