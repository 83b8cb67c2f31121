"""Ends and starts at bad moments: nothing is left, and a server beside it notices nothing."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import docker
import pytest

from tests.engine.own_engine import OwnEngine, own_engine
from tests.engine.server_process import ServerProcess, wait_until
from twisted_executor.tap import STOP_LIMIT

SOON = 5.0  # seconds in which containers end by themselves when their server is dead


@pytest.fixture(scope="module")
def own() -> Iterator[OwnEngine]:
    """An engine on which there are no other servers."""
    with own_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def engine(own: OwnEngine) -> Iterator[docker.APIClient]:
    """A client of it."""
    with closing(docker.APIClient(own.host, version="auto", timeout=60)) as client:
        yield client


@pytest.fixture
def ours(engine: docker.APIClient) -> Callable[[], list[str]]:
    """All containers that there are."""
    return lambda: [container["Id"] for container in engine.containers(all=True)]


@pytest.fixture
def start(own: OwnEngine) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers; all are ended with the test."""
    started: list[ServerProcess] = []

    def begin(**environ: Any) -> ServerProcess:
        started.append(ServerProcess(DOCKER_HOST=own.host, **environ))
        return started[-1]

    yield begin
    for running in started:
        running.discard()


def test_idle(start: Callable[..., ServerProcess], ours: Callable[[], list[str]]) -> None:
    """An idle server ends at once, as its signal says, and has removed all containers by then."""
    server = start().ready()
    server.full()
    assert server.stop(seconds=10) == -signal.SIGTERM
    assert ours() == []
    assert "Traceback" not in server.log


@pytest.mark.parametrize("moment", [0.0, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2])
def test_starting(start: Callable[..., ServerProcess], ours: Callable[[], list[str]], moment: float) -> None:
    """SIGTERM while a server starts ends it, and leaves nothing."""
    server = start(POOL_SIZE="4")
    time.sleep(moment)
    assert server.stop(seconds=30) == -signal.SIGTERM
    wait_until(lambda: ours() == [], "nothing is left", SOON)
    assert "Traceback" not in server.log


@pytest.mark.parametrize("moment", [0.5, 0.7, 0.8, 0.9, 1.0, 1.2])
def test_killed(start: Callable[..., ServerProcess], engine: docker.APIClient, moment: float) -> None:
    """SIGKILL while a server starts leaves at most what has not been started; a later server's sweep is for that."""
    server = start(POOL_SIZE="4")
    time.sleep(moment)
    server.stop(signal.SIGKILL)
    wait_until(lambda: all(one["State"] == "created" for one in engine.containers(all=True)), "nothing runs", 2 * SOON)
    wait_until(lambda: emptied(engine), "what was only created is removed")


def emptied(engine: docker.APIClient) -> bool:
    """Remove what there is; some may be about to go by itself."""
    found = engine.containers(all=True)
    for container in found:
        with suppress(docker.errors.APIError):
            engine.remove_container(container["Id"], force=True)
    return not found


def test_twice(start: Callable[..., ServerProcess], ours: Callable[[], list[str]]) -> None:
    """A second SIGTERM changes nothing: what runs is served."""
    server = start().ready()
    told: list[str] = []
    thread = threading.Thread(target=lambda: told.append(server.output("sleep 2; echo end")))
    thread.start()
    wait_until(lambda: server.pool()["busy_containers"] == 1, "it runs")
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert server.stop() == -signal.SIGTERM
    thread.join()
    assert told == ["end\n"]
    assert ours() == []
    assert "Traceback" not in server.log


def test_pulling(start: Callable[..., ServerProcess], ours: Callable[[], list[str]]) -> None:
    """A registry that never answers does not keep a server from ending; who waits for the image is told."""
    with closing(socket.create_server(("127.0.0.1", 0))) as registry:
        server = start(DRAIN_TIMEOUT="1").ready()
        image = f"127.0.0.1:{registry.getsockname()[1]}/never:1"
        told: list[int] = []
        thread = threading.Thread(target=lambda: told.append(server.execute("echo hi", image=image).status))
        thread.start()
        wait_until(lambda: server.get("/metrics")["waiting"] == 1, "it waits for the image")
        assert server.stop(seconds=25) == -signal.SIGTERM
        thread.join()
    assert told == [503]
    assert ours() == []


def test_engine_hangs(own: OwnEngine, start: Callable[..., ServerProcess], ours: Callable[[], list[str]]) -> None:
    """An engine that does not answer cannot keep a server from ending; when it goes on, nothing is left."""
    server = start(DRAIN_TIMEOUT="1").ready()
    server.full()
    told: list[int] = []
    thread = threading.Thread(target=lambda: told.append(server.execute("sleep 20").status))
    thread.start()
    wait_until(lambda: server.pool()["busy_containers"] == 1, "it runs")
    own.send(signal.SIGSTOP)
    try:
        assert server.stop(seconds=1 + STOP_LIMIT) == -signal.SIGTERM
        thread.join()
    finally:
        own.send(signal.SIGCONT)
    assert told == [503]
    wait_until(lambda: ours() == [], "nothing is left", SOON)


def test_watchdog(own: OwnEngine, start: Callable[..., ServerProcess], ours: Callable[[], list[str]]) -> None:
    """A stop that takes longer than it may ends with status 1, and leaves nothing all the same."""
    hasty = "from twisted_executor import tap; tap.STOP_LIMIT = 0.5; from twisted.scripts.twistd import run; run()"
    server = start(twistd=[sys.executable, "-c", hasty], DRAIN_TIMEOUT="1").ready()
    server.full()
    own.send(signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert server.stop(seconds=10) == 1
        assert 0.5 < time.monotonic() - began < 8
    finally:
        own.send(signal.SIGCONT)
    wait_until(lambda: ours() == [], "nothing is left", SOON)


def test_two_servers(start: Callable[..., ServerProcess], ours: Callable[[], list[str]]) -> None:
    """One that is killed takes nothing of the other's with it."""
    first = start().ready()
    first.full()
    own = set(ours())
    second = start().ready()
    second.full()
    assert len(ours()) == 4
    second.stop(signal.SIGKILL)
    wait_until(lambda: set(ours()) == own, "only the first one's are left", SOON)
    assert first.output("echo hi") == "hi\n"
    assert first.get("/metrics")["containers_created"] == 2
