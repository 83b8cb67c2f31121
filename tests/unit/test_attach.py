"""The attach stream over transports in memory."""

from __future__ import annotations

import struct
from itertools import accumulate
from typing import Any

import pytest
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from twisted_executor.attach import Attachment, attach
from twisted_executor.errors import EngineError, EngineUnreachable, NotFound
from twisted_executor.wire import PONG, Event, Pong

SWITCHED = b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\n\r\n"
PONG_FRAME = struct.pack(">B3xIQ", PONG, 0, 0)


def mux(stream: int, data: bytes) -> bytes:
    """One frame of the engine's stream."""
    return struct.pack(">B3xI", stream, len(data)) + data


class Endpoint:
    """Connects at once, or refuses."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.transport = StringTransport(peerAddress=UNIXAddress(None))
        self.protocol: Any = None

    def connect(self, factory: Any) -> Deferred[Any]:
        connecting: Deferred[Any] = Deferred()
        if self.error is not None:
            connecting.errback(self.error)
        else:
            self.protocol = factory.buildProtocol(None)
            self.protocol.makeConnection(self.transport)
            connecting.callback(self.protocol)
        return connecting

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


class Client:
    """What the stream told."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.events: list[Event] = []
        self.reasons: list[str] = []
        self.found: list[Any] = []
        self.attaching = Deferred.fromCoroutine(
            attach(endpoint, "abc", "1.41", self.events.append, self.reasons.append)  # type: ignore[arg-type]
        )
        self.attaching.addBoth(self.found.append)

    def answer(self, data: bytes) -> None:
        self.endpoint.protocol.dataReceived(data)


def test_request() -> None:
    """It asks for all three streams of the container and an upgrade, and waits for the answer."""
    client = Client(Endpoint())
    head = client.endpoint.transport.value()
    assert head.startswith(b"POST /v1.41/containers/abc/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\n")
    assert b"\r\nUpgrade: tcp\r\n" in head
    assert head.endswith(b"\r\n\r\n")
    assert not client.found


def test_split_everywhere() -> None:
    """However the bytes arrive, frames that come with the headers included, all events come."""
    stream = SWITCHED + mux(1, PONG_FRAME[:5]) + mux(1, PONG_FRAME[5:] + PONG_FRAME) + mux(1, b"") + mux(1, PONG_FRAME)
    for cut in range(1, len(stream)):
        client = Client(Endpoint())
        client.answer(stream[:cut])
        client.answer(stream[cut:])
        assert client.events == [Pong()] * 3
        assert isinstance(client.found[0], Attachment)
    client = Client(Endpoint())
    for byte in stream:
        client.answer(bytes([byte]))
    assert client.events == [Pong()] * 3


def test_whole() -> None:
    """Known at each byte: whether a frame, of the engine's or of the agent's in it, has begun and not ended."""
    pieces = [mux(1, PONG_FRAME[:5]), mux(1, PONG_FRAME[5:] + PONG_FRAME), mux(1, b""), mux(1, PONG_FRAME)]
    client = Client(Endpoint())
    client.answer(SWITCHED)
    (attachment,) = client.found
    assert isinstance(attachment, Attachment)
    whole = []
    for number, byte in enumerate(b"".join(pieces), 1):
        client.answer(bytes([byte]))
        if attachment.whole:
            whole.append(number)
    assert whole == list(accumulate(map(len, pieces)))[1:]


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b'HTTP/1.1 404 Not Found\r\n\r\n{"message":"No such container: abc"}', NotFound),
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\nout of order", EngineError),
        (b"garbage\r\n\r\n", EngineError),
    ],
)
def test_refused(head: bytes, kind: type[EngineError]) -> None:
    """An answer that is no upgrade is an error with the engine's words."""
    client = Client(Endpoint())
    client.answer(head)
    assert type(client.found[0].value) is kind
    assert client.endpoint.transport.disconnecting or client.endpoint.transport.disconnected
    client.endpoint.lose()
    assert not client.reasons


def test_endless_head() -> None:
    """Headers without an end are given up."""
    client = Client(Endpoint())
    client.answer(b"HTTP/1.1 101 x\r\n" + b"a: b\r\n" * 5000)
    client.endpoint.lose()
    assert isinstance(client.found[0].value, EngineError)


def test_lost_before_the_answer() -> None:
    """A connection that ends before the answer is an engine that cannot be reached."""
    client = Client(Endpoint())
    client.endpoint.lose()
    assert isinstance(client.found[0].value, EngineUnreachable)


def test_no_engine() -> None:
    """A refused connection is an engine that cannot be reached."""
    assert isinstance(Client(Endpoint(ConnectionRefusedError())).found[0].value, EngineUnreachable)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (mux(2, b"agent: out of order"), "stderr"),
        (mux(3, b"error from daemon in stream"), "error from daemon"),
        (b"\x07" + bytes(7), "frame"),
        (mux(1, b"\xff" * 16), "frame"),
        (b"\x01\0\0\0\xff\xff\xff\xff" + b"\xff" * 16, "frame"),
    ],
)
def test_broken_stream(data: bytes, word: str) -> None:
    """What is not the agent's protocol ends the stream, with a reason; no event comes after it."""
    client = Client(Endpoint())
    client.answer(SWITCHED)
    client.answer(data)
    assert client.endpoint.transport.disconnecting or client.endpoint.transport.disconnected
    client.endpoint.lose()
    assert len(client.reasons) == 1
    assert word in client.reasons[0]
    assert not client.events


def test_end() -> None:
    """The end of the stream is told once."""
    client = Client(Endpoint())
    client.answer(SWITCHED)
    client.endpoint.lose()
    assert len(client.reasons) == 1


def test_send() -> None:
    """What is sent is written as it is."""
    client = Client(Endpoint())
    client.answer(SWITCHED)
    client.endpoint.transport.clear()
    client.found[0].send(b"frame")
    assert client.endpoint.transport.value() == b"frame"
