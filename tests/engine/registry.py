"""A registry on loopback, with a password where a test wants one, and a front before it that misbehaves."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker

from tests.engine.server_process import BUSYBOX, free_port, wait_until

USER = "ann"
LARGE = 10_000  # bytes; of an image only its layers have more


class Registry:
    """Debian's docker-registry.

    @ivar address: host:port, for those who pull.
    """

    def __init__(
        self, folder: Path, engine: docker.APIClient, password: str = "", port: int = 0, within: Sequence[str] = ()
    ) -> None:
        """@param password: of L{USER}; empty: none is needed.  @param within: a command that runs it elsewhere."""
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._password = password
        self._engine = engine
        self._made: list[str] = []
        self._within = within
        self._config = folder / "registry.yml"
        self._config.write_text(
            "version: 0.1\nlog: {level: error}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder / 'data'}}}}}\n"
            f"http: {{addr: '{self.address}'}}\n"
        )
        if password:
            command = ["htpasswd", "-Bbn", "-C", "4", USER, password]
            known = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            (folder / "htpasswd").write_text(known)
            with self._config.open("a") as config:
                config.write(f"auth: {{htpasswd: {{realm: test, path: {folder / 'htpasswd'}}}}}\n")
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [*self._within, "docker-registry", "serve", str(self._config)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def push(self, image: str, name: str) -> str:
        """Give it this image; its reference there.  The engine keeps neither the name nor an image without any."""
        # Under another name of this machine, so that what is pulled is not there, nor changed, by having been pushed.
        repository, _, tag = f"localhost:{self.port}/{name}".rpartition(":")
        self._engine.tag(image, repository, tag)
        login = {"username": USER, "password": self._password} if self._password else {}

        def pushed() -> bool:
            return '"error"' not in str(self._engine.push(repository, tag, auth_config=login))

        wait_until(pushed, "the image is pushed")
        self._engine.remove_image(f"{repository}:{tag}")
        return f"{self.address}/{name}"

    def make(self, *lines: str, blob: bytes = b"") -> str:
        """The id of a new image: the small one with these lines of a Dockerfile, and a file."""
        files = {"Dockerfile": "\n".join([f"FROM {BUSYBOX}", *lines, "COPY blob /blob"]).encode(), "blob": blob}
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        context.seek(0)
        built = self._engine.build(fileobj=context, custom_context=True, rm=True, decode=True)
        found: str = next(line["aux"]["ID"] for line in built if "aux" in line)
        self._made.append(found)
        return found

    def stop(self) -> None:
        """Take it away."""
        self.process.terminate()
        self.process.wait(30)

    def start(self) -> None:
        """And bring it back."""
        self.process = self._start()

    def close(self) -> None:
        """End it, and remove what came from it or was made for it."""
        self.stop()
        remove_from(self._engine, self.address, f"localhost:{self.port}")
        for made in self._made:
            with contextlib.suppress(docker.errors.NotFound):
                self._engine.remove_image(made, force=True)


def remove_from(engine: docker.APIClient, *addresses: str) -> None:
    """Remove all images that were pulled from there."""
    for found in engine.images():
        for name in found["RepoTags"] or ():
            if name.startswith(tuple(f"{address}/" for address in addresses)):
                engine.remove_image(name, force=True)


Refuse = Callable[["Passing"], bool]
Deliver = Callable[["Passing", bytes], None]


def never(passing: Passing) -> bool:
    """Refuse nothing."""
    return False


def failing(times: float) -> Refuse:
    """Let so many pulls fail with 500.  Each begins with a HEAD, and is none of its own after it."""
    left = [times]

    def refuse(passing: Passing) -> bool:
        left[0] -= passing.command == "HEAD"
        if left[0] >= 0:
            passing.answer_error(500, "the test wants it")
        return left[0] >= 0

    return refuse


def silent(passing: Passing) -> bool:
    """Never say anything."""
    passing.of.closing.wait()
    passing.close_connection = True
    return True


def repeating(passing: Passing) -> bool:
    """Refuse with what the engine has shown."""
    passing.answer_error(403, f"not with {passing.headers.get('Authorization')}")
    return True


def as_it_is(passing: Passing, body: bytes) -> None:
    """Deliver what the registry said."""
    passing.wfile.write(body)


def slowly(seconds: float, pieces: int = 20) -> Deliver:
    """Deliver each large body in so many seconds."""

    def deliver(passing: Passing, body: bytes) -> None:
        if len(body) < LARGE:
            return as_it_is(passing, body)
        size = -(-len(body) // pieces)
        for at in range(0, len(body), size):
            as_it_is(passing, body[at : at + size])
            passing.of.closing.wait(seconds / pieces)
        return None

    return deliver


def held(until: threading.Event) -> Deliver:
    """Deliver large bodies when the test says so."""

    def deliver(passing: Passing, body: bytes) -> None:
        if len(body) > LARGE:
            until.wait(60)
        as_it_is(passing, body)

    return deliver


def stalling(passing: Passing, body: bytes) -> None:
    """Deliver half of a large body, and no more."""
    as_it_is(passing, body[: len(body) // 2] if len(body) > LARGE else body)
    if len(body) > LARGE:
        silent(passing)


def cut(times: int) -> Deliver:
    """So many times end the connection in the middle of a large body."""
    left = [times]

    def deliver(passing: Passing, body: bytes) -> None:
        if len(body) > LARGE and left[0] > 0:
            left[0] -= 1
            passing.close_connection = True
            body = body[: len(body) // 2]
        as_it_is(passing, body)

    return deliver


class Front:
    """Passes on to a registry what the engine asks.

    @ivar asked: method and path, in their order.
    @ivar refuse: answers a request for a manifest by itself, or says that it does not.
    @ivar deliver: sends the bodies of all other answers.
    """

    def __init__(self, registry: str) -> None:
        self.asked: list[str] = []
        self.refuse: Refuse = never
        self.deliver: Deliver = as_it_is
        self.closing = threading.Event()
        self._registry = registry
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Passing,), {"of": self}))
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def pulls(self) -> int:
        """How many there were."""
        return sum(asked.startswith("HEAD ") and "/manifests/" in asked for asked in self.asked)

    def close(self) -> None:
        """End it, and what it does."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def fetch(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, list[tuple[str, str]], bytes]:
        """What the registry says."""
        connection = http.client.HTTPConnection(self._registry, timeout=30)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()


class Passing(BaseHTTPRequestHandler):
    """A connection of the engine's to a front."""

    of: Front
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        """The engine tries TLS first, which begins with this byte."""
        if self.connection.recv(1, socket.MSG_PEEK) != b"\x16":
            with contextlib.suppress(OSError):
                super().handle()

    def do_GET(self) -> None:
        front = self.of
        front.asked.append(f"{self.command} {self.path}")
        if "/manifests/" in self.path and front.refuse(self):
            return
        passed = {name: value for name, value in self.headers.items() if name in ("Authorization", "Accept", "Range")}
        status, headers, body = front.fetch(self.command, self.path, passed)
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        front.deliver(self, body)

    do_HEAD = do_GET

    def answer_error(self, status: int, message: str) -> None:
        """As registries do."""
        body = json.dumps({"errors": [{"code": "UNKNOWN", "message": message}]}).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""
