"""A server of ours as a process, as its users run it, and a client of it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
BUSYBOX = "script-executor-test:busybox"
TWISTD = (str(Path(sys.executable).parent / "twistd"),)


def make_images(*names: str, **environ: str) -> None:
    """Make these test images, all of the usual ones without a name, where the engine does not have them."""
    subprocess.run([PROJECT / "tests/images/build.sh", *names], env=os.environ | environ, check=True, timeout=900)


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Look until it is true and return what it gave; fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds:g} seconds")


class Answer:
    """An HTTP answer."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def __getitem__(self, name: str) -> Any:
        return self.json[name]

    def __repr__(self) -> str:
        return f"<{self.status} {self.body[:500]!r}>"


class ServerProcess:
    """`twistd script-executor` with these variables, on a port of loopback."""

    def __init__(self, *, twistd: Sequence[str] = TWISTD, port: int | None = None, **environ: str) -> None:
        """@param twistd: the command that stands for it, run in the project's folder.

        @param port: None: a free one.
        """
        self.port = free_port() if port is None else port
        defaults = {"BASE_IMAGE": BUSYBOX, "POOL_SIZE": "2", "PATH": os.environ["PATH"]}
        if "DOCKER_HOST" in os.environ:
            defaults["DOCKER_HOST"] = os.environ["DOCKER_HOST"]
        # A file, not a pipe: a server that logs much must not block on a test that does not read.
        log, self._log = tempfile.mkstemp(prefix="server-", suffix=".log")
        self.process = subprocess.Popen(
            [*twistd, "-n", "--pidfile=", "script-executor", "--port", str(self.port)],
            env=defaults | environ,
            cwd=PROJECT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        os.close(log)

    @property
    def log(self) -> str:
        """All that it has logged."""
        return Path(self._log).read_text(errors="replace")

    def ready(self, seconds: float = 60.0) -> ServerProcess:
        """Wait until it says that it is ready."""
        try:
            wait_until(lambda: self.listening() and self.get("/health/ready").status == 200, "ready", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log}") from error
        return self

    def listening(self) -> bool:
        """Whether its port is open."""
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{self.log}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None,
        timeout: float = 90.0,
    ) -> Answer:  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers=headers)

    def execute(self, script: str, **fields: Any) -> Answer:
        """Run a script."""
        body = json.dumps({"script": script} | fields).encode()
        return self.request("POST", "/execute", body, {"Content-Type": "application/json"})

    def output(self, script: str, **fields: Any) -> str:
        """The stdout of a script that ends well."""
        answer = self.execute(script, **fields)
        assert answer.status == 200, answer
        assert answer["success"], answer
        found: str = answer["stdout"]
        return found

    def pool(self, image: str = BUSYBOX) -> dict[str, Any]:
        """The figures of one pool."""
        found: dict[str, Any] = self.get("/metrics")["pool_metrics"][image]
        return found

    @property
    def instance(self) -> str:
        """The id in the labels of its containers."""
        found: str = self.get("/metrics")["instance"]
        return found

    def full(self, image: str = BUSYBOX, seconds: float = 30.0) -> None:
        """Wait until the pool has its size again."""
        wait_until(
            lambda: self.pool(image)["available_containers"] == self.pool(image)["pool_size"],
            "the pool is full", seconds,
        )  # fmt: skip

    def discard(self) -> None:
        """End it and forget its log."""
        self.stop()
        Path(self._log).unlink(missing_ok=True)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 60.0) -> int:
        """End it and return its exit status; whatever happens it is gone."""
        try:
            if self.process.poll() is None:
                self.process.send_signal(number)
            return self.process.wait(seconds)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
