"""The figures, in all forms."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.unit.scraping import parsed, sampled
from twisted_executor.boundaries import CanaryStats, Demand, ExecutorStats, IMetrics, Job, Status, Tenant
from twisted_executor.errors import EngineTimeout, NotFound
from twisted_executor.metrics.collectors import Watched, versions
from twisted_executor.metrics.registry import Metrics
from twisted_executor.metrics.wrappers import MeteredExecutor
from twisted_executor.services import ThreadsLoad
from twisted_executor.testing import HELLO, MemoryExecutor, pool_stats

JOB = Job(script=b"id", timeout=30.0, request_id="id-1")
ALPINE = dataclasses.replace(
    pool_stats("alpine:latest", target=5, idle=4, busy=1, creating=2, retiring=3, waiting=6, executions=10, created=9),
    retired={"used up": 2, "dirty": 1},
)
PYTHON = dataclasses.replace(
    pool_stats("python-scientific-executor", target=3, idle=3, executions=5, created=3, create_failures=7),
    retired={"dirty": 1},
    failure="It has no /bin/sh.",
)


class MetricsTests(SynchronousTestCase):
    """A metered executor over one in memory."""

    def setUp(self) -> None:
        """Nothing has run."""
        self.clock = Clock()
        self.executor = MemoryExecutor()
        self.executor.figures = ExecutorStats((ALPINE, PYTHON), running=1, waiting=6, draining=False)
        watched = Watched(
            self.executor.stats,
            lanes=lambda: {"control": ThreadsLoad(2, 1, 6), "pulls": ThreadsLoad(0, 0, 2)},
            streams=lambda: 8,
            leaks=lambda: 3,
            connections=lambda: 21,
        )
        self.metrics = Metrics(
            CollectorRegistry(), self.clock, watched, ("alpine:latest", "python-scientific-executor"), "id"
        )
        self.counters = self.metrics.counters
        self.metered = MeteredExecutor(self.executor, self.counters.ran)

    def run_job(self, status: Status = Status.OK, seconds: float = 0.1, image: str | None = None) -> None:
        """A script runs to its end."""
        job = dataclasses.replace(JOB, image=image)
        self.successResultOf(self._finish(job, dataclasses.replace(HELLO, status=status, execution_time=seconds)))

    def _finish(self, job: Job, outcome: Any) -> Any:
        running = self.metered.execute(job)
        self.executor.finish(outcome)
        return running

    def samples(self, accept: str = "text/plain") -> dict[tuple[str, ...], float]:
        """The text that a scrape gets, by name and labels."""
        return sampled(*self.metrics.as_text(accept))

    def test_interface(self) -> None:
        """It is what the API asks for."""
        verifyObject(IMetrics, self.metrics)

    def test_readme(self) -> None:
        """The README's names lead to what the README says."""
        found = self.metrics.as_json()
        self.assertEqual(found["pools_active"], 2)
        self.assertEqual(found["total_available_containers"], 7)
        pools: Any = found["pool_metrics"]
        shown = {
            image: {name: pool[name] for name in ("pool_size", "available_containers", "total_executions")}
            for image, pool in pools.items()
        }
        self.assertEqual(
            shown,
            {
                "alpine:latest": {"pool_size": 5, "available_containers": 4, "total_executions": 10},
                "python-scientific-executor": {"pool_size": 3, "available_containers": 3, "total_executions": 5},
            },
        )

    def test_temporary_containers(self) -> None:
        """They have their figures under a name of their own and are no pool that is active."""
        temporary = pool_stats("temporary", idle=1, executions=4, temporary=True)
        self.executor.figures = ExecutorStats((ALPINE, temporary), running=0, waiting=0, draining=False)
        found: Any = self.metrics.as_json()
        self.assertEqual(found["pools_active"], 1)
        self.assertEqual(found["total_available_containers"], 5)
        self.assertEqual(found["pool_metrics"]["temporary"]["total_executions"], 4)

    def test_more_of_each_pool(self) -> None:
        """Beside the README's figures stands the rest that a pool knows; null is what nobody knows."""
        pools: Any = self.metrics.as_json()["pool_metrics"]
        self.assertEqual(
            {name: value for name, value in pools["alpine:latest"].items() if name not in ("pool_size",)},
            {
                "available_containers": 4, "busy_containers": 1, "creating_containers": 2, "retiring_containers": 3,
                "waiting_requests": 6, "total_executions": 10, "containers_created": 9,
                "container_create_failures": 0, "containers_retired": {"used up": 2, "dirty": 1}, "last_failure": None,
                "waited_share": None, "average_wait": None, "longest_wait": None, "recommended_size": None,
            },
        )  # fmt: skip
        self.assertEqual(pools["python-scientific-executor"]["last_failure"], "It has no /bin/sh.")

    def test_demand(self) -> None:
        """How a pool is asked for, where somebody watches it; a size that nobody can tell is no figure."""
        asked = dataclasses.replace(ALPINE, demand=Demand(300.0, 9, 0.25, 0.5, 2.0, 7))
        unsure = dataclasses.replace(PYTHON, demand=Demand(300.0, 0, 0.0, 0.0, 0.0, None))
        self.executor.figures = ExecutorStats((asked, unsure), running=0, waiting=0, draining=False)
        pools: Any = self.metrics.as_json()["pool_metrics"]
        names = ("waited_share", "average_wait", "longest_wait", "recommended_size")
        self.assertEqual([pools["alpine:latest"][name] for name in names], [0.25, 0.5, 2.0, 7])
        self.assertEqual([pools["python-scientific-executor"][name] for name in names], [0.0, 0.0, 0.0, None])
        samples = self.samples()
        self.assertEqual(samples["script_executor_pool_waited_share", "alpine:latest"], 0.25)
        self.assertEqual(samples["script_executor_pool_waited_share", "python-scientific-executor"], 0)
        self.assertEqual(samples["script_executor_pool_recommended_size", "alpine:latest"], 7)
        self.assertNotIn(("script_executor_pool_recommended_size", "python-scientific-executor"), samples)

    def test_life_of_containers(self) -> None:
        """Containers that came and went are counted over all pools."""
        found = self.metrics.as_json()
        self.assertEqual(found["containers_created"], 12)
        self.assertEqual(found["container_create_failures"], 7)
        self.assertEqual(found["containers_retired"], 4)
        self.assertEqual(found["containers_retired_by_reason"], {"used up": 2, "dirty": 2})
        self.assertEqual((found["running"], found["waiting"], found["total_busy_containers"]), (1, 6, 1))

    def test_before_the_first_run(self) -> None:
        """Rates and averages of nothing are null."""
        found = self.metrics.as_json()
        self.assertEqual(found["total_executions"], 0)
        for name in ("success_rate", "failure_rate", "average_execution_time"):
            self.assertIsNone(found[name])

    def test_rates(self) -> None:
        """A script that ended with 0 is a success, any other a failure."""
        self.run_job(seconds=0.1)
        self.run_job(seconds=0.2)
        self.run_job(seconds=0.3)
        self.run_job(Status.TIMEOUT, seconds=3.0)
        found = self.metrics.as_json()
        self.assertEqual([found[f"{name}_executions"] for name in ("total", "successful", "failed")], [4, 3, 1])
        self.assertEqual((found["success_rate"], found["failure_rate"]), (0.75, 0.25))
        self.assertAlmostEqual(found["average_execution_time"], 0.9)  # type: ignore[type-var]
        self.assertEqual(found["executions_by_status"], {"ok": 3, "timeout": 1})

    def test_engine(self) -> None:
        """How long calls take on average, and how they fail."""
        self.counters.called("create", 0.1, None)
        self.counters.called("create", 0.3, EngineTimeout("It hangs."))
        self.counters.called("image", 0.01, NotFound("It is not there."))
        self.counters.called("image", 0.01, NotFound("It is not there."))
        found: Any = self.metrics.as_json()
        self.assertEqual(found["engine_errors"], {"create": {"engine_timeout": 1}, "image": {"not_found": 2}})
        self.assertEqual(set(found["engine_call_times"]), {"create", "image"})
        self.assertAlmostEqual(found["engine_call_times"]["create"], 0.2)

    def test_looked_at(self) -> None:
        """What is not counted but looked at."""
        found: Any = self.metrics.as_json()
        self.assertEqual((found["leaked_containers"], found["attach_streams"]), (3, 8))
        self.assertEqual(found["threads"]["control"], {"busy": 2, "waiting": 1, "most": 6})
        self.assertEqual(found["version"], versions()[0])
        samples = self.samples()
        self.assertEqual(samples["script_executor_leaked_containers_total",], 3)
        self.assertEqual(samples["script_executor_attach_streams",], 8)
        self.assertEqual(samples["script_executor_http_connections",], 21)
        states = [samples["script_executor_threads", "control", state] for state in ("busy", "waiting", "most")]
        self.assertEqual(states, [2, 1, 6])
        (build,) = [key for key in samples if key[0] == "script_executor_build_info"]
        self.assertEqual(sorted(build[1:]), sorted(versions()))

    def test_canary(self) -> None:
        """Its runs in all pools together, and its time in each where there was a run."""
        ran = CanaryStats("alpine", "failed", "It failed.", 0.02, 1.0, None, {"ok": 2, "failed": 1})
        not_yet = CanaryStats("python", None, None, 0.0, 0.0, None, {"skipped": 3, "ok": 1})
        watched = Watched(self.executor.stats, canary=lambda: (ran, not_yet), lost_events=lambda: {"syslog": 4})
        samples = sampled(*Metrics(CollectorRegistry(), self.clock, watched, ()).as_text("text/plain"))
        runs = {key[1]: value for key, value in samples.items() if key[0] == "script_executor_canary_runs_total"}
        self.assertEqual(runs, {"ok": 3, "failed": 1, "skipped": 3})
        times = {key[1]: value for key, value in samples.items() if key[0] == "script_executor_canary_seconds"}
        self.assertEqual(times, {"alpine": 0.02})
        self.assertEqual(samples["script_executor_log_events_lost_total", "syslog"], 4)

    def test_lag(self) -> None:
        """The largest of the last minute, and all of them for Prometheus."""
        for lag in (0.001, 0.3, 0.02, 0.004):
            self.counters.lagged(lag)
            self.clock.advance(20)
        self.assertEqual(self.metrics.as_json()["loop_lag_seconds"], 0.3)
        self.clock.advance(20)
        self.assertEqual(self.metrics.as_json()["loop_lag_seconds"], 0.02)
        self.clock.advance(60)
        self.assertEqual(self.metrics.as_json()["loop_lag_seconds"], 0)
        self.assertEqual(self.samples()["script_executor_loop_lag_seconds_count",], 4)

    def test_uptime(self) -> None:
        """Seconds since the start."""
        self.clock.advance(12.5)
        self.assertEqual(self.metrics.as_json()["uptime_seconds"], 12.5)
        self.assertEqual(self.metrics.as_json()["instance"], "id")

    def test_runs_by_image_and_status(self) -> None:
        """Runs are counted under the operator's name of the image, however the client spelt it."""
        self.run_job()
        self.run_job(image="alpine")
        self.run_job(Status.NONZERO_EXIT, image="docker.io/library/alpine:latest")
        self.run_job(image="python-scientific-executor")
        samples = self.samples()
        name = "script_executor_runs_total"
        self.assertEqual(samples[name, "alpine:latest", "ok"], 2)
        self.assertEqual(samples[name, "alpine:latest", "nonzero_exit"], 1)
        self.assertEqual(samples[name, "python-scientific-executor", "ok"], 1)
        self.assertEqual(samples["script_executor_run_seconds_count", "alpine:latest"], 3)
        self.assertEqual(samples["script_executor_queue_seconds_count", "alpine:latest"], 3)

    def test_runs_by_key(self) -> None:
        """Runs are counted by the API key, whose names are the operator's; without keys not at all."""
        self.run_job()
        assert not [name for name, *_ in self.samples() if "by_key" in name]
        for key, tenant in (("alice", "a"), ("alice", "b"), ("bob", "")):
            self.successResultOf(self._finish(dataclasses.replace(JOB, tenant=Tenant(key, tenant)), HELLO))
        assert self.samples()["script_executor_runs_by_key_total", "alice", "ok"] == 2
        assert self.samples()["script_executor_runs_by_key_total", "bob", "ok"] == 1

    def test_gauges_are_of_the_moment(self) -> None:
        """The pools are looked at when the scrape comes."""
        self.assertEqual(self.samples()["script_executor_containers", "alpine:latest", "idle"], 4)
        emptier = dataclasses.replace(ALPINE, idle=0)
        self.executor.figures = ExecutorStats((emptier,), running=2, waiting=6, draining=True)
        samples = self.samples()
        self.assertEqual(samples["script_executor_containers", "alpine:latest", "idle"], 0)
        self.assertEqual(samples["script_executor_containers", "alpine:latest", "target"], 5)
        self.assertEqual(samples["script_executor_waiting", "alpine:latest"], 6)
        self.assertEqual(samples["script_executor_container_creations_total", "alpine:latest"], 9)
        self.assertEqual(samples["script_executor_container_retirements_total", "alpine:latest", "dirty"], 1)
        self.assertEqual((samples["script_executor_running",], samples["script_executor_draining",]), (2, 1))

    def test_openmetrics(self) -> None:
        """Both texts say the same, and OpenMetrics' own parser, which is strict, takes ours."""
        self.run_job()
        self.counters.called("create", 0.1, EngineTimeout("It hangs."))
        strict = self.samples("application/openmetrics-text;version=1.0.0")
        self.assertEqual(strict["script_executor_runs_total", "alpine:latest", "ok"], 1)
        plain = self.samples()
        of_us = {key: value for key, value in plain.items() if not key[0].startswith("process_")}
        self.assertEqual({key: strict[key] for key in of_us}, of_us)
        self.assertEqual(set(strict), set(plain))

    def test_process(self) -> None:
        """What the process takes is told too."""
        self.assertGreater(self.samples()["process_resident_memory_bytes",], 1 << 20)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "text/plain",
        "application/openmetrics-text",
        "garbage;;=,",
        "\xff",
        "text/plain;version=1.beta",
        "application/openmetrics-text;version=x",
    ],
)
def test_any_accept(accept: str) -> None:
    """Whatever is accepted, text comes back."""
    clock = Clock()
    watched = Watched(lambda: ExecutorStats((), 0, 0, draining=False))
    kind, text = Metrics(CollectorRegistry(), clock, watched, ()).as_text(accept)
    assert "text" in kind
    assert b"# TYPE" in text
    assert parsed(kind, text)
