"""What operators plug into Prometheus and Grafana is complete and consistent."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.deployment.observability import ALERTS, DASHBOARD, FILES, PAGE, PANELS, QUERIES, VARIABLES
from tests.engine.server_process import PROJECT

TESTS = (FILES / "alerts_test.yml").read_text()
SOURCE = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}


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


def test_beside_other_overlays() -> None:
    """docker-compose takes it with them; each server keeps its networks, and without a password nothing starts."""
    names = ("docker-compose.yml", "deploy/compose.socket-proxy.yml", "deploy/compose.observability.yml")
    command = ["docker-compose", *itertools.chain.from_iterable(("-f", name) for name in names), "config"]
    environ = {name: value for name, value in os.environ.items() if name != "GRAFANA_PASSWORD"}
    done = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "is the password of the user admin of Grafana" in done.stderr
    environ["GRAFANA_PASSWORD"] = "secret"
    done = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    services = YAML(typ="safe").load(done.stdout)["services"]
    networks = {name: set(service["networks"]) for name, service in services.items()}
    assert networks == {
        "script-executor": {"default", "engine"}, "socket-proxy": {"engine"},
        "prometheus": {"default", "observability"}, "grafana": {"observability"},
    }  # fmt: skip
