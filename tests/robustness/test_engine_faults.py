"""An engine that ends, dies, freezes, loses its image or its disk, under load."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import docker
import pytest

from tests.engine.own_engine import OwnEngine, own_engine
from tests.engine.server_process import BUSYBOX, ServerProcess, wait_until
from tests.robustness.invariants import Invariants
from tests.robustness.load import Load

SOON = 3.0  # seconds until a loss is told, on a busy machine
HONEST = {"ok", "sandbox_lost", "engine_unavailable", "image_unavailable", "overloaded"}


@pytest.fixture(scope="module")
def own() -> Iterator[OwnEngine]:
    """An engine to meddle with."""
    with own_engine() as engine:
        yield engine


@pytest.fixture
def watched(own: OwnEngine) -> Iterator[Invariants]:
    """A server on it, and what it was like at first."""
    if own.process is None:
        own.start()
    with served(own) as found:
        yield found


@contextmanager
def served(own: OwnEngine) -> Iterator[Invariants]:
    server = ServerProcess(DOCKER_HOST=own.host, POOL_SIZE="2", TIMEOUT="5", QUEUE_TIMEOUT="5")
    client = docker.APIClient(own.host, version="auto", timeout=60)
    try:
        yield Invariants.of(server.ready(), client)
    finally:
        client.close()
        server.discard()


def answers_quickly(server: ServerProcess) -> None:
    """Whatever the engine does, these do not wait for it."""
    for path, accept in (("/health/live", "*/*"), ("/metrics", "*/*"), ("/metrics", "text/plain")):
        began = time.monotonic()
        answer = server.get(path, Accept=accept)
        assert answer.status == 200
        assert time.monotonic() - began < 1
    assert 'script_executor_threads{lane="control",state="busy"}' in answer.body.decode()


def stop(own: OwnEngine) -> None:
    own.stop()


def kill(own: OwnEngine) -> None:
    own.stop(signal.SIGKILL)


@pytest.mark.parametrize("end", [stop, kill])
def test_goes_and_comes(own: OwnEngine, watched: Invariants, end: Callable[[OwnEngine], None]) -> None:
    """Runs are lost in words and at once, others refused; after its return all is as it was."""
    interrupted(own, watched, end)


def test_live_restore() -> None:
    """Containers that outlive their dockerd are not used again, and are removed."""
    with own_engine("--live-restore") as own, served(own) as watched:
        interrupted(own, watched, kill)


def interrupted(own: OwnEngine, watched: Invariants, end: Callable[[OwnEngine], None]) -> None:
    """End an engine under load, and bring it back."""
    server = watched.server
    with Load(server) as load:
        wait_until(lambda: load.codes()["ok"] > 20, "it serves")
        end(own)
        gone = time.monotonic()
        wait_until(lambda: server.get("/health").status == 503, "it is unhealthy", 15)
        answers_quickly(server)
        own.start()
        back = time.monotonic()
        wait_until(lambda: load.codes(back)["ok"] > 20, "it serves again", 30)
    assert not load.wrong
    assert set(load.codes()) <= HONEST
    lost = [told.at - gone for told in load.told if told.code == "sandbox_lost"]
    assert all(after < SOON for after in lost if after > 0)
    watched.check()


@pytest.mark.parametrize("seconds", [8.0, pytest.param(60.0, marks=[pytest.mark.long, pytest.mark.timeout(300)])])
def test_freezes(own: OwnEngine, watched: Invariants, seconds: float) -> None:
    """Nobody waits longer than the limits say; when it goes on, so does the server."""
    server = watched.server
    with Load(server) as load:
        wait_until(lambda: load.codes()["ok"] > 20, "it serves")
        own.send(signal.SIGSTOP)
        try:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                answers_quickly(server)
                time.sleep(0.5)
        finally:
            own.send(signal.SIGCONT)
        thawed = time.monotonic()
        wait_until(lambda: load.codes(thawed)["ok"] > 20, "it serves again", 30)
    assert not load.wrong
    assert set(load.codes()) <= HONEST
    assert max(told.took for told in load.told) < seconds + 10
    watched.check()


def test_image_removed(own: OwnEngine, watched: Invariants) -> None:
    """What is warm goes on; without any container health names the image, and all is well when it is there again."""
    server = watched.server
    tag = ["docker", "-H", own.host, "tag", BUSYBOX, "kept:1"]
    subprocess.run(tag, check=True)
    watched.engine.remove_image(BUSYBOX, force=True)
    assert server.output("echo warm") == "warm\n"
    for container in watched.engine.containers(filters={"label": f"twisted-executor.instance={server.instance}"}):
        watched.engine.remove_container(container["Id"], force=True)
    wait_until(lambda: server.get("/health").status == 503, "it is unhealthy", 15)
    assert BUSYBOX in server.get("/health").body.decode()
    assert server.execute("echo hi")["code"] in HONEST - {"ok"}  # it tries to pull it, and that may take its time
    watched.engine.tag("kept:1", BUSYBOX)
    server.ready(90)
    watched.check()


def test_disk_full() -> None:
    """An engine without room makes no containers; those that are there serve, and when there is room all is well."""
    with own_engine(disk="64m") as own, served(own) as watched:
        server = watched.server
        filler = own.folder / "data/filler"
        subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=1M"], capture_output=True, check=False)
        assert server.execute("sleep 9", timeout=0.2)["status"] == "timeout"
        wait_until(lambda: server.pool()["last_failure"], "a failure", 20)
        assert server.output("echo one is left") == "one is left\n"
        assert "no space left" in server.pool()["last_failure"]
        filler.unlink()
        watched.check()
