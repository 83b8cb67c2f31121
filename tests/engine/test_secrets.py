"""Whatever a client sends and a script says stays out of every log, at every level."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import docker
import pytest

from tests.engine.faulty import FAULTY
from tests.engine.rsyslog import Rsyslog
from tests.engine.server_process import Answer, ServerProcess, wait_until
from twisted_executor.source import INSTANCE_LABEL

KEY = "key-SECRET-0123456789"
HEAD = f"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer {KEY}\r\n"
JSON = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}


class Secrets:
    """Makes them, and remembers all."""

    def __init__(self) -> None:
        self.all = [KEY]
        self._numbers = count()

    def __call__(self, what: str) -> str:
        self.all.append(f"SECRET{next(self._numbers):03d}{what}")
        return self.all[-1]


@pytest.fixture
def rsyslog() -> Iterator[Rsyslog]:
    with tempfile.TemporaryDirectory(prefix="rsyslog-") as folder:
        running = Rsyslog(Path(folder))
        try:
            yield running.start()
        finally:
            running.stop()


def runs(server: ServerProcess, secrets: Secrets, script: str, **fields: object) -> Answer:
    """A script with a secret in every field, and in what it says."""
    body = {
        "script": f"{script}\n# {secrets('script')}",
        "stdin": secrets("stdin"),
        "args": [secrets("args")],
        "env": {"NAME": secrets("env"), secrets("name"): "x"},
        "tenant": secrets("tenant"),
    }
    return server.request("POST", "/execute", json.dumps(body | fields).encode(), JSON)


def raw(server: ServerProcess, data: bytes) -> None:
    """Send this, and wait for the end."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(data)
        while connection.recv(65536):
            pass


def refused(server: ServerProcess, secrets: Secrets) -> None:
    """What is no request, in many ways."""
    bodies = (
        f'{{"script": "{secrets("cut")}',
        f'{{"script": "x", "{secrets("field")}": 1}}',
        f'{{"script": ["{secrets("list")}"]}}',
        f'{{"script": "x", "timeout": "{secrets("timeout")}"}}',
        f'{{"script": "x", "env": {{"{secrets("variable")}=": "x"}}}}',
        f'{{"script": "x", "args": ["{secrets("zero")}\\u0000"]}}',
        f'{{"script": "x", "image": "{secrets("Image")} no"}}',
        secrets("text"),
    )
    for body in bodies:
        assert server.request("POST", "/execute", body.encode(), JSON).status == 400
    latin = b'{"script": "' + secrets("latin").encode() + b'\xff"}'
    assert server.request("POST", "/execute", latin, JSON).status == 400
    wrong = JSON | {"Authorization": f"Bearer {secrets('wrong-key')}"}
    assert server.request("POST", "/execute", b"{}", wrong).status == 401
    assert server.get(f"/images?key={secrets('query')}", Authorization=f"Bearer {KEY}").status == 200
    assert server.get("/images", **{"X-Request-ID": f"<{secrets('id')}>"}).status == 401
    assert server.get("/images", traceparent=secrets("trace")).status == 401
    raw(server, f"{HEAD}Transfer-Encoding: chunked\r\n\r\n{secrets('chunk')}\r\n".encode())
    raw(server, f"{secrets('no-http')}\r\n\r\n".encode())
    # A length that is too short: what follows looks like another request.
    another = f"{secrets('METHOD')} /{secrets('path')} HTTP/1.1\r\nConnection: close\r\n\r\n"
    raw(server, f"{HEAD}Content-Length: 2\r\n\r\n{{}}{another}".encode())


def abandoned(server: ServerProcess, secrets: Secrets) -> socket.socket:
    """A client that does not wait for its run, which is under way."""
    body = json.dumps({"script": f"echo {secrets('leaves')}; sleep 20"}).encode()
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    wait_until(lambda: server.get("/metrics", Authorization=f"Bearer {KEY}")["running"], "it runs")
    return connection


def every_end(server: ServerProcess, secrets: Secrets, engine: docker.APIClient) -> None:
    """Runs that end in all the ways that there are."""
    say = 'echo "$1 $NAME"; cat; echo "$1" >&2; '
    ends = {
        "ok": say,
        "nonzero_exit": say + "exit 3",
        "signaled": say + "kill -9 $$",
        "timeout": say + "sleep 9",
        "output_limit": "while :; do " + say + "done",
    }
    for status, script in ends.items():
        assert runs(server, secrets, script, timeout=1.0 if status == "timeout" else 20.0)["status"] == status
    left = "touch /tmp/$1; mkdir /tmp/$NAME; (sleep 100; echo $1) & /no/$1; exec /no/$NAME"
    assert runs(server, secrets, left)["status"] == "nonzero_exit"
    assert runs(server, secrets, say, image="localhost:1/no/such").status in (422, 503)
    abandoned(server, secrets).close()
    with abandoned(server, secrets) as connection:
        instance = server.get("/metrics", Authorization=f"Bearer {KEY}")["instance"]
        for container in engine.containers(filters={"label": f"{INSTANCE_LABEL}={instance}"}):
            with suppress(docker.errors.APIError):
                engine.kill(container["Id"])
        assert b"503" in connection.recv(100)
    for fault in ("RuntimeError", "KeyError", "ValueError", "Exception"):
        answer = runs(server, secrets, f"# fault {fault} {secrets('words')}")
        assert (answer.status, answer["code"]) == (500, "internal_error")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_secrets(log_format: str, rsyslog: Rsyslog, tmp_path: Path, engine: docker.APIClient) -> None:
    """Runs that end in every way, faults, requests that are refused in every way: none of it is in any log."""
    (keys := tmp_path / "keys").write_text(f"alice:{KEY}\n")
    keys.chmod(0o600)
    server = ServerProcess(
        twistd=FAULTY, LOG_LEVEL="debug", LOG_FORMAT=log_format, SYSLOG=rsyslog.targets["tcp"], API_KEYS_FILE=str(keys),
        MAX_OUTPUT_BYTES="1k", CUSTOM_IMAGE_PULL_RETRIES="0",
    )  # fmt: skip
    secrets = Secrets()
    try:
        server.ready()
        every_end(server, secrets, engine)
        refused(server, secrets)
        server.stop()
        wait_until(lambda: any("SIGTERM" in one["message"] for one in rsyslog.events()), "the end is told")
        logs = (server.log, (rsyslog.folder / "out").read_text())
    finally:
        server.discard()
    for log in logs:
        for mark in (
            "run of",
            "refused: 400",
            "the client left",
            "alice",
            "was lost",
            "pull",
            "RuntimeError",
            "a fault",
        ):
            assert mark in log, mark
        assert [secret for secret in secrets.all if secret in log] == []
