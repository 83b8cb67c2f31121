"""A web page of somebody else's, in a real browser on the server's own machine."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.engine.server_process import ServerProcess
from tests.security.conftest import IMAGE

pytestmark = pytest.mark.long
PAGE = Path(__file__).with_name("page.html")
TRIES = ("json", "plain", "urlencoded", "multipart", "beacon", "other", "metrics", "status", "page", "images")


@contextmanager
def served(page: str) -> Iterator[str]:
    """A web server of the page's own; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page.encode())

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def shown(url: str, profile: Path) -> str:
    """What the page has become in Chromium after 8 of its seconds."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"]
    command = ["chromium", *options, "--virtual-time-budget=8000", "--dump-dom", url]
    return subprocess.run(command, env={"HOME": str(profile), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
                          timeout=90, check=True).stdout  # fmt: skip


def test_page(strong: ServerProcess, tmp_path: Path) -> None:
    """It runs nothing and reads nothing, whichever way it asks; and the same request from a program is served."""
    before = strong.pool(IMAGE)["total_executions"]
    with served(PAGE.read_text().replace("TARGET", f"http://127.0.0.1:{strong.port}")) as url:
        text = shown(url, tmp_path)
    told = re.search(r"<body>tried: (.*)</body>", text, re.DOTALL)
    assert told, text
    assert re.findall(r"(\w+)=", told[1]) == list(TRIES)
    assert "taken" not in told[1]
    assert "pool" not in told[1]
    assert strong.pool(IMAGE)["total_executions"] == before
    assert strong.output("echo taken") == "taken\n"
    assert strong.pool(IMAGE)["total_executions"] == before + 1
