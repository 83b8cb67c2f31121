"""Twisted's HTTP server, with limits: what it would accept, buffer or answer by itself and should not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IHalfCloseableDescriptor, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, datetimeToString
from twisted.web.resource import IResource
from twisted.web.server import Site

from twisted_executor.boundaries import GONE, Answered
from twisted_executor.errors import ExecutorError, InvalidRequest
from twisted_executor.gate import Gate
from twisted_executor.incoming import PHRASES, GuardedRequest
from twisted_executor.transports import flush

HEAD_LIMIT = 10.0  # seconds from a request's first byte to the end of its headers
BODY_LIMIT = 20.0  # seconds for its body, and one more for each
SLOWEST = 64 << 10  # bytes
IDLE_LIMIT = 30.0  # seconds for which a connection may rest between requests, or an answer wait to be read
GOODBYE = 2.0  # seconds for which the rest of a refused body is read and dropped, so that the answer arrives


@dataclass(frozen=True, slots=True)
class SiteLimits:
    """@ivar body: bytes of one.  @ivar arriving: bytes of all bodies that are not complete.

    @ivar connections: how many there may be; one address gets half of them.
    """

    body: int
    arriving: int
    connections: int


class GuardedChannel(HTTPChannel):
    """One connection."""

    requestFactory = GuardedRequest
    site: GuardedSite
    peer = ""
    _discarding = False
    _deadline: IDelayedCall | None = None
    _awaits: str | None = None
    _arrived = 0  # bytes of a body that is not complete
    _unread = 0  # bytes of answers for which the client's buffers have no room
    _full = False

    def dataReceived(self, data: bytes) -> None:
        """As usual, with a deadline for a request of which only a part has come."""
        if self._discarding:
            return
        super().dataReceived(data)
        awaits = self._awaited()
        if self._discarding or awaits == self._awaits:
            return
        self._stop_deadline(awaits)
        if awaits is not None:
            size = self.site.most if self.length is None else self.length
            limit = HEAD_LIMIT if self.line_mode else BODY_LIMIT + size / SLOWEST
            self._set_deadline(limit, self._too_slow, limit)

    def _awaited(self) -> str | None:
        if self._handlingRequest or not (self.requests or self._buffer):
            return None
        return "headers" if self.line_mode else "body"

    def lineReceived(self, line: bytes) -> None:
        """Nothing of a refused request is looked at."""
        if not self._discarding:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        """Nothing of a refused request is looked at."""
        if not self._discarding:
            super().rawDataReceived(data)

    def headerReceived(self, line: bytes) -> bool:
        """A length of thousands of digits is a ValueError in Twisted."""
        try:
            accepted: bool = super().headerReceived(line)
        except ValueError:
            self._respondToBadRequestAndDisconnect()
            return False
        return accepted

    def lineLengthExceeded(self, line: bytes) -> None:
        """Twisted would close without a word."""
        self._respondToBadRequestAndDisconnect()

    def allHeadersReceived(self) -> None:
        """Ask the gate before anything of the body is read, or asked for."""
        if self._discarding:
            return
        request = self.requests[-1]
        request.arrived(self._command, self._path, self.site.reactor.seconds())
        try:
            request.key = self.site.gate.admit(self._command, self._path, request.requestHeaders, self.length)
        except ExecutorError as error:
            if self.length != 0:
                self.refuse(request, error)
                return
            request.refusal = error
        super().allHeadersReceived()

    def arrived(self, size: int) -> None:
        """So many bytes of a body came; 0 or below: they are the request's now, or dropped."""
        self._arrived += size
        self.site.arriving += size

    def unread(self, size: int) -> None:
        """So many bytes wait in the transport, where it is full; 0 or below: no longer."""
        if self._full or size < 0:
            self._unread += size
            self.site.unread += size

    def pauseProducing(self) -> None:
        """The transport is full: the client does not read as fast as we write."""
        self._full = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """The transport is empty."""
        self._full = False
        self.unread(-self._unread)
        super().resumeProducing()

    def allContentReceived(self) -> None:
        """Nothing of a refused request is looked at; one that is complete has no deadline any more."""
        if not self._discarding:
            self._stop_deadline()
            self.arrived(-self._arrived)
            super().allContentReceived()

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Any) -> None:
        """In one piece; Twisted writes forty."""
        lines = [b"%s: %s" % (name, value) for name, values in headers.getAllRawHeaders() for value in values]
        self.write(b"\r\n".join([b"%s %s %s" % (version, code, reason), *lines, b"", b""]))

    def refuse(self, request: GuardedRequest | None, error: ExecutorError) -> None:
        """Answer at once and close, dropping what still comes.

        Closing with unread bytes resets the connection, and the client may never see the answer.
        """
        if self._discarding:
            return
        if request is None and self.requests and not self._handlingRequest:
            request = self.requests[-1]  # of which a part has come
        self._discarding = True
        self.arrived(-self._arrived)
        self.setTimeout(None)
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.write(self.site.refusal(request, error, self.peer))
        # TLS knows no half-closed connection.
        half = IHalfCloseableDescriptor.providedBy(transport)
        close: Callable[[], None] = getattr(transport, "loseWriteConnection" if half else "loseConnection")
        close()
        self._set_deadline(GOODBYE, transport.abortConnection)

    def requestDone(self, request: Any) -> None:
        """The answer is complete, and goes before anything else is looked at."""
        super().requestDone(request)
        flush(self.transport)

    def loseConnection(self) -> None:
        """Close when all is written, or soon: Twisted waits for ever for a client that does not read."""
        super().loseConnection()
        self._set_deadline(IDLE_LIMIT, self.forceAbortClient)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give the place back."""
        self._stop_deadline()
        self.arrived(-self._arrived)
        self.unread(-self._unread)
        self.site.forget(self)
        super().connectionLost(reason)

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(None, InvalidRequest("This is not an HTTP request that the server understands."))

    def _too_slow(self, limit: float) -> None:
        self.refuse(None, InvalidRequest(f"The request's {self._awaits} did not arrive within {limit:.0f} seconds."))

    def _set_deadline(self, seconds: float, late: Callable[..., object], *args: object) -> None:
        self._stop_deadline(self._awaits)
        self._deadline = self.callLater(seconds, late, *args)

    def _stop_deadline(self, awaits: str | None = None) -> None:
        self._awaits = awaits
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()


class GuardedSite(Site):
    """All connections."""

    noisy = False

    def __init__(
        self,
        resource: IResource,
        gate: Gate,
        limits: SiteLimits,
        refused: Callable[[GuardedRequest | None, ExecutorError], tuple[int, list[tuple[bytes, bytes]], bytes]],
        answered: Callable[[Answered], object],
        reactor: IReactorTime,
    ) -> None:
        """@param refused: from a request and an error to the answer's status, headers and body.

        @param answered: told of every request that has had its answer, or whose client has gone.
        """
        super().__init__(resource, GuardedRequest, parsePOSTFormSubmission=False, timeout=IDLE_LIMIT, reactor=reactor)
        self.gate = gate
        self.most = limits.body
        self.most_arriving = limits.arriving
        self.arriving = 0
        self.unread = 0
        self._most_connections = limits.connections
        self._refused = refused
        self._answered = answered
        self._connections: Counter[str] = Counter()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Another connection, or None where there are too many: it is closed."""
        peer = str(getattr(addr, "host", ""))
        most = self._most_connections
        if self._connections.total() >= most or (peer and self._connections[peer] >= max(1, most // 2)):
            return None
        channel = GuardedChannel()
        channel.factory = channel.site = self
        channel.callLater = self.reactor.callLater  # type: ignore[method-assign, assignment]
        channel.timeOut = IDLE_LIMIT  # type: ignore[assignment]
        channel.peer = peer
        self._connections[peer] += 1
        return channel

    @property
    def open_connections(self) -> int:
        """How many there are."""
        return self._connections.total()

    def forget(self, channel: GuardedChannel) -> None:
        """A connection has ended."""
        self._connections[channel.peer] -= 1
        if self._connections[channel.peer] <= 0:
            del self._connections[channel.peer]

    def log(self, request: GuardedRequest) -> None:  # type: ignore[override]
        """Twisted's word for: it has had its answer."""
        self._answered(request.answered(request.code, self.reactor.seconds()))

    def left(self, request: GuardedRequest) -> None:
        """Its client has gone without the answer."""
        self._answered(request.answered(GONE, self.reactor.seconds()))

    def refused(
        self, request: GuardedRequest | None, error: ExecutorError
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body of the answer to what is not let in."""
        status, headers, body = self._refused(request, error)
        return status, [(b"Date", datetimeToString()), *headers, (b"Content-Length", b"%d" % len(body))], body

    def refusal(self, request: GuardedRequest | None, error: ExecutorError, peer: str) -> bytes:
        """The same as bytes, for a connection that is closed after it; with it the request is answered."""
        status, headers, body = self.refused(request, error)
        if request is None:
            self._answered(Answered(status=status, error=error, peer=peer))
        else:
            request.refusal = error
            self._answered(request.answered(status, self.reactor.seconds()))
        lines = [b"HTTP/1.1 %d %s" % (status, PHRASES[status])]
        lines += [name + b": " + value for name, value in headers]
        return b"\r\n".join([*lines, b"Connection: close", b"", body])
