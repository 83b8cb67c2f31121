"""A real Prometheus on a real server under load: it gets what dashboard, alerts and docs/monitoring.md ask for."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.observability import ALERTS, DASHBOARD, PAGE_QUERIES, QUERIES, VARIABLES
from tests.deployment.prometheus import Prometheus, configuration
from tests.engine.server_process import BUSYBOX, ServerProcess, free_port, make_images, wait_until

# Panels may be empty of these, and why.
RIGHTLY_EMPTY = {
    'script_executor_canary_runs_total{instance=~"$instance", result="failed"}': "it does not fail",
    "script_executor_log_events_lost_total": "nothing loses any",
    "script_executor_pool_waited_share": "it is not known before enough has happened",
    "script_executor_pool_recommended_size": "it is not known before enough has happened",
}


class Load:
    """Clients that do everything that there is a panel for, again and again."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        try:
            while not self._over.is_set():
                self._round()
        except BaseException as error:
            self._failure = error

    def _round(self) -> None:
        server = self._server
        assert server.execute("echo hi")["status"] == "ok"
        assert server.execute("exit 3")["status"] == "nonzero_exit"
        assert server.execute("sleep 9", timeout=0.1)["status"] == "timeout"
        assert server.execute("echo hi", image="script-executor-test:volumes").status == 200
        assert server.execute("echo hi", image="127.0.0.1:9/absent")["code"] in ("image_unavailable", "image_not_found")
        assert server.execute("")["code"] == "invalid_request"
        crowd = [threading.Thread(target=server.execute, args=("sleep 0.2",)) for _ in range(4)]
        for one in crowd:
            one.start()
        for one in crowd:
            one.join()

    def check(self) -> None:
        """Fail if a client was answered otherwise than it should be."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Let the clients go."""
        self._over.set()
        self._thread.join()


@pytest.fixture(scope="module")
def load() -> Iterator[tuple[Load, str]]:
    """A server with too few containers and a port for figures, and its clients; and that port's address."""
    make_images("volumes")
    figures = f"127.0.0.1:{free_port()}"
    server = ServerProcess(POOL_SIZE="1", QUEUE_SIZE="1", CUSTOM_IMAGE_PULL_RETRIES="0", METRICS_LISTEN=figures)
    try:
        clients = Load(server.ready())
        yield clients, figures
        clients.stop()
        clients.check()
    finally:
        server.discard()


@pytest.fixture(scope="module")
def prometheus(load: tuple[Load, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It scrapes that server as the shipped file says."""
    running = Prometheus(tmp_path_factory.mktemp("prometheus"), configuration("prometheus.yml", load[1]))
    try:
        assert running.scraped() == {"script-executor": ("up", "")}
        yield running
    finally:
        running.stop()


def substituted(query: str) -> str:
    """As Grafana asks it when everything is chosen; its interval is that of four scrapes."""
    return re.sub(r"\$(job|instance|image)", ".*", query).replace("$__rate_interval", "4s")


def test_panels_have_data(prometheus: Prometheus, load: tuple[Load, str]) -> None:
    """Each query of the dashboard and of the page has an answer with numbers."""
    asked = {*QUERIES, *PAGE_QUERIES}
    missing = {query for query in asked if not any(name in query for name in RIGHTLY_EMPTY)}
    assert all(any(name in query for query in QUERIES) for name in RIGHTLY_EMPTY)
    for query in asked - missing:
        prometheus.numbers(substituted(query))

    def answered() -> bool:
        load[0].check()
        missing.difference_update([query for query in missing if prometheus.numbers(substituted(query))])
        return not missing

    try:
        wait_until(answered, "data in every panel")
    except AssertionError:
        pytest.fail("\n".join(sorted(missing)))


def test_variables_have_values(prometheus: Prometheus, load: tuple[Load, str]) -> None:
    """What can be chosen: the job, the server, its images and those that others asked for."""
    found = {}
    for name, variable in VARIABLES.items():
        if variable["type"] == "query":
            parts = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert parts
            found[name] = prometheus.ask(f"label/{parts[2]}/values", **{"match[]": substituted(parts[1])})
    assert found["job"] == ["script-executor"]
    assert found["instance"] == [load[1]]
    assert {BUSYBOX, "temporary", "docker.io/library/script-executor-test:volumes"} <= set(found["image"])


def test_alerts_are_evaluated(prometheus: Prometheus) -> None:
    """Without an error, on what a server really tells; that it is overloaded is seen."""

    def rules() -> Any:
        (group,) = prometheus.ask("rules")["groups"]
        return group["rules"] if all(rule["health"] != "unknown" for rule in group["rules"]) else None

    found = wait_until(rules, "all alerts are evaluated")
    assert [(rule["name"], rule["lastError"]) for rule in found if rule.get("lastError")] == []
    assert {rule["name"] for rule in found} == {alert["alert"] for alert in ALERTS}
    (overloaded,) = (alert for alert in ALERTS if alert["alert"] == "ScriptExecutorOverloaded")
    wait_until(lambda: prometheus.numbers(overloaded["expr"]), "an overloaded server")
    for annotation in DASHBOARD["annotations"]["list"]:
        prometheus.numbers(substituted(annotation["expr"]))


def test_with_a_key(tmp_path: Path) -> None:
    """The lines that are comments in both files are what a server with API keys needs; without them it is down."""
    keys, secret = tmp_path / "keys", tmp_path / "secret"
    keys.write_text("prometheus:0123456789abcdef-figures\n")
    keys.chmod(0o600)
    secret.write_text("0123456789abcdef-figures\n")
    server = ServerProcess(POOL_SIZE="1", API_KEYS_FILE=str(keys))
    try:
        target = f"127.0.0.1:{server.ready().port}"
        settings = configuration("prometheus.yml", target, secret)
        others = (configuration("prometheus.swarm.yml", target, secret), configuration("prometheus.yml", target))
        for name, other in zip(("swarm", "no key"), others, strict=True):
            (job,) = other["scrape_configs"]
            settings["scrape_configs"].append(job | {"job_name": name})
        running = Prometheus(tmp_path, settings)
        try:
            states = running.scraped()
        finally:
            running.stop()
        assert states["script-executor"] == states["swarm"] == ("up", "")
        assert states["no key"][0] == "down"
        assert "401" in states["no key"][1]
    finally:
        server.discard()
