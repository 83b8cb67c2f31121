"""What operators plug into Prometheus and Grafana: complete, consistent, and answered by a real Prometheus."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.deployment.prometheus import FILES, Prometheus, configuration
from tests.engine.server_process import BUSYBOX, PROJECT, ServerProcess, free_port, make_images, wait_until

DASHBOARD = json.loads((FILES / "grafana-dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
ALERTS = [rule for group in YAML(typ="safe").load(FILES / "alerts.yml")["groups"] for rule in group["rules"]]
TESTS = (FILES / "alerts_test.yml").read_text()
PAGE = (PROJECT / "docs/monitoring.md").read_text()
SOURCE = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}

# Panels may be empty of these, and why.
RIGHTLY_EMPTY = {
    'script_executor_canary_runs_total{instance=~"$instance", result="failed"}': "it does not fail",
    "script_executor_log_events_lost_total": "nothing loses any",
    "script_executor_pool_waited_share": "it is not known before enough has happened",
    "script_executor_pool_recommended_size": "it is not known before enough has happened",
}


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus.swarm.yml"])
def test_configuration(name: str) -> None:
    """Prometheus takes it, and with it the alerts; their job is the one that the alerts look for."""
    promtool("check", "config", FILES / name)
    (job,) = YAML(typ="safe").load(FILES / name)["scrape_configs"]
    assert job["job_name"] == "script-executor"


def test_when_alerts_fire() -> None:
    """Each when it should, and not on what only looks like it."""
    promtool("test", "rules", FILES / "alerts_test.yml")
    for alert in ALERTS:
        assert f'(ALERTS{{alertname="{alert["alert"]}", alertstate="firing"}})' in TESTS, alert["alert"]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert_is_whole(alert: dict[str, Any]) -> None:
    """How bad, for how long, what is so and what to do; and it is in the table for operators."""
    assert set(alert) == {"alert", "expr", "for", "labels", "annotations"}
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert set(alert["annotations"]) == {"summary", "description"}
    assert all(text.endswith(".") for text in alert["annotations"].values())
    assert f"| `{alert['alert'].removeprefix('ScriptExecutor')}` | {alert['labels']['severity']} |" in PAGE


def test_metrics_exist() -> None:
    """Every name in an alert, in its test and in a panel is in the table of metrics."""
    asked = "".join([*QUERIES, *(alert["expr"] for alert in ALERTS), TESTS, PAGE])
    names = set(re.findall(r"\bscript_executor_\w+", asked))
    assert len(names) > 20
    known = set(re.findall(r"^\| `(\w+)`", (PROJECT / "docs/metrics.md").read_text(), re.MULTILINE))
    plain = {re.sub("_(bucket|count|sum)$", "", name.removeprefix("script_executor_")) for name in names}
    assert plain <= known


def test_panels_are_whole() -> None:
    """Each has an id of its own, says what it shows and in which unit, and asks the chosen Prometheus."""
    assert DASHBOARD["schemaVersion"] >= 39
    ids = Counter(panel["id"] for panel in DASHBOARD["panels"])
    assert set(ids.values()) == {1}
    assert set(Counter(panel["title"] for panel in DASHBOARD["panels"]).values()) == {1}
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == SOURCE
        assert panel["targets"]
        for target in panel["targets"]:
            assert target["datasource"] == SOURCE
            assert 'instance=~"$instance"' in target["expr"], panel["title"]
    asking = [*DASHBOARD["annotations"]["list"], *(one for one in VARIABLES.values() if one["type"] == "query")]
    assert all(one["datasource"] == SOURCE for one in asking)
    assert VARIABLES["DS_PROMETHEUS"]["type"] == "datasource"
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD)))
    assert used - {"__all", "__rate_interval"} == set(VARIABLES)


def test_panels_do_not_overlap() -> None:
    """Each cell of the grid belongs to one panel at most, and none is beyond the right edge."""
    taken: Counter[tuple[int, int]] = Counter()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        columns, lines = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        taken.update(itertools.product(columns, lines))
    assert set(taken.values()) == {1}


def test_provisioning() -> None:
    """Grafana finds in the overlay what its files name."""
    services = YAML(typ="safe").load(PROJECT / "deploy/compose.observability.yml")["services"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    (provider,) = YAML(typ="safe").load(FILES / "grafana/dashboards.yml")["providers"]
    places = [mounts["./deploy/observability/grafana-dashboard.json"]]
    assert [str(Path(place).parent) for place in places] == [provider["options"]["path"]]
    (source,) = YAML(typ="safe").load(FILES / "grafana/datasource.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert (
        source["jsonData"]["timeInterval"]
        == YAML(typ="safe").load(FILES / "prometheus.yml")["global"]["scrape_interval"]
    )
    for path in itertools.chain.from_iterable(service.get("volumes", ()) for service in services.values()):
        assert not path.startswith(".") or (PROJECT / path.split(":")[0]).is_file(), path


def test_what_the_overlay_scrapes() -> None:
    """Prometheus looks for the service that there is, on the port that the overlay opens."""
    overlay = YAML(typ="safe").load(PROJECT / "deploy/compose.observability.yml")
    (job,) = YAML(typ="safe").load(FILES / "prometheus.yml")["scrape_configs"]
    (lookup,) = job["dns_sd_configs"]
    assert lookup["names"] == ["script-executor"]
    assert overlay["services"]["script-executor"]["environment"] == {"METRICS_LISTEN": f"0.0.0.0:{lookup['port']}"}
    stack = YAML(typ="safe").load(PROJECT / "docker-stack.yml")["services"]
    (job,) = YAML(typ="safe").load(FILES / "prometheus.swarm.yml")["scrape_configs"]
    (lookup,) = job["dns_sd_configs"]
    assert lookup["names"] == [f"tasks.{name}" for name in stack]
    assert {port["target"] for service in stack.values() for port in service["ports"]} == {lookup["port"]}


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
    asked = {*QUERIES, *re.findall("```promql\n(.*?)```", PAGE, re.DOTALL)}
    missing = {query for query in asked if not any(name in query for name in RIGHTLY_EMPTY)}
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
