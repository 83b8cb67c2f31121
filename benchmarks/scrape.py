"""What a look at the figures costs, beside the library that is made for it.  Needs no engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import median

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import choose_encoder
from twisted.internet.task import Clock

from benchmarks.figures import Report
from twisted_executor.boundaries import Answered, Demand, ExecutorStats, Job, Status
from twisted_executor.metrics.collectors import Watched
from twisted_executor.metrics.counters import TIMES
from twisted_executor.metrics.registry import Metrics
from twisted_executor.schema import encode
from twisted_executor.testing import HELLO, execution, pool_stats

POOLS = 50
MOST = 5.0  # milliseconds of a processor
RETIRED = {"used_up": 9, "old": 2, "dirty": 1, "timeout": 3, "out_of_memory": 1}
CALLS = ("info", "now", "create", "start", "remove", "containers", "fate", "image", "pull", "fill_volume")
PATHS = ("/execute", "/health", "/health/live", "/health/ready", "/images", "/metrics", "/nothing")
HISTOGRAMS = 4  # of which each image has its own


def images() -> list[str]:
    """Of all pools."""
    return [f"registry.example.com/team/image-{number}:1.0" for number in range(POOLS)]


def filled() -> Metrics:
    """Every pool has had runs of every kind, and images without a pool too."""
    demand = Demand(300.0, 50, 0.1, 0.02, 0.2, 6)
    pools = [
        replace(pool_stats(image, target=5, idle=5, created=16), retired=RETIRED, demand=demand) for image in images()
    ]
    stats = ExecutorStats((*pools, pool_stats("temporary", temporary=True)), 0, 0, draining=False)
    metrics = Metrics(CollectorRegistry(), Clock(), Watched(lambda: stats), images())
    counters = metrics.counters
    for image in (*images(), *(f"other-{number}" for number in range(20))):
        for status in Status:
            job = Job(script=b"x", timeout=1.0, request_id="r", image=image)
            counters.ran(execution(job, replace(HELLO, status=status)), "key")
        for warm in (True, False):
            counters.taken(image, warm, 0.01)
    for call in CALLS:
        counters.called(call, 0.01, None)
    for path in PATHS:
        for method in ("GET", "POST"):
            for code in (200, 400, 401, 404, 405, 503):
                counters.answered(Answered(code, method, path, 0.01))
    return metrics


def of_the_library() -> Callable[[], bytes]:
    """The histograms of the pools alone, in prometheus_client's own classes and text."""
    registry = CollectorRegistry()
    for number in range(HISTOGRAMS):
        histogram = Histogram(f"script_executor_{number}_seconds", "Time.", ["image"], buckets=TIMES, registry=registry)
        for image in images():
            histogram.labels(image).observe(0.01)
    encoder, _ = choose_encoder("text/plain")
    return lambda: encoder(registry)


def cost(work: Callable[[], bytes], repeats: int) -> Mapping[str, float]:
    """Milliseconds of a processor, as others use this machine too; the event loop does nothing else meanwhile."""
    found = []
    for _ in range(repeats):
        began = time.process_time()
        text = work()
        found.append((time.process_time() - began) * 1e3)
    return {"processor ms": median(found), "KiB": len(text) / 1024}


def scrape(report: Report, repeats: int) -> None:
    """Add it."""
    section = f"a look at the figures of {POOLS} pools"
    metrics = filled()
    forms: dict[str, Callable[[], bytes]] = {
        "JSON": lambda: encode(metrics.as_json()),
        "Prometheus": lambda: metrics.as_text("text/plain")[1],
        "OpenMetrics": lambda: metrics.as_text("application/openmetrics-text;version=1.0.0")[1],
        f"prometheus_client, {HISTOGRAMS} histograms alone": of_the_library(),
    }
    found = {name: report.add(section, name, cost(work, repeats))["processor ms"] for name, work in forms.items()}
    *ours, library = found.values()
    for name, took in zip(forms, ours, strict=False):
        report.claim(f"{name} of {POOLS} pools", took, MOST, unit="ms")
    report.claim("Prometheus: ours to prometheus_client's", found["Prometheus"] / library, 0.5)
