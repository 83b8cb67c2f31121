"""Servers for rows: one as it is, and weaker ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.engine.conftest import containers_of as containers_of
from tests.engine.conftest import engine as engine
from tests.engine.conftest import nothing_left as nothing_left
from tests.engine.server_process import ServerProcess, wait_until
from tests.engine.weakened import built, weakened
from tests.security.rows import Weakness

IMAGE = "script-executor-test:attacks"
SETTINGS = {"BASE_IMAGE": IMAGE, "POOL_SIZE": "1", "CONTAINER_MAX_USES": "1000000", "TIMEOUT": "20"}


@pytest.fixture(scope="module")
def strong() -> Iterator[ServerProcess]:
    """A server as it is, with a pool of one container."""
    running = ServerProcess(**SETTINGS)
    try:
        yield running.ready()
    finally:
        running.discard()


@pytest.fixture(scope="module")
def weak(
    engine: docker.APIClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Weakness], ServerProcess]]:
    """Makes a server that lacks some protections; one at a time, kept for as long as the same is asked for."""
    current: dict[Weakness, ServerProcess] = {}
    volumes: set[str] = set()

    def end() -> None:
        for running in current.values():
            running.discard()
        current.clear()

    def make(weakness: Weakness) -> ServerProcess:
        if weakness not in current:
            end()
            folder: Path = tmp_path_factory.mktemp("agents")
            volume = built(folder, weakness.agent)
            if weakness.agent:
                volumes.add(volume)
            command = weakened(agents=str(folder), host=json.loads(weakness.host), probe=False)
            running = ServerProcess(twistd=command, **SETTINGS)
            current[weakness] = running
            running.ready()
        return current[weakness]

    yield make
    end()
    for volume in volumes:
        wait_until(lambda name=volume: removed(engine, name), "the agent's volume is not used any more")


def removed(engine: docker.APIClient, volume: str) -> bool:
    """Remove a volume, unless a container that is on its way out has it."""
    try:
        engine.remove_volume(volume)
    except docker.errors.APIError as error:
        if error.status_code != 409:
            raise
        return False
    return True
