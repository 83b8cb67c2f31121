"""docs/metrics.md has a row for each metric, and each metric is in docs/metrics.md."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from twisted.internet.task import Clock

from tests.unit.scraping import parsed
from twisted_executor.boundaries import Answered, CanaryStats, Demand, ExecutorStats, Job
from twisted_executor.errors import EngineTimeout, Overloaded
from twisted_executor.metrics.collectors import Watched
from twisted_executor.metrics.registry import Metrics
from twisted_executor.services import ThreadsLoad
from twisted_executor.testing import execution, pool_stats

PAGE = Path(__file__).parents[2] / "docs/metrics.md"
ROW = re.compile(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \|([^|]*)\|", re.MULTILINE)
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def busy() -> Metrics:
    """Of everything something has happened."""
    pool = dataclasses.replace(
        pool_stats("alpine", target=1), retired={"old": 1}, demand=Demand(300.0, 1, 0.5, 0.1, 0.1, 2)
    )
    watched = Watched(
        lambda: ExecutorStats((pool,), running=1, waiting=0, draining=False),
        lanes=lambda: {"control": ThreadsLoad(1, 0, 6)},
        canary=lambda: (CanaryStats("alpine", "ok", None, 0.01, 1.0, 1.0, {"ok": 1}),),
        lost_events=lambda: {"syslog": 1},
    )
    metrics = Metrics(CollectorRegistry(), Clock(), watched, ("alpine",))
    counters = metrics.counters
    counters.ran(execution(Job(script=b"id", timeout=30.0, request_id="id-1")), "alice")
    counters.taken("alpine", warm=True, seconds=0.1)
    counters.called("create", 0.1, EngineTimeout("It hangs."))
    counters.answered(Answered(503, "POST", "/execute", error=Overloaded("Too many wait.")))
    return metrics


def told() -> dict[str, tuple[str, frozenset[str]]]:
    """Each metric's type and labels, by the name that the page has."""
    found = {}
    for family in parsed(OPENMETRICS, busy().as_text(OPENMETRICS)[1]):
        assert family.samples, f"{family.name}: let something happen"
        name = family.name.removeprefix("script_executor_") + ("_total" if family.type == "counter" else "")
        labels = frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
        found[name] = family.type, labels
        assert family.documentation
    return found


def test_page() -> None:
    """Names, types and labels are the same."""
    rows = ROW.findall(PAGE.read_text())
    assert {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows} == told()
    assert len(rows) == len(told())
