"""Every request is told of once, when it has had its answer or its client has gone."""

from __future__ import annotations

import gc

import pytest

from tests.unit.web_client import Server
from twisted_executor.boundaries import Answered, Execution
from twisted_executor.errors import ExecutorError, ImageNotFound
from twisted_executor.keys import parse
from twisted_executor.testing import HELLO

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EXECUTE = b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def told(server: Server) -> list[tuple[str, str, int, str | None]]:
    """Method, path, status and code of each that was told of."""
    return [(one.method, one.path, one.status, one.error and one.error.code) for one in server.answered]


def test_script() -> None:
    """A run is told of with all that is known of it, at its end."""
    server = Server(keys=parse("alice:alices-secret-0001\n"))
    connection = server.connect("192.0.2.7")
    headers = ("Authorization: Bearer alices-secret-0001", "X-Request-ID: mine", f"traceparent: {TRACE}")
    connection.post({"script": "echo hi"}, *headers)
    server.clock.advance(1.5)
    assert server.answered == []
    server.executor.finish(HELLO)
    (one,) = server.answered
    assert (one.method, one.path, one.status, one.seconds) == ("POST", "/execute", 200, 1.5)
    assert (one.key, one.request_id, one.traceparent, one.peer) == ("alice", "mine", TRACE, "192.0.2.7")
    assert one.execution is not None
    assert one.execution.outcome is HELLO
    connection.leave()
    assert len(server.answered) == 1


@pytest.mark.parametrize("trace", ["", "00-0-0-01", TRACE.upper(), TRACE + "-x", "ff" + TRACE[2:], "\xff"])
def test_odd_trace(trace: str) -> None:
    """What is no trace is left out."""
    server = Server()
    server.request("GET", "/health", f"traceparent: {trace}")
    assert server.answered[0].traceparent == ""


def test_refusals() -> None:
    """Whoever refuses, and when: by its route, by its head, by its body, by what is no HTTP, without a route."""
    server = Server()
    server.clock.advance(1000.0)
    server.execute({"script": ""})
    server.request("GET", "/nothing?secret=1")
    server.request("POST", "/execute")
    server.connect().send(EXECUTE + b"Content-Length: 100000\r\n\r\n")
    server.connect().send(EXECUTE + b"Transfer-Encoding: chunked\r\n\r\nzzz\r\n")
    server.connect().send(b"\x16\x03\x01\x02\x00\r\n\r\n")
    server.executor.refuses = ImageNotFound("It is not there.")
    server.execute({"script": "true"})
    assert told(server) == [
        ("POST", "/execute", 400, "invalid_request"),
        ("GET", "/nothing", 404, "not_found"),
        ("POST", "/execute", 415, "unsupported_media_type"),
        ("POST", "/execute", 413, "request_too_large"),
        ("POST", "/execute", 400, "invalid_request"),
        ("", "", 400, "invalid_request"),
        ("POST", "/execute", 422, "image_not_found"),
    ]
    assert all(one.seconds == 0.0 for one in server.answered)


def test_client_that_goes() -> None:
    """It is told of once, as 499; one that had only begun to speak is not."""
    server = Server()
    connection = server.connect()
    connection.post({"script": "sleep 9"})
    connection.leave()
    assert told(server) == [("POST", "/execute", 499, None)]
    for part in (b"", b"GET /hea", EXECUTE):
        other = server.connect()
        other.send(part)
        other.leave()
    assert len(server.answered) == 1


def test_client_that_goes_in_its_body() -> None:
    """A request whose body does not come is told of when its client goes, or when that is refused."""
    server = Server()
    for end in ("leave", "wait"):
        connection = server.connect()
        connection.send(EXECUTE + b"Content-Length: 9\r\n\r\n{")
        if end == "leave":
            connection.leave()
        else:
            server.clock.advance(100)
            connection.leave()
    assert [one.status for one in server.answered] == [499, 400]


def test_fault() -> None:
    """An incident is told of as one."""
    server = Server()
    server.health.report = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    assert server.request("GET", "/health").status == 500
    assert type(server.answered[0].error) is ExecutorError


def executions() -> set[int]:
    """All that there are, by their places."""
    return {id(one) for one in gc.get_objects() if isinstance(one, Execution)}


def test_nothing_is_kept() -> None:
    """With its answer a run is let go: requests wait for the garbage collector, and outputs are large."""
    server = Server()
    before = executions()  # of other tests
    gc.disable()
    try:
        server.connect().post({"script": "echo hi"})
        server.executor.finish(HELLO)
        assert server.answered.pop().execution is not None
        server.executor.refuses = ImageNotFound("It is not there.")
        server.execute({"script": "true"})
        server.answered.clear()
        server.executor.refuses = None
        assert executions() <= before
    finally:
        gc.enable()


def test_listener_that_fails() -> None:
    """Whoever counts or logs, the client has its answer, the connection goes on, and the others hear of it."""
    server = Server(HELLO)
    heard: list[int] = []

    def fail(_: Answered) -> None:
        raise ZeroDivisionError

    server.site = server.api.site(server.clock, fail, lambda one: heard.append(one.status))
    connection = server.connect()
    for _ in range(2):
        assert connection.request("GET", "/health/live").status == 200
    refused = server.connect()
    refused.send(EXECUTE + b"Content-Length: 100000\r\n\r\n")
    assert [answer.status for answer in refused.answers()] == [413]
    assert heard == [200, 200, 413]


def test_peer_of_what_is_no_request() -> None:
    """Where garbage comes from is told."""
    server = Server()
    server.connect("192.0.2.9").send(b"\x16\x03\x01\x02\x00\r\n\r\n")
    assert [one.peer for one in server.answered] == ["192.0.2.9"]
