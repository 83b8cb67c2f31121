"""The filter before the engine's socket, in a real HAProxy: the server lacks nothing, others get nothing else."""

from __future__ import annotations

import http.client
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.engine.server_process import PROJECT, ServerProcess, free_port, wait_until
from tests.robustness.invariants import Invariants

CONFIGURATION = PROJECT / "deploy/socket-proxy.cfg"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where it listens."""
    found = free_port()
    path: Path = tmp_path_factory.mktemp("proxy") / "haproxy.cfg"
    path.write_text(CONFIGURATION.read_text().replace("bind :2375", f"bind 127.0.0.1:{found}"))
    with subprocess.Popen(["haproxy", "-db", "-f", path]) as proxy:
        wait_until(lambda: status(found, "GET", "/version") == 200, "the proxy")
        yield found
        proxy.terminate()


def status(port: int, method: str, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_server_behind_it(port: int, engine: docker.APIClient) -> None:
    """Runs, replacements, images without a pool and ones that do not exist: all as without it."""
    server = ServerProcess(DOCKER_HOST=f"tcp://127.0.0.1:{port}", CUSTOM_IMAGE_PULL_RETRIES="0")
    try:
        watched = Invariants.of(server.ready(), engine)
        assert server.execute("echo begun; sleep 9", timeout=0.3)["status"] == "timeout"
        assert server.output("echo hi", image="script-executor-test:volumes") == "hi\n"
        assert server.execute("echo hi", image="127.0.0.1:9/absent")["code"] in ("image_unavailable", "image_not_found")
        watched.check()
    finally:
        server.discard()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1.41/containers/x/exec"),
        ("POST", "/exec/x/start"),
        ("GET", "/v1.41/containers/x/export"),
        ("GET", "/v1.41/containers/x/logs"),
        ("POST", "/v1.41/containers/x/update"),
        ("POST", "/v1.41/containers/prune"),
        ("DELETE", "/v1.41/images/x"),
        ("DELETE", "/v1.41/volumes/x"),
        ("POST", "/v1.41/build"),
        ("GET", "/v1.41/secrets"),
        ("POST", "/v1.41/swarm/init"),
        ("POST", "/v1.41/plugins/x/enable"),
        ("GET", "/v1.41/../secrets"),
        ("GET", "/v1.41/containers/x/json/../../../secrets"),
        ("POST", "/version"),
        ("PUT", "/v1.41/containers/create"),
    ],
)
def test_nothing_else(port: int, method: str, path: str) -> None:
    """What the server does not ask nobody can ask."""
    assert status(port, method, path) == 403


@pytest.mark.parametrize(("method", "path"), [("GET", "/info"), ("POST", "/v1.41/containers/no-such-one/start")])
def test_what_it_lets_through(port: int, method: str, path: str) -> None:
    """The rest of the engine's answers come from the engine."""
    assert status(port, method, path) in (200, 404)
