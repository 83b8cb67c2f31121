"""Servers for the tests, and the engine itself to meddle with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.engine.registry import Registry
from tests.engine.server_process import BUSYBOX, ServerProcess, wait_until
from twisted_executor.source import INSTANCE_LABEL, LABEL


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.APIClient]:
    """The engine, without which these tests fail: DOCKER_HOST's, or this machine's."""
    client = docker.APIClient(os.environ.get("DOCKER_HOST"), version="auto", timeout=60)
    yield client
    client.close()


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """A server with the default settings, but two containers of the small image."""
    running = ServerProcess()
    try:
        yield running.ready()
    finally:
        running.discard()


@pytest.fixture
def start() -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers with other settings; all are ended with the test."""
    started: list[ServerProcess] = []

    def begin(**environ: str) -> ServerProcess:
        started.append(ServerProcess(**environ))
        return started[-1]

    yield begin
    for running in started:
        running.discard()


@pytest.fixture
def containers_of(engine: docker.APIClient) -> Callable[[ServerProcess], list[str]]:
    """The ids of a server's containers; those of others come and go meanwhile."""

    def found(server: ServerProcess) -> list[str]:
        label = f"{INSTANCE_LABEL}={server.instance}"
        return [container["Id"] for container in engine.containers(all=True, filters={"label": label})]

    return found


@pytest.fixture
def registry(tmp_path: Path, engine: docker.APIClient) -> Iterator[Registry]:
    """One without a password that holds the small image as `team/small:1`."""
    (folder := tmp_path / "registry").mkdir()
    found = Registry(folder, engine)
    try:
        found.push(BUSYBOX, "team/small:1")
        yield found
    finally:
        found.close()


@pytest.fixture(scope="session", autouse=True)
def nothing_left(engine: docker.APIClient) -> Iterator[None]:
    """No container of ours outlives the tests."""
    yield
    wait_until(lambda: not engine.containers(all=True, filters={"label": LABEL}), "all containers are gone")
