"""The HTTP API of a running server, over a real socket."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.server_process import BUSYBOX, Answer, ServerProcess, wait_until

JSON = {"Content-Type": "application/json"}
SEED_KEYS = {"success", "stdout", "stderr", "exit_code", "execution_time", "error"}


def refused(answer: Answer, status: int, code: str) -> None:
    """An error of the request: the six keys, nothing run, a code and a sentence."""
    assert (answer.status, answer["code"]) == (status, code)
    assert set(answer.json) >= SEED_KEYS
    assert (answer["success"], answer["stdout"], answer["stderr"], answer["exit_code"]) == (False, "", "", None)
    assert answer["error"].endswith(".")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"x"', b"{}", b'{"script": ""}', b'{"script": 1}', b'{"script": "x", "sript": "y"}',
             b'{"script": "x", "timeout": 0}', b'{"script": "x", "timeout": 31}', b'{"script": "x", "image": "A b"}',
             b'{"script": "x", "args": "y"}', b'{"script": "x", "env": {"a=b": "c"}}', b"[" * 100_000],
)  # fmt: skip
def test_bad_requests(server: ServerProcess, body: bytes) -> None:
    """What is malformed or cannot be is 400."""
    refused(server.request("POST", "/execute", body, JSON), 400, "invalid_request")


def test_other_refusals(server: ServerProcess) -> None:
    """Wrong paths, methods, types and sizes have their own answers."""
    refused(server.get("/nothing"), 404, "not_found")
    wrong_method = server.get("/execute")
    refused(wrong_method, 405, "method_not_allowed")
    assert "POST" in wrong_method.headers["Allow"]
    plain = server.request("POST", "/execute", b'{"script": "x"}', {"Content-Type": "text/plain"})
    refused(plain, 415, "unsupported_media_type")
    assert "-H 'Content-Type: application/json'" in plain["error"]


def test_web_page_and_rebinding(server: ServerProcess) -> None:
    """A page of another site, and a name that is not ours, are refused."""
    body = b'{"script": "echo hi"}'
    refused(server.request("POST", "/execute", body, JSON | {"Origin": "http://evil.example"}), 403, "forbidden")
    refused(server.request("POST", "/execute", body, JSON | {"Sec-Fetch-Site": "cross-site"}), 403, "forbidden")
    refused(server.request("POST", "/execute", body, JSON | {"Host": "evil.example"}), 403, "forbidden")
    assert server.request("GET", "/health", headers={"Host": "evil.example"}).status == 200


def test_too_large(server: ServerProcess) -> None:
    """A body above the limit is 413, declared or in chunks, and the answer arrives."""
    for chunked in (False, True):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
            if chunked:
                client.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
                for _ in range(70):
                    client.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            else:
                client.sendall(b"Content-Length: 5000000\r\n\r\n" + b"x" * 65536)
            assert b" 413 " in client.recv(65536)


def test_request_id(server: ServerProcess) -> None:
    """The client's id of its request comes back; without one there is one of ours."""
    answer = server.request("POST", "/execute", b'{"script": "echo hi"}', JSON | {"X-Request-ID": "mine-1"})
    assert (answer["request_id"], answer.headers["X-Request-Id"]) == ("mine-1", "mine-1")
    ours = server.execute("echo hi")
    assert ours["request_id"] == ours.headers["X-Request-Id"] != "mine-1"


def test_metrics(server: ServerProcess) -> None:
    """The README's names as JSON, Prometheus text on request."""
    before = server.get("/metrics")
    server.output("true")
    server.execute("exit 1")
    after = server.get("/metrics")
    assert set(after.json) >= {"pools_active", "total_available_containers", "pool_metrics"}
    assert set(after["pool_metrics"][BUSYBOX]) >= {"pool_size", "available_containers", "total_executions"}
    assert after["total_executions"] == before["total_executions"] + 2
    assert after["failed_executions"] == before["failed_executions"] + 1
    assert after["success_rate"] + after["failure_rate"] == pytest.approx(1)
    text = server.request("GET", "/metrics", headers={"Accept": "text/plain"})
    assert text.headers["Content-Type"].startswith("text/plain")
    assert "# TYPE script_executor_runs_total counter" in text.body.decode()


def test_health_and_images(server: ServerProcess) -> None:
    """A server that works says so in all three ways, and what it runs."""
    health = server.get("/health")
    assert (health["status"], health["reasons"], health["advice"]) == ("healthy", [], [])
    assert [server.get(f"/health/{name}").status for name in ("live", "ready")] == [200, 200]
    images = server.get("/images")
    assert [pool["image"] for pool in images["pools"]] == [BUSYBOX]
    assert images["allowed"] == "any"


def test_keys(start: Callable[..., ServerProcess], tmp_path: Path) -> None:
    """With keys nothing but health is open, and who has one is a tenant of its own."""
    keys = tmp_path / "keys"
    keys.write_text("# for the tests\nalice: 0123456789abcdef\nbob: fedcba9876543210\n")
    server = start(API_KEYS_FILE=str(keys), POOL_SIZE="1").ready()
    body = json.dumps({"script": "cat /proc/1/stat | cut -d' ' -f22"}).encode()
    refused(server.request("POST", "/execute", body, JSON), 401, "unauthorized")
    refused(server.get("/metrics"), 401, "unauthorized")
    found = []
    for key in ("0123456789abcdef", "fedcba9876543210"):
        answer = server.request("POST", "/execute", body, JSON | {"Authorization": f"Bearer {key}"})
        assert answer.status == 200
        found.append(answer["stdout"])
    assert found[0] != found[1]


def test_allowed_images(start: Callable[..., ServerProcess]) -> None:
    """An image that is not allowed is 403; pools always are."""
    server = start(ALLOWED_IMAGES="script-executor-test:volumes").ready()
    refused(server.execute("echo hi", image="script-executor-test:python"), 403, "image_not_allowed")
    assert server.output("echo hi", image="script-executor-test:volumes") == "hi\n"
    assert server.output("echo hi", image=BUSYBOX) == "hi\n"


def test_never_blocked(server: ServerProcess) -> None:
    """While large requests and answers pass, others are answered at once: nothing holds the reactor for long.

    The bound is loose, as the machine may be busy: a second, where the work of each request is milliseconds.
    """
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            server.output("cat", stdin="ä" * 400_000)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            began = time.monotonic()
            assert server.get("/health/live").status == 200
            assert time.monotonic() - began < 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_keep_alive_and_pipelining(server: ServerProcess) -> None:
    """Two requests in one write get two answers, in order."""
    body = [json.dumps({"script": f"echo {number}"}).encode() for number in (1, 2)]
    head = (
        b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(b"".join(head % (len(one), one) for one in body))
        received = b""

        def both() -> bool:
            nonlocal received
            received += client.recv(65536)
            return received.count(b'"request_id"') == 2

        wait_until(both, "two answers", 10)
    assert received.index(b'"1\\n"') < received.index(b'"2\\n"')


def test_debug() -> None:
    """LOG_LEVEL=debug shows what becomes of containers."""
    server = ServerProcess(LOG_LEVEL="DEBUG", POOL_SIZE="1")
    try:
        server.ready()
        assert f"pool {BUSYBOX} has twisted-executor-" in server.log
    finally:
        server.discard()
