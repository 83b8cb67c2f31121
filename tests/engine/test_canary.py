"""The server's own check and the size that it advises, on the real engine."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.engine.server_process import BUSYBOX, ServerProcess, make_images, wait_until
from twisted_executor.source import INSTANCE_LABEL

NO_SHELL = "script-executor-test:noshell"
HANGING = "script-executor-test:hanging"
BUSYBOX_BINARY = Path("/bin/busybox")


@pytest.fixture(scope="module")
def hanging(engine: docker.APIClient) -> Iterator[str]:
    """An image whose /bin/sh never ends."""
    files = {
        "bin/busybox": BUSYBOX_BINARY.read_bytes(),
        "bin/sh": b"#!/bin/busybox sh\nexec /bin/busybox sleep 1000\n",
    }
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for folder in ("bin", "tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    name, tag = HANGING.split(":")
    engine.import_image_from_data(archive.getvalue(), repository=name, tag=tag, changes=["ENV PATH=/bin"])
    yield HANGING
    engine.remove_image(HANGING, force=True)


def canary(server: ServerProcess) -> dict[str, Any]:
    found: dict[str, Any] = server.get("/health")["canary"]
    return found


def reasons(server: ServerProcess) -> str:
    return " ".join(server.get("/health")["reasons"])


def test_well(start: Callable[..., ServerProcess]) -> None:
    """It runs again and again, in milliseconds, and no figure has it but its own."""
    server = start(CANARY_INTERVAL="0.2").ready()
    wait_until(lambda: canary(server)["result"] == "ok", "it has run")
    wait_until(lambda: (canary(server)["age"] or 0) > 0, "it rests")
    found = canary(server)
    assert (found["image"], found["seconds"] < 1, found["since_ok"] <= 1) == (BUSYBOX, True, True)
    figures = server.get("/metrics").json
    assert (figures["total_executions"], figures["containers_created"]) == (0, 2)
    assert figures["pool_metrics"][BUSYBOX]["total_executions"] == 0
    assert server.get("/health")["pools"][BUSYBOX]["waited_share"] == 0


def test_off(start: Callable[..., ServerProcess]) -> None:
    """Who wants none has none."""
    server = start(CANARY_INTERVAL="0").ready()
    assert canary(server) is None


def test_no_shell(start: Callable[..., ServerProcess]) -> None:
    """An image without a shell is checked as well as any."""
    make_images("noshell")
    server = start(BASE_IMAGE=NO_SHELL, CANARY_INTERVAL="1").ready()
    wait_until(lambda: canary(server)["result"], "it has run")
    assert (canary(server)["result"], reasons(server)) == ("ok", "")


def test_hangs(start: Callable[..., ServerProcess], hanging: str) -> None:
    """Containers start, greet and are idle, but no script runs: the server is unhealthy and says why."""
    server = start(BASE_IMAGE=hanging, CANARY_INTERVAL="1")
    wait_until(server.listening, "it listens")
    wait_until(lambda: "an empty script" in reasons(server), "it is unhealthy", 30)
    assert hanging in reasons(server)
    assert "ran longer than its limit of 5 seconds" in reasons(server)
    assert (server.get("/health").status, server.get("/health/ready").status) == (503, 503)
    assert server.get("/health/live").status == 200
    assert canary(server)["result"] == "failed"


def test_custom_pool_hangs(start: Callable[..., ServerProcess], hanging: str) -> None:
    """One image in which nothing runs takes no other out of service."""
    server = start(CUSTOM_POOLS=f"{hanging}=2", CANARY_INTERVAL="1", TIMEOUT="2").ready()
    wait_until(lambda: "an empty script" in reasons(server), "it is degraded", 30)
    answer = server.get("/health")
    assert (answer.status, answer["status"], answer["canary"]["result"]) == (200, "degraded", "ok")
    assert "its limit of 2 seconds" in reasons(server)
    assert server.output("echo fine") == "fine\n"


def test_frozen(start: Callable[..., ServerProcess], engine: docker.APIClient) -> None:
    """Containers that are frozen while idle are found before a client finds them, and replaced; then all is well."""
    server = start(CANARY_INTERVAL="1").ready()
    wait_until(lambda: canary(server)["result"] == "ok", "it has run")
    for container in engine.containers(filters={"label": f"{INSTANCE_LABEL}={server.instance}"}):
        engine.pause(container["Id"])
    wait_until(lambda: "paused" in reasons(server), "it says so", 20)
    assert server.get("/health/ready").status == 503
    wait_until(lambda: server.get("/health")["status"] == "healthy", "it is well again", 40)
    assert server.output("echo fine") == "fine\n"


def test_too_small(start: Callable[..., ServerProcess]) -> None:
    """A pool in which many waited is told a size; the server is as healthy as before."""
    server = start(POOL_SIZE="1").ready()
    clients = [threading.Thread(target=server.execute, args=("sleep 0.2",)) for _ in range(20)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    answer = server.get("/health").json
    found = answer["pools"][BUSYBOX]
    assert (answer["status"], found["pool_size"]) == ("healthy", 1)
    assert found["waited_share"] > 0.5
    assert found["average_wait"] > 0.2
    assert found["recommended_size"] >= 4
    assert f"set POOL_SIZE={found['recommended_size']} (now 1)." in answer["advice"][0]
