"""The manifests, as the schemas of Kubernetes and our own rules see them; no cluster is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from tests.engine.server_process import PROJECT
from twisted_executor.config import VARIABLES, read

SIDECAR, HOST_SOCKET = PROJECT / "k8s-deployment.yml", PROJECT / "deploy/k8s-host-socket.yml"
NAMES = {variable.name for section in VARIABLES.values() for variable in section}
ROUTES = {"/health/ready", "/health/live"}


def documents(path: Path) -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all(path))


def kind(path: Path, name: str) -> dict[str, Any]:
    (found,) = (document for document in documents(path) if document["kind"] == name)
    return found


def pod(path: Path) -> dict[str, Any]:
    spec: dict[str, Any] = kind(path, "Deployment")["spec"]["template"]["spec"]
    return spec


def environment(path: Path) -> dict[str, str]:
    """Of the server."""
    return {entry["name"]: entry["value"] for entry in pod(path)["containers"][0]["env"]}


@pytest.mark.parametrize("path", [SIDECAR, HOST_SOCKET], ids=lambda path: path.name)
@pytest.mark.parametrize("version", ["1.29", "1.34", "1.37"])
def test_schema(path: Path, version: str) -> None:
    """Nothing is unknown, from the first version that has sidecars."""
    found = documents(path)
    assert found
    for document in found:
        kubernetes_validate.validate(document, version, strict=True)


def test_all_is_there() -> None:
    """What a service needs on a cluster."""
    kinds = {document["kind"] for document in documents(SIDECAR)}
    assert kinds == {"ServiceAccount", "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"}


def test_selectors() -> None:
    """Each is about the pods that there are."""
    labels = {"app": "script-executor"}
    template = kind(SIDECAR, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert template == labels
    assert kind(SIDECAR, "Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert kind(SIDECAR, "Service")["spec"]["selector"] == labels
    assert kind(SIDECAR, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert kind(SIDECAR, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels


@pytest.mark.parametrize("path", [SIDECAR, HOST_SOCKET], ids=lambda path: path.name)
def test_server(path: Path) -> None:
    """Its settings are understood, its probes ask what there is, it has no privileges and time to stop."""
    spec = pod(path)
    (server,) = spec["containers"]
    assert set(environment(path)) <= NAMES
    settings = read(environment(path))
    assert spec["terminationGracePeriodSeconds"] >= settings.drain_delay + settings.drain_timeout + 25
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["httpGet"]["path"] in ROUTES
    assert server["livenessProbe"]["httpGet"]["path"] == "/health/live"
    context = server["securityContext"]
    assert context["runAsNonRoot"]
    assert context["readOnlyRootFilesystem"]
    assert not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert {"script-executor", "script-executor.scripts.svc"} <= set(settings.allowed_hosts)
    socket = settings.docker_host.removeprefix("unix://")
    assert any(socket.startswith(mount["mountPath"]) for mount in server["volumeMounts"])


def test_variants() -> None:
    """The two are one Deployment but for the engine, and what follows from where it is."""
    with_engine, with_socket = (kind(path, "Deployment") for path in (SIDECAR, HOST_SOCKET))
    for manifest in (with_engine, with_socket):
        spec = manifest["spec"]["template"]["spec"]
        for part in ("securityContext", "initContainers"):
            spec.pop(part, None)
        del spec["volumes"]
        (server,) = spec["containers"]
        # The socket, and nothing else to write to.
        assert len(server.pop("volumeMounts")) == 1
        server["env"] = [entry for entry in server["env"] if entry["name"] not in ("DOCKER_HOST", "REQUIRE_LIMITS")]
    assert with_engine == with_socket


def test_disruptions() -> None:
    """A node can be drained, however many replicas there are."""
    budget = kind(SIDECAR, "PodDisruptionBudget")["spec"]
    assert (budget.get("minAvailable"), budget["maxUnavailable"]) == (None, 1)


def test_engine_beside() -> None:
    """It starts before the server, ends after it, and their places for the socket are one volume."""
    (engine,) = pod(SIDECAR)["initContainers"]
    assert engine["restartPolicy"] == "Always"
    places = {mount["name"]: mount["mountPath"] for mount in engine["volumeMounts"]}
    assert engine["args"] == ["dockerd", f"--host=unix://{places['engine-socket']}/docker.sock", "--group=0"]
    (server,) = pod(SIDECAR)["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in server["volumeMounts"]}
    assert environment(SIDECAR)["DOCKER_HOST"] == f"unix://{mounts['engine-socket']}/docker.sock"
    assert pod(SIDECAR)["securityContext"]["fsGroup"] == engine["securityContext"]["runAsGroup"]
