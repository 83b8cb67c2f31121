"""The guarded channel: bytes of all kinds, deadlines, connections."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, LogLevel, globalLogPublisher

from tests.unit.web_client import MOST, Server
from twisted_executor.guard import BODY_LIMIT, GOODBYE, HEAD_LIMIT, IDLE_LIMIT, SLOWEST
from twisted_executor.testing import HELLO

RAW = json.dumps({"script": "echo hi"}).encode()
HEAD = b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(RAW) + RAW
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n7\r\n" + RAW[:7] + b"\r\n%x\r\n" % len(RAW[7:]) + RAW[7:] + b"\r\n"
CHUNKED += b"0\r\n\r\n"
GET = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(autouse=True)
def no_trouble() -> Iterator[None]:
    """Nothing that a client sends is logged as an error."""
    events: list[LogEvent] = []

    def observe(event: LogEvent) -> None:
        if event["log_level"] >= LogLevel.warn:
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield
    globalLogPublisher.removeObserver(observe)
    assert events == []


def statuses(server: Server, *parts: bytes) -> list[int]:
    """Send the parts; the answers that came back."""
    connection = server.connect()
    for part in parts:
        connection.send(part)
    return [answer.status for answer in connection.answers()]


@pytest.mark.parametrize("data", [WHOLE, CHUNKED, GET + WHOLE + CHUNKED], ids=["whole", "chunked", "pipelined"])
def test_every_split(data: bytes) -> None:
    """Where the network cuts a request makes no difference."""
    server = Server(HELLO)
    expected = statuses(server, data)
    assert set(expected) == {200}
    for cut in range(len(data)):
        assert statuses(server, data[:cut], data[cut:]) == expected
    assert statuses(server, *(data[i : i + 1] for i in range(len(data)))) == expected


def test_pipelined_requests_wait() -> None:
    """The second request of a connection starts when the first is answered, and the answers keep their order."""
    server = Server()
    connection = server.connect()
    connection.send(WHOLE + GET + WHOLE)
    assert len(server.executor.waiting) == 1
    assert connection.answers() == []
    server.executor.finish()
    assert [answer.status for answer in connection.answers()] == [200, 200]
    assert len(server.executor.waiting) == 1


FRAGMENTS = (
    WHOLE, CHUNKED, GET, HEAD, RAW, b"\r\n", b"\r\n\r\n", b"\n", b" ", b":", b"GET ", b"POST /execute HTTP/1.1\r\n",
    b"Host: localhost\r\n", b"Host: \xff\r\n", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n",
    b"Content-Length: " + b"9" * 5000 + b"\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n",
    b"5\r\nhello\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n",
    b"X-Request-ID: \xff\r\n", b"Origin: \xfe\r\n", b"Accept: \xfd\r\n", b"Cookie: a=\xff;=;\r\n",
    b"Sec-Fetch-Site: \xff\r\n", b"Authorization: \xff\r\n", b"GET /metrics HTTP/1.1\r\n",
    b"GET /%ff?a=%ff&b HTTP/1.1\r\n", b"* * *\r\n", b"HEAD /health HTTP/1.0\r\n", b"x" * 20000, b"\0",
    b"a: b\r\n" * 600, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01",
)  # fmt: skip


@given(st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=40)), max_size=12))
def test_any_bytes(parts: list[bytes]) -> None:
    """Whatever arrives, what goes back is answers below 500, and nothing is left over when the client goes."""
    server = Server(HELLO)
    connection = server.connect()
    for part in parts:
        connection.send(part)
    heads = 100 if any(b"HEAD" in part for part in parts) else 0
    if not heads:
        assert all(answer.status < 500 for answer in connection.answers())
    assert b"HTTP/1.1 5" not in connection.transport.value()
    assert b"text/html" not in connection.transport.value()
    connection.leave()
    assert server.clock.getDelayedCalls() == []
    assert server.site.open_connections == 0


@pytest.mark.parametrize(
    "data",
    [
        b"rubbish\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"G\xffT / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        GET[:-2] + b"no colon\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        HEAD + b"Content-Length: " + b"1" * 5000 + b"\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET /" + b"x" * 20000,
        b"GET / HTTP/1.1\r\nA: " + b"x" * 17000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 501 + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n",
    ],
)
def test_malformed(data: bytes) -> None:
    """What is no HTTP gets one answer, in JSON, and a closed connection."""
    connection = Server().connect()
    connection.send(data)
    (answer,) = connection.answers()
    assert answer.status == 400
    assert answer.json["code"] == "invalid_request"
    assert answer.headers["connection"] == "close"
    assert connection.closed


def test_declared_too_large() -> None:
    """A body that is announced as too large is refused before any of it is asked for."""
    connection = Server(HELLO).connect()
    connection.send(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (MOST + 1))
    (answer,) = connection.answers()
    assert (answer.status, answer.json["code"]) == (413, "request_too_large")
    assert str(MOST) in answer.json["error"]
    assert b"100 Continue" not in connection.transport.value()


@pytest.mark.parametrize("step", [1, 300, 5000])
def test_chunks_too_large(step: int) -> None:
    """A body in chunks is counted, and a script that was cut off is never run."""
    server = Server()
    piece = b'{"script":"%s' % (b"a" * (MOST // 2))
    data = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    data += (b"%x\r\n" % len(piece) + piece + b"\r\n") * 2 + b'2\r\n"}\r\n0\r\n\r\n'
    connection = server.connect()
    for start in range(0, len(data), step):
        connection.protocol.dataReceived(data[start : start + step])
    (answer,) = connection.answers()
    assert answer.status == 413
    assert server.executor.waiting == []


def test_largest_body() -> None:
    """A body of exactly the limit is fine, announced or in chunks."""
    raw = RAW.ljust(MOST)
    server = Server(HELLO)
    assert statuses(server, HEAD + b"Content-Length: %d\r\n\r\n" % MOST + raw) == [200]
    assert statuses(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % MOST + raw + b"\r\n0\r\n\r\n") == [200]


def test_refused_body_is_dropped_for_a_while() -> None:
    """After a refusal what still comes is dropped unread, so that the answer arrives; then the connection is cut."""
    server = Server(HELLO)
    connection = server.connect()
    connection.send(HEAD + b"Content-Length: 5000\r\n\r\n")
    connection.protocol.dataReceived(WHOLE * 20)
    assert [answer.status for answer in connection.answers()] == [413]
    server.clock.advance(GOODBYE - 0.1)
    assert not connection.transport.disconnected
    server.clock.advance(0.2)
    assert connection.transport.disconnected


@pytest.mark.parametrize("begun", [b"G", GET[:-2], HEAD])
def test_slow_headers(begun: bytes) -> None:
    """Headers have a deadline that more bytes do not move."""
    server = Server()
    connection = server.connect()
    connection.send(begun)
    for _ in range(9):
        server.clock.advance(HEAD_LIMIT / 10)
        connection.send(b"A")
    assert not connection.closed
    server.clock.advance(HEAD_LIMIT / 10)
    (answer,) = connection.answers()
    assert answer.json["error"] == "The request's headers did not arrive within 10 seconds."
    assert connection.closed


@pytest.mark.parametrize(
    ("more", "limit"),
    [
        (b"Content-Length: 1000\r\n\r\n", BODY_LIMIT + 1000 / SLOWEST),
        (b"Transfer-Encoding: chunked\r\n\r\n500\r\n", BODY_LIMIT + MOST / SLOWEST),
    ],
)
def test_slow_body(more: bytes, limit: float) -> None:
    """A body has a deadline by its size that more bytes do not move."""
    server = Server()
    connection = server.connect()
    connection.send(HEAD)
    server.clock.advance(HEAD_LIMIT - 1)
    connection.send(more)
    for _ in range(9):
        server.clock.advance(limit / 10)
        connection.send(b"A")
    assert not connection.closed
    server.clock.advance(limit / 10 + 0.001)
    (answer,) = connection.answers()
    assert answer.status == 400
    assert "body did not arrive" in answer.json["error"]


def test_no_deadline_for_the_run() -> None:
    """While a script runs no deadline of the connection goes on."""
    server = Server()
    connection = server.connect()
    connection.send(WHOLE)
    server.clock.pump([10] * 30)
    server.executor.finish()
    assert [answer.status for answer in connection.answers()] == [200]
    assert not connection.closed


def test_deadline_of_each_request() -> None:
    """A request that follows another has the whole time for itself."""
    server = Server(HELLO)
    connection = server.connect()
    for _ in range(5):
        connection.send(WHOLE[:5])
        server.clock.advance(HEAD_LIMIT - 1)
        connection.send(WHOLE[5:] + b"\r\n")
        server.clock.advance(IDLE_LIMIT - 1)
    connection.send(GET + GET[:5])
    server.clock.advance(HEAD_LIMIT - 1)
    connection.send(GET[5:] + GET[:5])
    server.clock.advance(HEAD_LIMIT - 1)
    connection.send(GET[5:])
    assert [answer.status for answer in connection.answers()] == [200] * 8


@pytest.mark.parametrize("data", [b"", GET, b"\r\n"])
def test_idle(data: bytes) -> None:
    """A connection that rests is closed, and cut when that does not help."""
    server = Server()
    connection = server.connect()
    connection.send(data)
    server.clock.advance(IDLE_LIMIT - 1)
    assert not connection.closed
    server.clock.advance(1.1)
    assert connection.transport.disconnecting
    server.clock.advance(IDLE_LIMIT)
    assert connection.transport.disconnected
    connection.leave()
    assert server.clock.getDelayedCalls() == []


def test_answer_that_nobody_reads() -> None:
    """A client that asked for the connection to be closed and does not read its answer is cut."""
    server = Server(HELLO)
    connection = server.connect()
    connection.send(WHOLE.replace(b"Host", b"Connection: close\r\nHost"))
    assert connection.transport.disconnecting
    server.clock.advance(IDLE_LIMIT + 0.1)
    assert connection.transport.disconnected


def test_most_connections() -> None:
    """One address cannot take all connections, and all together have a limit; places come back."""
    server = Server(connections=4)
    first = server.connect("192.0.2.1")
    server.connect("192.0.2.1")
    with pytest.raises(AttributeError):
        server.connect("192.0.2.1")
    server.connect("192.0.2.2")
    server.connect("192.0.2.3")
    with pytest.raises(AttributeError):
        server.connect("192.0.2.4")
    first.leave()
    assert server.connect("192.0.2.1").request("GET", "/health").status == 200


def test_bodies_on_their_way() -> None:
    """All bodies that are not complete share a room; it comes back when they are complete, or their clients go."""
    server = Server(HELLO, waiting=1000)
    one, two, three = (server.connect() for _ in range(3))
    for connection in (one, two):
        connection.send(HEAD + b"Content-Length: 600\r\n\r\n" + b" " * 450)
    three.send(HEAD + b"Content-Length: 600\r\n\r\n" + b" " * 150)
    assert [answer.status for answer in three.answers()] == [503]
    assert three.closed
    assert server.site.arriving == 900
    one.leave()
    assert server.site.arriving == 450
    two.send(b" " * 150)
    assert server.site.arriving == 0
    assert [answer.status for answer in two.answers()] == [400]


@pytest.mark.parametrize("how", ["answered", "gone"])
def test_nothing_is_held(how: str) -> None:
    """A request that is over holds no connection, nor what its client has not read: it may be garbage for long."""
    server = Server()
    connection = server.connect()
    connection.send(WHOLE)
    (request,) = connection.protocol.requests
    if how == "answered":
        server.executor.finish()
    connection.leave()
    assert request.transport is None


class FullTransport(StringTransport):
    """That of a client which reads nothing."""

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.producer is not None:
            self.producer.pauseProducing()


def test_answers_that_are_not_read() -> None:
    """While they hold too much no script is let in; it is again when they are read, or their clients go."""
    server = Server(HELLO, waiting=600)
    slow, gone = server.connect(), server.connect()
    for connection in (slow, gone):
        connection.transport = connection.protocol.transport = FullTransport()
        connection.transport.registerProducer(connection.protocol, streaming=True)
        connection.send(WHOLE)
    assert server.site.unread > 600
    assert server.request("GET", "/health").status == 200
    assert server.execute({"script": "id"}).status == 503
    gone.leave()
    slow.transport.producer.resumeProducing()
    assert server.site.unread == 0
    assert server.execute({"script": "id"}).status == 200


def test_body_is_not_on_disk() -> None:
    """A large body does not become a temporary file: the server's own file system may be read-only."""
    server = Server()
    connection = server.connect()
    connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na")
    content = connection.protocol.requests[0].content
    assert type(content).__name__ == "BytesIO"
