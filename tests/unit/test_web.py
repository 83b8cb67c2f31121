"""The API over HTTP, with an executor in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from zope.interface.verify import verifyObject

from tests.unit.web_client import MOST, Answer, Connection, Server, error_kinds
from twisted_executor import errors
from twisted_executor.boundaries import CanaryStats, Demand, ExecutorStats, HealthReport, IExecutor, IHealth, IMetrics
from twisted_executor.errors import (
    Draining,
    EngineUnavailable,
    ExecutorError,
    ImageNotFound,
    ImageUnavailable,
    Overloaded,
    SandboxLost,
)
from twisted_executor.keys import parse
from twisted_executor.testing import HELLO, pool_stats
from twisted_executor.web import STATUS, status_of

HI = {"script": "echo hi"}
SIX = ("success", "stdout", "stderr", "exit_code", "execution_time", "error")
KEYS = parse("alice:alices-secret-0001\nbob:bobs-secret-000001\n")


@pytest.fixture(autouse=True)
def trouble() -> Iterator[list[LogEvent]]:
    """What was logged as an error; a test that expects some takes it away."""
    events: list[LogEvent] = []

    def observe(event: LogEvent) -> None:
        if event["log_level"] >= LogLevel.warn:
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)
    assert events == []


def assert_refused(answer: Answer, status: int, code: str) -> None:
    """It is an error of this kind, with the README's six keys and an id."""
    found = answer.json
    assert (answer.status, found["code"]) == (status, code), found
    assert tuple(found)[:6] == SIX
    assert (found["success"], found["stdout"], found["stderr"], found["exit_code"]) == (False, "", "", None)
    assert found["error"][0].isupper()
    assert found["error"][-1] == "."
    assert answer.headers["x-request-id"] == found["request_id"]


def test_executes() -> None:
    """A script's answer begins with the six keys of the README and says the rest beside them."""
    answer = Server(HELLO).execute(HI, "X-Request-ID: mine")
    assert answer.status == 200
    assert tuple(answer.json)[:6] == SIX
    assert answer.json == {
        "success": True, "stdout": "hi\n", "stderr": "", "exit_code": 0, "execution_time": 0.001, "error": None,
        "status": "ok", "signal": None, "stdout_truncated": False, "stderr_truncated": False, "stdout_bytes": 3,
        "stderr_bytes": 0, "oom_kills": 0, "cpu_time": 0.0009, "memory_peak": 1 << 20, "queue_time": 0.0001,
        "warm": True, "image": "alpine:latest", "request_id": "mine",
    }  # fmt: skip


def test_headers_of_every_answer() -> None:
    """Every answer says what it is, is not to be stored or sniffed at, and keeps the server's version to itself."""
    server = Server(HELLO)
    answers = [server.execute(HI), server.request("GET", "/health"), server.request("GET", "/nothing")]
    answers += [server.request("GET", "*"), server.request("GET", "/metrics"), server.execute(b"x" * (MOST + 1))]
    assert [answer.status for answer in answers] == [200, 200, 404, 400, 200, 413]
    for answer in answers:
        headers = answer.headers
        assert headers["content-type"] == "application/json"
        assert headers["content-length"] == str(len(answer.body))
        assert headers["server"] == "script-executor"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["date"].endswith("GMT")
        assert headers["x-request-id"].startswith("fresh-")
        assert not any(name.startswith("access-control") for name in headers)


@pytest.mark.parametrize("unusable", ["", "a b", "x" * 65, "ä", "{}"])
def test_request_id_made(unusable: str) -> None:
    """An id that cannot be used is replaced by one of ours, in the header and in the answer."""
    answer = Server(HELLO).execute(HI, f"X-Request-ID: {unusable}")
    assert answer.headers["x-request-id"] == answer.json["request_id"] == "fresh-1"


def test_connection_is_kept() -> None:
    """One connection carries one request after another, also after errors of theirs."""
    server = Server(HELLO)
    connection = server.connect()
    for _ in range(3):
        connection.post(HI)
        connection.post({"script": ""})
        connection.send(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert [answer.status for answer in connection.answers()] == [200, 400, 404] * 3
    assert not connection.closed


@pytest.mark.parametrize(
    ("error", "status", "code", "retry"),
    [
        (ImageNotFound("There is no such image."), 422, "image_not_found", None),
        (Overloaded("Too many wait.", 2.2), 503, "overloaded", "3"),
        (Draining("It stops.", 5.0), 503, "draining", "5"),
        (EngineUnavailable("It is gone.", 0.1), 503, "engine_unavailable", "1"),
        (ImageUnavailable("No pull.", 60.0), 503, "image_unavailable", "60"),
        (SandboxLost("It died."), 503, "sandbox_lost", "1"),
    ],
)
def test_executor_errors(error: ExecutorError, status: int, code: str, retry: str | None) -> None:
    """What the executor cannot do becomes an answer with a status, a code, and when to try again."""
    server = Server()
    connection = server.connect()
    connection.post(HI)
    server.executor.fail(error)
    (answer,) = connection.answers()
    assert_refused(answer, status, code)
    assert answer.headers.get("retry-after") == retry
    assert not connection.closed


def test_every_error_has_a_status() -> None:
    """Each kind of error is in the table, or its nearest general kind that is not "error" is; codes are unique."""
    kinds = list(error_kinds())
    assert {status_of(kind("A sentence.")) for kind in kinds} == {400, 401, 403, 404, 405, 413, 415, 422, 429, 500, 503}
    assert [kind for kind in kinds if status_of(kind("A sentence.")) == 500] == [ExecutorError]
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert set(STATUS) <= set(kinds)
    assert all(kind.__module__ == errors.__name__ for kind in kinds)


def test_fault_of_ours(trouble: list[LogEvent]) -> None:
    """A fault is 500 with an incident that the log explains; the client sees nothing of it."""
    server = Server()
    connection = server.connect()
    connection.post(HI)
    server.executor.fail(ZeroDivisionError("secret detail"))
    (answer,) = connection.answers()
    assert_refused(answer, 500, "internal_error")
    assert "secret" not in answer.body.decode()
    (event,) = trouble
    assert event["incident"] == answer.json["incident"] == "fresh-2"
    assert "secret detail" in event["log_failure"].getErrorMessage()
    assert not connection.closed
    trouble.clear()


def test_client_leaves() -> None:
    """A client that goes away cancels its run, and nothing is logged."""
    server = Server()
    connection = server.connect()
    connection.post(HI, "X-Request-ID: left")
    assert server.executor.cancelled == []
    connection.leave()
    assert [job.request_id for job in server.executor.cancelled] == ["left"]


def test_client_leaves_and_executor_fails() -> None:
    """Where the executor answers a cancel with an error of its own, nobody is there to be told."""
    server = Server()

    def fail_instead(job: Any) -> None:
        server.executor.fail(SandboxLost("It died of it."))

    server.executor._cancel = fail_instead  # type: ignore[method-assign]
    connection = server.connect()
    connection.post(HI)
    connection.leave()
    assert server.executor.waiting == []


def test_waiting_bytes() -> None:
    """The bodies of what waits and runs are bounded together; they count until the run ends, however it does."""
    body = json.dumps(HI).encode().ljust(MOST)
    server = Server(waiting=2 * MOST)
    running = [server.connect() for _ in range(2)]
    for connection in running:
        connection.post(body)
    assert_refused(server.execute(body), 503, "overloaded")
    server.executor.finish()
    third = server.connect()
    third.post(body)
    assert third.answers() == []
    running[1].leave()
    fourth = server.connect()
    fourth.post(body)
    assert fourth.answers() == []
    server.executor.fail(SandboxLost("It died."))
    fifth = server.connect()
    fifth.post(body)
    assert fifth.answers() == []
    assert len(server.executor.waiting) == 2


def test_room_is_looked_at_before_the_body() -> None:
    """A request that would be refused for load is, before its body is asked for or read."""
    server = Server()
    server.executor.refuses = Overloaded("Too many wait.", 7.0)
    connection = server.connect()
    connection.send(
        b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 500\r\nExpect: 100-continue\r\n\r\n"
    )
    (answer,) = connection.answers()
    assert_refused(answer, 503, "overloaded")
    assert answer.headers["retry-after"] == "7"
    assert b"100 Continue" not in connection.transport.value()
    assert connection.closed


def test_room_is_decided_when_complete() -> None:
    """There was room at the head of the request, and at its end there is none."""
    server = Server()
    connection = server.connect()
    raw = json.dumps(HI).encode()
    connection.send(
        b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(raw)
    )
    server.executor.refuses = Draining("It stops.")
    connection.send(raw)
    assert_refused(connection.answers()[0], 503, "draining")


def test_expect_continue() -> None:
    """A client that asks first is told to go on."""
    server = Server(HELLO)
    connection = server.connect()
    raw = json.dumps(HI).encode()
    connection.send(
        b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(raw)
    )
    assert connection.transport.value() == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(raw)
    assert [answer.status for answer in connection.answers()] == [200]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/jsonp", 415),
        ("", 415),
    ],
)
def test_content_type(kind: str, status: int) -> None:
    """Only JSON is taken, as a page can send anything else without asking; the sentence helps users of curl."""
    server = Server(HELLO)
    answer = server.request("POST", "/execute", f"Content-Type: {kind}", body=json.dumps(HI).encode())
    assert answer.status == status
    if status == 415:
        assert_refused(answer, 415, "unsupported_media_type")
        assert "-H 'Content-Type: application/json'" in answer.json["error"]


def test_no_content_type() -> None:
    """Curl's -d without a header says urlencoded; nothing at all is refused as well."""
    assert_refused(Server(HELLO).request("POST", "/execute", body=b"{}"), 415, "unsupported_media_type")


def test_no_body() -> None:
    """A request without a body is told what one looks like."""
    answer = Server(HELLO).request("POST", "/execute", "Content-Type: application/json")
    assert_refused(answer, 400, "invalid_request")
    assert '{"script": "echo hi"}' in answer.json["error"]


@pytest.mark.parametrize(
    "path", ["//execute", "/%65xecute", "/%2fexecute", "/execute/", "/execute%00", "/health/../execute"]
)
def test_no_way_around_the_gate(path: str) -> None:
    """Another spelling of a path is another path, else what the gate asks of /execute would not be asked."""
    server = Server(HELLO)
    answer = server.request("POST", path, "Content-Type: text/plain", body=json.dumps(HI).encode())
    assert_refused(answer, 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/execute", "POST"),
        ("HEAD", "/execute", "POST"),
        ("OPTIONS", "/execute", "POST"),
        ("POST", "/health", "GET, HEAD"),
        ("DELETE", "/metrics", "GET, HEAD"),
        ("PUT", "/images", "GET, HEAD"),
        ("BREW", "/health/live", "GET, HEAD"),
    ],
)
def test_wrong_method(method: str, path: str, allow: str) -> None:
    """The answer to a wrong method names the right ones."""
    answer = Server().request(method, path)
    assert answer.status == 405
    assert answer.headers["allow"] == allow
    if method != "HEAD":
        assert_refused(answer, 405, "method_not_allowed")


def test_method_in_small_letters() -> None:
    """Methods are case-sensitive, and "post" is no way around what the gate asks of POST."""
    answer = Server(HELLO).request("post", "/execute", "Content-Type: text/plain", body=b'{"script": "id"}')
    assert_refused(answer, 400, "invalid_request")


def test_unknown_path() -> None:
    """The answer names the path, of a long one only the beginning."""
    assert_refused(Server().request("GET", "/nothing"), 404, "not_found")
    answer = Server().request("GET", "/" + "x" * 8000)
    assert_refused(answer, 404, "not_found")
    assert len(answer.body) < 500


@pytest.mark.parametrize(
    "path", ["/%ff", "/\xff", "*", "http://localhost/health", "health", "/health\x7f", "/%c3%28?x"]
)
def test_odd_targets(path: str) -> None:
    """What is no path of ours is a plain 400."""
    answer = Server().request("GET", path)
    assert answer.status == 400
    assert answer.json["code"] == "invalid_request"


@pytest.mark.parametrize("host", ["x" * 100, "a..b", "-", "xn--\x61", "[::1]:65535"])
def test_hosts_that_klein_fails_on(host: str) -> None:
    """Where any name is allowed, one that is none in the domain name system does no harm."""
    assert Server(hosts=("*",)).request("GET", "/metrics", host=host).status == 200


def test_refused_request_without_body_keeps_the_connection() -> None:
    """The next request of the connection has its own chance."""
    connection = Server().connect()
    assert_refused(connection.request("GET", "/metrics", host="evil.example"), 403, "forbidden")
    assert_refused(connection.request("GET", "/%ff"), 400, "invalid_request")
    assert connection.request("GET", "/metrics").status == 200
    head = connection.request("HEAD", "/metrics", host="evil.example")
    assert (head.status, head.body) == (403, b"")
    assert not connection.closed


def test_health() -> None:
    """Degraded is still 200, in words; unhealthy is 503."""
    server = Server()
    rest: dict[str, Any] = {"advice": [], "pools": {}, "canary": None}
    assert server.request("GET", "/health").json == {"status": "healthy", "reasons": [], **rest}
    server.health.state = HealthReport("degraded", ("swap is not limited.",), ready=True)
    answer = server.request("GET", "/health?verbose=1")
    assert (answer.status, answer.json) == (200, {"status": "degraded", "reasons": ["swap is not limited."], **rest})
    server.health.state = HealthReport("unhealthy", ("The engine is gone.",), ready=False)
    answer = server.request("GET", "/health")
    assert (answer.status, answer.json) == (503, {"status": "unhealthy", "reasons": ["The engine is gone."], **rest})


def test_health_tells_figures() -> None:
    """What is told of each pool and of the canary; what nobody watched is null."""
    server = Server()
    demand = Demand(900.0, 40, 1 / 3, 0.25, 2.0, 8)
    pools = (
        pool_stats("a:1", target=5, idle=2, demand=demand),
        pool_stats("b", target=1, demand=replace(demand, requests=3, recommended_size=None)),
        pool_stats("c", target=1),
    )
    canary = CanaryStats("a:1", "failed", "It hangs.", 5.00000049, 12.34, None, {"failed": 1})
    server.health.state = HealthReport("unhealthy", ("It hangs.",), False, ("Set POOL_SIZE=8.",), pools, canary)
    found = server.request("GET", "/health").json
    told = {
        "pool_size": 5,
        "available_containers": 2,
        "waited_share": 0.3333,
        "average_wait": 0.25,
        "recommended_size": 8,
    }
    assert found["advice"] == ["Set POOL_SIZE=8."]
    assert found["pools"]["a:1"] == told
    assert found["pools"]["b"] == told | {"pool_size": 1, "available_containers": 0, "recommended_size": None}
    assert found["pools"]["c"] == dict.fromkeys(told) | {"pool_size": 1, "available_containers": 0}
    assert found["canary"] == {"image": "a:1", "result": "failed", "seconds": 5.0, "age": 12.3, "since_ok": None}
    server.health.state = replace(server.health.state, canary=replace(canary, result="ok", since_ok=0.26))
    assert server.request("GET", "/health/ready").json["canary"]["since_ok"] == 0.3


def test_live_and_ready() -> None:
    """Liveness does not depend on the engine; readiness is a state of its own."""
    server = Server()
    server.health.state = HealthReport("unhealthy", ("The engine is gone.",), ready=True)
    assert server.request("GET", "/health/live").status == 200
    assert server.request("GET", "/health/ready").status == 200
    server.health.state = HealthReport("healthy", (), ready=False)
    assert server.request("GET", "/health/live").status == 200
    assert server.request("GET", "/health/ready").status == 503


def test_head() -> None:
    """HEAD has the headers of GET and no body."""
    server = Server()
    head, get = server.request("HEAD", "/health"), server.request("GET", "/health")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/html,*/*;q=0.8", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
         "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("\xff\xfe", "application/json"),
    ],
)  # fmt: skip
def test_metrics_by_accept(accept: str | None, kind: str) -> None:
    """JSON is the default, and who asks for text gets the kind that it knows."""
    headers = () if accept is None else (f"Accept: {accept}",)
    answer = Server().request("GET", "/metrics", *headers)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith(kind)
    assert answer.headers["vary"] == "Accept"
    assert ("pools_active" in answer.json) if kind == "application/json" else (b"# TYPE" in answer.body)


def test_images() -> None:
    """What is warm, without the temporary ones, and what requests may name."""
    server = Server(allowed=("python:3.11",), canonical=frozenset({"docker.io/library/python:3.11"}))
    pools = (pool_stats("alpine:latest", target=5, idle=3, busy=1), pool_stats("temporary", idle=1, temporary=True))
    server.executor.figures = ExecutorStats(pools, 1, 0, draining=False)
    assert server.request("GET", "/images").json == {
        "pools": [{"image": "alpine:latest", "pool_size": 5, "available_containers": 3, "busy_containers": 1}],
        "allowed": ["python:3.11"],
    }
    assert Server().request("GET", "/images").json == {"pools": [], "allowed": "any"}


def test_image_not_allowed() -> None:
    """An image outside the list is 403; all spellings of one inside it are fine."""
    server = Server(HELLO, allowed=("python:3.11",), canonical=frozenset({"docker.io/library/python:3.11"}))
    assert_refused(server.execute({**HI, "image": "python:3.12"}), 403, "image_not_allowed")
    assert server.execute({**HI, "image": "docker.io/library/python:3.11"}).status == 200
    assert server.execute(HI).status == 200


@pytest.mark.parametrize(
    "authorization", [None, "Bearer wrong-secret-00001", "Basic alices-secret-0001", "Bearer", "Bearer \xff"]
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/execute"), ("GET", "/metrics"), ("GET", "/images")])
def test_key_needed(method: str, path: str, authorization: str | None) -> None:
    """With keys, everything but health needs one, and says how to send it."""
    server = Server(HELLO, KEYS)
    headers = ["Content-Type: application/json"] + ([f"Authorization: {authorization}"] if authorization else [])
    answer = server.request(method, path, *headers)
    assert_refused(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert server.request("GET", "/health").status == 200
    assert server.request("GET", "/health/ready").status == 200


def test_key_is_asked_for_before_the_body() -> None:
    """Without a key no byte of the body is read, nor is it told whether there is room."""
    server = Server(HELLO, KEYS)
    server.executor.refuses = Overloaded("Too many wait.")
    connection = server.connect()
    connection.send(
        b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    )
    assert_refused(connection.answers()[0], 401, "unauthorized")
    assert connection.closed


def test_key_is_the_tenant() -> None:
    """The run belongs to the name of the key and to the tenant that the request names."""
    server = Server(keys=KEYS)
    server.connect().post({**HI, "tenant": "t1"}, "Authorization: Bearer bobs-secret-000001")
    server.connect().post(HI, "Authorization: bearer   alices-secret-0001")
    tenants = [job.tenant for job, _ in server.executor.waiting]
    assert [(tenant.key, tenant.name) for tenant in tenants] == [("bob", "t1"), ("alice", "")]


def test_fakes() -> None:
    """The fakes and the real ones have the same interfaces."""
    server = Server()
    verifyObject(IExecutor, server.executor)
    verifyObject(IHealth, server.health)
    verifyObject(IMetrics, server.metrics)


def test_connection_of_http_1_0() -> None:
    """An old client gets its answer and a closed connection."""
    server = Server()
    connection = Connection(server.site)
    connection.send(b"GET /health HTTP/1.0\r\n\r\n")
    (answer,) = connection.answers()
    assert answer.status == 200
    assert connection.closed


def test_port_of_the_figures() -> None:
    """Figures and health without a key, in all forms; nothing else, whatever the key; a body is refused."""
    server = Server(keys=parse("alice:alices-secret-0001\n"))
    assert_refused(server.request("GET", "/metrics"), 401, "unauthorized")
    for path in ("/metrics", "/health", "/health/live", "/health/ready"):
        assert Connection(server.figures).request("GET", path).status == 200
    text = Connection(server.figures).request("GET", "/metrics", "Accept: text/plain")
    assert b'script_executor_http_requests_total{route="/health",method="GET",code="200"} 1\n' in text.body
    key = "Authorization: Bearer alices-secret-0001"
    for method, path in (("POST", "/execute"), ("GET", "/images"), ("GET", "/"), ("GET", "/health/other")):
        assert_refused(Connection(server.figures).request(method, path, key), 404, "not_found")
        assert_refused(Connection(server.figures).request(method, path, key, body=b"{}"), 404, "not_found")
    assert Connection(server.figures).request("GET", "/metrics", body=b"{}").status == 200
    assert_refused(
        Connection(server.figures).request("GET", "/metrics", body=b"x" * (MOST + 1)), 413, "request_too_large"
    )
    assert_refused(Connection(server.figures).request("DELETE", "/metrics"), 405, "method_not_allowed")


def test_connections_to_the_figures() -> None:
    """They have a number of their own, so that a full main port does not hide them."""
    server = Server(connections=1)
    assert server.connect()
    assert server.site.buildProtocol(IPv4Address("TCP", "192.0.2.9", 1)) is None
    assert Connection(server.figures).request("GET", "/metrics").status == 200
