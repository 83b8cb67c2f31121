"""The figures of a real server: what its clients and the engine have counted themselves."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from tests.engine.server_process import BUSYBOX, ServerProcess, free_port, wait_until
from tests.unit.scraping import sampled
from tests.unit.test_metrics_page import busy

OTHER_IMAGE = "script-executor-test:volumes"
JSON = {"Content-Type": "application/json"}
Samples = dict[tuple[str, ...], float]


def scrape(server: ServerProcess, accept: str = "text/plain") -> Samples:
    """The values by name and labels, the labels in the order of their names."""
    answer = server.get("/metrics", Accept=accept)
    assert answer.status == 200
    return sampled(answer.headers["Content-Type"], answer.body)


def grown(before: Samples, after: Samples, name: str) -> Counter[tuple[str, ...]]:
    """By how much the counters of that name have grown, those that have."""
    name = f"script_executor_{name}"
    found = {key[1:]: int(value - before.get(key, 0)) for key, value in after.items() if key[0] == name}
    return Counter({labels: count for labels, count in found.items() if count})


def ask(server: ServerProcess, repeats: int) -> Counter[tuple[str, ...]]:
    """Requests of known kinds; their statuses as the clients saw them, by code, method and route."""
    kinds: list[tuple[str, str, bytes | None, dict[str, str]]] = [
        ("POST", "/execute", json.dumps({"script": "true"}).encode(), JSON),
        ("POST", "/execute", json.dumps({"script": "echo hi", "image": OTHER_IMAGE}).encode(), JSON),
        ("POST", "/execute", json.dumps({"script": "exit 3"}).encode(), JSON),
        ("POST", "/execute", b"{", JSON),
        ("POST", "/execute", b"{}", {}),
        ("GET", "/execute", None, {}),
        ("GET", "/images", None, {}),
        ("GET", "/health/live", None, {}),
        ("GET", "/nothing", None, {}),
        ("BREW", "/coffee", None, {}),
    ]
    seen: Counter[tuple[str, ...]] = Counter()
    for _ in range(repeats):
        for method, path, body, headers in kinds:
            status = server.request(method, path, body, headers).status
            known = path not in ("/nothing", "/coffee"), method != "BREW"
            seen[str(status), method if known[1] else "other", path if known[0] else "other"] += 1
    return seen


def test_counts(start: Callable[..., ServerProcess], engine: docker.APIClient) -> None:
    """Every figure is what those counted who caused it, exactly."""
    server = start(POOL_SIZE="2", TIMEOUT="5").ready()
    server.full()
    before = scrape(server)
    seen = ask(server, 8)
    assert server.execute("sleep 9", timeout=0.2)["status"] == "timeout"
    server.full()
    after = scrape(server)

    runs = {(BUSYBOX, "ok"): 8, (BUSYBOX, "nonzero_exit"): 8, (BUSYBOX, "timeout"): 1}
    other = f"docker.io/library/{OTHER_IMAGE}"
    assert grown(before, after, "runs_total") == {**runs, (other, "ok"): 8}
    assert {labels for labels in seen if labels[0] == "200"} == {
        ("200", "POST", "/execute"), ("200", "GET", "/images"), ("200", "GET", "/health/live"),
    }  # fmt: skip
    seen["200", "POST", "/execute"] += 1
    polled = ("200", "GET", "/metrics")
    told = grown(before, after, "http_requests_total")
    assert told.pop(polled) >= 1  # the first scrape, and those of `full`
    assert told == seen
    assert grown(before, after, "refused_total") == {
        ("invalid_request",): 8, ("unsupported_media_type",): 8, ("method_not_allowed",): 8, ("not_found",): 16,
    }  # fmt: skip

    taken = grown(before, after, "take_seconds_count")
    assert taken[BUSYBOX, "yes"] == 17
    assert taken[other, "no"] == 1
    assert taken[other, "yes"] == 7
    assert grown(before, after, "queue_seconds_count") == {(BUSYBOX,): 17, (other,): 8}
    assert grown(before, after, "run_seconds_count") == {(BUSYBOX,): 17, (other,): 8}

    label = {"label": f"twisted-executor.instance={server.instance}", "type": "container", "event": "start"}
    started = [
        event["Actor"]["Attributes"]["image"]
        for event in engine.events(since=1, until=int(time.time()) + 1, filters=label, decode=True)
    ]
    made = {
        labels: value for labels, value in after.items() if labels[0] == "script_executor_container_creations_total"
    }
    assert sum(made.values()) == len(started) == after["script_executor_create_seconds_count",]
    assert after["script_executor_engine_call_seconds_count", "start"] == len(started)
    assert after["script_executor_attach_streams",] == 3


def test_both_texts(start: Callable[..., ServerProcess]) -> None:
    """The strict parser of OpenMetrics takes what a real server says, and promtool has nothing to say about it."""
    server = start(POOL_SIZE="1").ready()
    ask(server, 1)
    server.get("/metrics")  # so that both have seen it
    assert set(scrape(server, "application/openmetrics-text;version=1.0.0")) == set(scrape(server))
    checked(server.get("/metrics", Accept="text/plain").body)


def test_promtool() -> None:
    """Nor where everything has happened."""
    checked(busy().as_text("text/plain")[1])


def checked(text: bytes) -> None:
    """Prometheus' own tool parses it and finds nothing against its rules."""
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_port_of_its_own(start: Callable[..., ServerProcess], tmp_path: Path) -> None:
    """Without a key, with health, without anything else, and until the last container is gone."""
    keys = tmp_path / "keys"
    keys.write_text("alice: 0123456789abcdef\n")
    port = free_port()
    server = start(API_KEYS_FILE=str(keys), METRICS_LISTEN=f"127.0.0.1:{port}", POOL_SIZE="1").ready()
    main, server.port = server.port, port
    wait_until(lambda: scrape(server)["script_executor_containers", BUSYBOX, "idle"] == 1, "it is full")
    assert server.get("/health/ready").status == 200
    assert "pools_active" in server.get("/metrics").json
    refused = server.request("POST", "/execute", b"{}", JSON)
    assert (refused.status, refused["code"]) == (404, "not_found")
    server.port = main
    assert server.get("/metrics").status == 401
    with socket.create_connection(("127.0.0.1", main)) as client:
        body = b'{"script": "sleep 2"}'
        client.sendall(
            b"POST /execute HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer 0123456789abcdef\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        server.port = port
        wait_until(lambda: scrape(server)["script_executor_running",] == 1, "it runs")
        server.process.terminate()
        wait_until(lambda: scrape(server)["script_executor_draining",] == 1, "it stops", 2)
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_place_that_is_taken(kind: str, start: Callable[..., ServerProcess], tmp_path: Path) -> None:
    """It ends the server at its start, as a taken main port does."""
    with socket.socket(socket.AF_INET if kind == "tcp" else socket.AF_UNIX) as taken:
        place = tmp_path / "socket"
        taken.bind(("127.0.0.1", 0) if kind == "tcp" else str(place))
        taken.listen()
        where = str(taken.getsockname()[1]) if kind == "tcp" else f"unix:{place}"
        server = start(METRICS_LISTEN=where)
        assert server.process.wait(30) != 0
        assert "Couldn't listen" in server.log
