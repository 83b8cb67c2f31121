"""TLS before the server, in a real HAProxy."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.server_process import PROJECT, ServerProcess, free_port, wait_until
from twisted_executor.config import VARIABLES
from twisted_executor.policies import MOST_CONNECTIONS

TEXT = (PROJECT / "deploy/tls-proxy.cfg").read_text()
NAME = "scripts.example"
CERTIFICATE = (
    f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={NAME} -addext subjectAltName=DNS:{NAME} "
    "-out crt.pem -keyout key.pem && cat crt.pem key.pem >both.pem"
)


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """One that may be called by this name."""
    process = ServerProcess(ALLOWED_HOSTS=NAME)
    try:
        yield process.ready()
    finally:
        process.discard()


@pytest.fixture
def curl(server: ServerProcess, tmp_path: Path) -> Iterator[Callable[[str], list[str]]]:
    """The command that runs a script through the proxy."""
    subprocess.run(["sh", "-ec", CERTIFICATE], cwd=tmp_path, capture_output=True, check=True)
    port = free_port()
    text = TEXT.replace(":443", f"127.0.0.1:{port}").replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
    (tmp_path / "haproxy.cfg").write_text(text.replace("/etc/haproxy/script-executor.pem", f"{tmp_path}/both.pem"))
    url, address = f"https://{NAME}:{port}", f"{NAME}:{port}:127.0.0.1"
    options = ["-s", "--noproxy", "*", "--cacert", f"{tmp_path}/crt.pem", "--resolve", address, "-H", f"Origin: {url}"]
    with subprocess.Popen(["haproxy", "-db", "-f", tmp_path / "haproxy.cfg"]) as proxy:
        ask = ["curl", *options]
        wait_until(
            lambda: not subprocess.run([*ask, f"{url}/health"], capture_output=True, check=False).returncode, "it"
        )
        yield lambda script: [
            *ask, "-H", "Content-Type: application/json", "-d", json.dumps({"script": script}), f"{url}/execute"
        ]  # fmt: skip
        proxy.terminate()


def test_scripts(server: ServerProcess, curl: Callable[[str], list[str]]) -> None:
    """They run by the server's name, also for its own pages, and end with the client that waits for them."""
    answer = subprocess.run(curl("echo hi"), capture_output=True, check=True).stdout
    assert json.loads(answer)["stdout"] == "hi\n"
    with subprocess.Popen(curl("sleep 25")) as client:
        wait_until(lambda: server.get("/metrics")["running"] == 1, "it runs")
        client.kill()
    wait_until(lambda: server.get("/metrics")["running"] == 0, "its end", 5)


def test_limits() -> None:
    """It has patience for the longest request of the default settings, and room for less than one address may have."""
    number = {variable.name: float(variable.default or 0) for section in VARIABLES.values() for variable in section
              if re.fullmatch(r"[0-9.]*", variable.default or "")}  # fmt: skip
    pulls = (1 + number["CUSTOM_IMAGE_PULL_RETRIES"]) * number["CUSTOM_IMAGE_PULL_TIMEOUT"] + 1.5 * (1 + 2 + 4)
    (minutes,) = re.findall(r"timeout server (\d+)m\n", TEXT)
    assert int(minutes) * 60 > pulls + number["QUEUE_TIMEOUT"] + number["TIMEOUT"]
    (connections,) = re.findall(r" maxconn (\d+)\n$", TEXT)
    assert int(connections) < MOST_CONNECTIONS // 2
