"""What may go wrong around a server: containers, engine, clients, and its own death."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.engine.relay import Relay
from tests.engine.server_process import BUSYBOX, Answer, ServerProcess, wait_until


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    """Closed at first."""
    found = Relay(tmp_path / "docker.sock")
    yield found
    if found.path.exists():
        found.close()


def in_background(work: Callable[[], Answer]) -> Callable[[], Answer]:
    """Begin now; what is returned waits for the answer."""
    found: list[Answer] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()

    def join() -> Answer:
        thread.join(60)
        return found[0]

    return join


def busy(server: ServerProcess, image: str = BUSYBOX, count: int = 1) -> None:
    wait_until(lambda: server.pool(image)["busy_containers"] == count, "a run is under way")


def test_kill_9(start: Callable[..., ServerProcess], engine: docker.APIClient) -> None:
    """A server that is killed leaves no container within five seconds, idle or busy."""
    server = start(POOL_SIZE="3").ready()
    mine = server.instance
    running = in_background(lambda: quietly(server, "sleep 30"))
    busy(server)
    server.stop(signal.SIGKILL)
    wait_until(lambda: not labelled(engine, mine), "no container is left", 5)
    running()


def quietly(server: ServerProcess, script: str) -> Answer:
    """Run a script on a server that may die."""
    try:
        return server.execute(script)
    except OSError as error:
        return Answer(0, {}, str(error).encode())


def labelled(engine: docker.APIClient, instance_id: str) -> list[str]:
    found = engine.containers(all=True, filters={"label": f"twisted-executor.instance={instance_id}"})
    return [container["Id"] for container in found]


def test_sigterm(start: Callable[..., ServerProcess], engine: docker.APIClient) -> None:
    """A stop lets a run end, answers it, refuses new ones, and leaves nothing."""
    server = start(DRAIN_DELAY="2").ready()
    mine = server.instance
    running = in_background(lambda: server.execute("sleep 3; echo end"))
    busy(server)
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.get("/health/ready").status == 503, "readiness is false", 2)
    refused = server.execute("echo no")
    assert (refused.status, refused["code"], "Retry-After" in refused.headers) == (503, "draining", True)
    assert server.get("/health/live").status == 200
    assert running()["stdout"] == "end\n"
    assert server.process.wait(30) == -signal.SIGTERM
    assert not labelled(engine, mine)
    assert "Traceback" not in server.log


def test_drain_timeout(start: Callable[..., ServerProcess], engine: docker.APIClient) -> None:
    """What does not end within the drain timeout is cancelled and told."""
    server = start(DRAIN_TIMEOUT="1").ready()
    mine = server.instance
    running = in_background(lambda: server.execute("sleep 25"))
    busy(server)
    server.process.send_signal(signal.SIGTERM)
    answer = running()
    assert (answer.status, answer["code"]) == (503, "draining")
    assert server.process.wait(30) == -signal.SIGTERM
    assert not labelled(engine, mine)


def test_idle_container_removed(start: Callable[..., ServerProcess], engine: docker.APIClient) -> None:
    """Containers that are removed or killed from outside while idle are replaced, and no request sees it."""
    server = start(POOL_SIZE="2").ready()
    server.full()
    first, second = labelled(engine, server.instance)
    engine.remove_container(first, force=True)
    engine.kill(second)
    wait_until(lambda: server.get("/metrics")["containers_created"] == 4, "both are replaced")
    server.full()
    assert server.output("echo fine") == "fine\n"


@pytest.mark.parametrize("how", ["kill", "remove"])
def test_busy_container_lost(start: Callable[..., ServerProcess], engine: docker.APIClient, how: str) -> None:
    """A container that goes in mid-run is 503 sandbox_lost within a second, and the run is not repeated."""
    server = start(POOL_SIZE="1").ready()
    (container,) = labelled(engine, server.instance)
    running = in_background(lambda: server.execute("echo begun; sleep 30"))
    busy(server)
    time.sleep(0.2)  # until the script runs
    began = time.monotonic()
    if how == "kill":
        engine.kill(container)
    else:
        engine.remove_container(container, force=True)
    answer = running()
    assert time.monotonic() - began < 2
    assert (answer.status, answer["code"], answer["exit_code"]) == (503, "sandbox_lost", None)
    assert "Retry-After" in answer.headers
    server.full()
    assert server.pool()["total_executions"] == 1


def test_busy_container_paused(start: Callable[..., ServerProcess], engine: docker.APIClient) -> None:
    """A container that is frozen from outside does not hang its client beyond the run's limit."""
    server = start(POOL_SIZE="1").ready()
    (container,) = labelled(engine, server.instance)
    running = in_background(lambda: server.execute("sleep 2", timeout=3))
    busy(server)
    engine.pause(container)
    answer = running()
    assert (answer.status, answer["code"]) == (503, "sandbox_lost")
    assert "paused" in answer["error"]
    server.full()
    assert container not in labelled(engine, server.instance)


def test_engine_absent_at_start(start: Callable[..., ServerProcess], relay: Relay) -> None:
    """Without an engine the server lives and says what is wrong; it serves soon after the engine has come."""
    server = start(DOCKER_HOST=f"unix://{relay.path}")
    wait_until(server.listening, "it listens")
    wait_until(lambda: str(relay.path) in server.get("/health").body.decode(), "it says what is wrong", 10)
    assert server.get("/health").status == 503
    assert server.get("/health/live").status == 200
    answer = server.execute("echo hi")
    assert (answer.status, answer["code"], "Retry-After" in answer.headers) == (503, "engine_unavailable", True)
    relay.open()
    server.ready(20)
    assert server.output("echo hi") == "hi\n"


def test_engine_goes_and_comes(start: Callable[..., ServerProcess], relay: Relay) -> None:
    """When the engine goes, runs are lost in words and others refused; when it comes back the pool is refilled."""
    relay.open()
    server = start(DOCKER_HOST=f"unix://{relay.path}").ready()
    running = in_background(lambda: server.execute("sleep 30"))
    busy(server)
    relay.close()
    answer = running()
    assert (answer.status, answer["code"]) == (503, "sandbox_lost")
    wait_until(lambda: server.get("/health").status == 503, "it is unhealthy", 10)
    assert server.execute("echo hi").status == 503
    relay.open()
    server.full()
    assert server.output("echo hi") == "hi\n"
    assert "Traceback" not in server.log


def test_client_hangs_up(server: ServerProcess) -> None:
    """A client that goes away ends its run, and the container is free again."""
    server.full()
    body = json.dumps({"script": "sleep 30"}).encode()
    client = socket.create_connection(("127.0.0.1", server.port))
    client.sendall(
        b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    busy(server)
    created = server.get("/metrics")["containers_created"]
    client.close()
    wait_until(lambda: server.pool()["busy_containers"] == 0, "the run has ended", 5)
    server.full()
    assert server.get("/metrics")["containers_created"] == created
    assert "Traceback" not in server.log


def test_overload(start: Callable[..., ServerProcess]) -> None:
    """Beyond the queue the answer is 503 at once, with a time to come back."""
    server = start(POOL_SIZE="1", QUEUE_SIZE="1").ready()
    running = [in_background(lambda: server.execute("sleep 2"))]
    busy(server)
    running.append(in_background(lambda: server.execute("echo waited")))
    wait_until(lambda: server.get("/metrics")["waiting"] == 1, "one waits")
    began = time.monotonic()
    refused = server.execute("echo no")
    assert time.monotonic() - began < 0.5
    assert (refused.status, refused["code"]) == (503, "overloaded")
    assert int(refused.headers["Retry-After"]) >= 1
    assert [join().status for join in running] == [200, 200]


def test_queue_timeout(start: Callable[..., ServerProcess]) -> None:
    """A request that waits too long is told so."""
    server = start(POOL_SIZE="1", QUEUE_TIMEOUT="0.5").ready()
    running = in_background(lambda: server.execute("sleep 2"))
    busy(server)
    assert server.execute("echo no")["code"] == "overloaded"
    assert running()["success"]


def test_taken_port(server: ServerProcess, start: Callable[..., ServerProcess]) -> None:
    """A second server on the same port ends with an error."""
    second = start()
    second.stop()
    command = [*second.process.args[:-1], str(server.port)]  # type: ignore[index]
    import subprocess

    environ = {"PATH": os.environ["PATH"], "BASE_IMAGE": BUSYBOX}
    done = subprocess.run(command, env=environ, capture_output=True, timeout=60, cwd="/", check=False)
    assert done.returncode != 0
    assert b"in use" in done.stdout + done.stderr


def test_limits_that_do_not_hold(start: Callable[..., ServerProcess]) -> None:
    """A limit that the engine does not hold keeps the server from being ready, in words."""
    server = start(CPU_LIMIT="0.5", CONTAINER_RUNTIME="no-such-runtime")
    wait_until(server.listening, "it listens")
    wait_until(lambda: "no-such-runtime" in server.get("/health").body.decode(), "it says why", 20)
    assert server.get("/health/ready").status == 503
