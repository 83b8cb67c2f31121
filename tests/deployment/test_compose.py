"""docker-compose.yml, its overlays and the stack, as their schemas and our own rules see them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.engine.server_process import PROJECT
from twisted_executor.config import VARIABLES

COMPOSE = PROJECT / "docker-compose.yml"
OVERLAYS = sorted(PROJECT.glob("deploy/compose.*.yml"))
NAMES = {variable.name for section in VARIABLES.values() for variable in section}
INSIDE = {"HOST_PORT", "DOCKER_HOST"}  # the port is 8080 inside, and the socket where it is mounted

# The keys that `docker stack deploy` obeys; others it skips with a word or without (docker/cli, compose/types).
STACK, STACK_KEYS = PROJECT / "docker-stack.yml", PROJECT / "deploy/stack.api-keys.yml"
STACK_SERVICE = {"image", "volumes", "environment", "read_only", "cap_drop", "stop_grace_period", "ports", "deploy"}
STACK_DEPLOY = {"resources", "restart_policy", "replicas", "endpoint_mode", "update_config", "mode", "placement"}


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path)


@pytest.mark.parametrize("path", [COMPOSE, *OVERLAYS], ids=lambda path: path.name)
def test_schema(path: Path) -> None:
    """It is compose, of today: without a version."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "version" not in load(path)


def test_every_variable() -> None:
    """Whatever .env says reaches the server, and what it does not say stays the server's default."""
    environment = load(COMPOSE)["services"]["script-executor"]["environment"]
    assert environment == {name: f"${{{name}:-}}" for name in sorted(NAMES - INSIDE)}


def test_build_arguments() -> None:
    """Whatever the Dockerfile asks for can be said in .env."""
    arguments = load(COMPOSE)["services"]["script-executor"]["build"]["args"]
    lines = (PROJECT / "Dockerfile").read_text().splitlines()
    assert set(arguments) == {line.split()[1].split("=")[0] for line in lines if line.startswith("ARG ")}


def test_hardened() -> None:
    """The server's own container has no more than it needs, and only this machine reaches it unless told otherwise."""
    service = load(COMPOSE)["services"]["script-executor"]
    assert service["read_only"]
    assert "tmpfs" not in service
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["group_add"] == ["${DOCKER_GID:-999}"]
    assert service["ports"] == ["${HOST_ADDRESS:-127.0.0.1}:${HOST_PORT:-8080}:8080"]
    assert {"mem_limit", "pids_limit", "stop_grace_period", "restart"} <= set(service)
    assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service)


@pytest.mark.parametrize("path", [COMPOSE, STACK], ids=lambda path: path.name)
def test_time_to_stop(path: Path) -> None:
    """It has the time that a stop takes at most: its drain and 25 seconds."""
    service = load(path)["services"]["script-executor"]
    defaults = {variable.name: float(variable.default or 0) for variable in VARIABLES["Stopping"]}
    environment = service["environment"]
    drain = sum(_default(environment[name]) or value for name, value in defaults.items())
    assert _default(service["stop_grace_period"].replace("s}", "}")) >= drain + 25


def _default(text: str) -> float:
    """The number in ${NAME:-number}."""
    return float(text.partition(":-")[2].rstrip("}") or 0)


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.name)
def test_overlay(path: Path) -> None:
    """It is about the service that there is, and says how it is used; what it adds is as hardened and as hidden."""
    services = load(path)["services"]
    assert "script-executor" in services
    assert f"COMPOSE_FILE=docker-compose.yml:deploy/{path.name}\n" in path.read_text()
    for name in set(services) - {"script-executor"}:
        service = services[name]
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"mem_limit", "restart"} <= set(service), name
        assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name


def test_stack() -> None:
    """It has only what a stack obeys, the seed's three replicas behind one port, and variables that there are."""
    stack = load(STACK)
    services = stack["services"]
    assert set(services) == {"script-executor", "script-executor-per-node"}
    for service in services.values():
        assert set(service) <= STACK_SERVICE
        assert service["read_only"]
        assert service["volumes"] == ["/var/run/docker.sock:/var/run/docker.sock"]
        assert set(service["deploy"]) <= STACK_DEPLOY
        assert set(service["environment"]) <= NAMES
        assert service["deploy"]["resources"]["limits"] == {"memory": "2G", "cpus": "1.0"}
    mesh = services["script-executor"]
    assert mesh["deploy"]["replicas"] == "${REPLICAS:-3}"
    assert (mesh["ports"][0]["target"], mesh["ports"][0]["published"]) == (8080, "${HOST_PORT:-8080}")
    assert mesh["deploy"]["update_config"]["order"] == "${UPDATE_ORDER:-start-first}"
    assert services["script-executor-per-node"]["deploy"]["mode"] == "global"


def test_stack_keys() -> None:
    """Its overlay gives the keys to each form of the server, and to nobody else there."""
    overlay = load(STACK_KEYS)
    (secret,) = overlay["secrets"]
    assert set(overlay["services"]) == set(load(STACK)["services"])
    for service in overlay["services"].values():
        (mounted,) = service["secrets"]
        assert service == {
            "environment": {"API_KEYS_FILE": f"/run/secrets/{mounted['target']}"}, "secrets": [mounted]
        }  # fmt: skip
        assert (mounted["source"], mounted["uid"]) == (secret, "10001")
    said = STACK_KEYS.read_text()
    assert "docker stack deploy -c docker-stack.yml -c deploy/stack.api-keys.yml scripts" in said
    assert "deploy/stack.api-keys.yml" in STACK.read_text()
