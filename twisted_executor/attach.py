"""The data plane: the engine's attach stream as a Twisted protocol.

docker-py's attach loses the bytes that come with the answer's headers and has no timeout; ours is an HTTP upgrade and
then frames, on the reactor, without a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IStreamClientEndpoint, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from twisted_executor.errors import EngineError, EngineUnreachable, NotFound, ProtocolError
from twisted_executor.frames import StreamFrames
from twisted_executor.transports import flush
from twisted_executor.wire import AgentDecoder, Event

MOST_HEADERS = 16384  # bytes of the engine's answer before the stream begins
AGENT_STREAM = 1  # the agent speaks on stdout; a byte on its stderr means that it is broken


class Attachment(Protocol):
    """The stream of one container.

    @ivar opened: fires when the engine has attached us, or errbacks with an L{EngineError}.
    """

    def __init__(
        self, container: str, api_version: str, received: Callable[[Event], None], closed: Callable[[str], None]
    ) -> None:
        """@param received: called with each event of the agent.

        @param closed: called once, with a reason, when an open stream has ended; no event comes after it.
        """
        self.opened: Deferred[None] = Deferred(lambda _: self._abort())
        self._request = (
            f"POST /v{api_version}/containers/{quote(container)}/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\n"
            "Host: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
        ).encode("ascii")
        self._received = received
        self._closed = closed
        self._head = bytearray()
        self._streaming = False
        self._reason: str | None = None
        self._frames = StreamFrames()
        self._decoder = AgentDecoder()

    @property
    def whole(self) -> bool:
        """Whether nothing has begun on the stream that has not ended."""
        return self._frames.whole and self._decoder.whole

    def connectionMade(self) -> None:
        """Ask the engine to attach us."""
        assert self.transport is not None
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self.transport.write(self._request)

    def send(self, data: bytes) -> None:
        """Write to the container's stdin, once it has opened; bytes for a stream that has ended are dropped."""
        assert self.transport is not None
        self.transport.write(data)
        flush(self.transport)

    def close(self) -> None:
        """End the stream; with StdinOnce the agent sees the end of its stdin and exits."""
        self._reason = self._reason or "The server closed the stream."
        self._abort()

    def dataReceived(self, data: bytes) -> None:
        """Headers first, then frames."""
        try:
            if self._streaming:
                self._stream(data)
            else:
                self._answer(data)
        except ProtocolError as error:
            self._reason = self._reason or str(error)
            self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell who waits or listens."""
        if not self._streaming:
            self._refuse(EngineUnreachable(f"The engine closed the attach stream: {reason.getErrorMessage()}"))
        else:
            self._closed(self._reason or "The container's stream ended.")

    def _stream(self, data: bytes) -> None:
        for stream, chunk in self._frames.feed(data):
            if stream != AGENT_STREAM:
                raise ProtocolError(f"The agent wrote to its stderr: {bytes(chunk)[:200]!r}")
            for event in self._decoder.feed(chunk):
                self._received(event)

    def _answer(self, data: bytes) -> None:
        self._head += data
        head, end, rest = bytes(self._head).partition(b"\r\n\r\n")
        if not end:
            if len(head) > MOST_HEADERS:
                raise ProtocolError("The engine's answer to attach has no end.")
            return
        status = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if len(status) < 2 or status[1] not in (b"101", b"200"):
            self._refuse(_refusal(status, rest))
            self._abort()
            return
        self._streaming = True
        self._head.clear()
        self.opened.callback(None)
        if rest:
            self._stream(rest)

    def _refuse(self, error: EngineError) -> None:
        if not self.opened.called:
            self.opened.errback(error)

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]


def _refusal(status: list[bytes], body: bytes) -> EngineError:
    line = b" ".join(status).decode("latin-1")
    sentence = f"The engine refused to attach: {line} {body[:300].decode('utf-8', 'replace').strip()}"
    return (NotFound if status[1:2] == [b"404"] else EngineError)(sentence)


async def attach(
    endpoint: IStreamClientEndpoint,
    container: str,
    api_version: str,
    received: Callable[[Event], None],
    closed: Callable[[str], None],
) -> Attachment:
    """Open the stream of a container that has not started yet; raises L{EngineError}."""
    protocol = Attachment(container, api_version, received, closed)
    try:
        factory = Factory.forProtocol(lambda: protocol)
        factory.noisy = False
        await endpoint.connect(factory)
    except CancelledError:
        raise
    except Exception as error:
        raise EngineUnreachable(f"The engine cannot be reached: {error}. Look whether it runs.") from error
    await protocol.opened
    return protocol
