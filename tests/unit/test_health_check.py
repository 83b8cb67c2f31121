"""The command that asks a server how it is."""

from __future__ import annotations

import ast
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from twisted_executor import health_check


class Server(HTTPServer):
    """Answers everything with the same."""

    status = 200
    body = b'{"status":"healthy","reasons":[]}'

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/health"


class Answers(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "code", "told"),
    [
        (200, b'{"status":"healthy","reasons":[]}', 0, "The server is healthy.\n"),
        (200, b'{"status":"degraded","reasons":["A.","B."]}', 0, "The server is degraded.\nA.\nB.\n"),
        (
            200,
            b'{"status":"degraded","reasons":["A."],"advice":["Set POOL_SIZE=8."],"pools":{}}',
            0,
            "The server is degraded.\nA.\nSet POOL_SIZE=8.\n",
        ),
        (503, b'{"status":"unhealthy","reasons":["No engine."]}', 1, "The server is unhealthy.\nNo engine.\n"),
        (200, b'{"status":"alive"}', 0, "The server is alive.\n"),
        (404, b"<html>", 1, "answers with status 404.\n"),
        (503, b"[]", 1, "answers with status 503.\n"),
    ],
)
def test_answers(
    server: Server, capsys: pytest.CaptureFixture[str], status: int, body: bytes, code: int, told: str
) -> None:
    """What the server says, and an exit status for machines."""
    server.status, server.body = status, body
    assert health_check.main([server.url]) == code
    assert capsys.readouterr().out.endswith(told)


def test_nobody(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a server it says so."""
    url = server.url
    server.socket.close()
    assert health_check.main([url]) == 1
    assert capsys.readouterr().out.startswith(f"No server answers at {url}: ")


@pytest.mark.parametrize("arguments", [["https://127.0.0.1/"], ["8080"], ["--what"], ["a", "b"], ["http://"]])
def test_wrong_use(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """What it does not understand is status 2, with a word on what would be right."""
    assert health_check.main(arguments) == 2
    assert "http://127.0.0.1:8080/health" in capsys.readouterr().out


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert health_check.main(["--help"]) == 0
    assert "Exits with 0" in capsys.readouterr().out


def test_standard_library_only() -> None:
    """It is started every few seconds."""
    tree = ast.parse(Path(health_check.__file__).read_text())
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert {module.partition(".")[0] for module in modules} <= sys.stdlib_module_names
