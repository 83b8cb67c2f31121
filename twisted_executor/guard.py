"""Twisted's HTTP server, with limits: what it would accept, buffer or answer by itself and should not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from io import BytesIO
from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES, HTTPChannel, datetimeToString
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from twisted_executor.errors import ExecutorError, InvalidRequest
from twisted_executor.gate import Gate, too_large

REQUEST_LIMIT = 30.0  # seconds from a request's first byte to its last
IDLE_LIMIT = 30.0  # seconds for which a connection may rest between requests
GOODBYE = 2.0  # seconds for which the rest of a refused body is read and dropped, so that the answer arrives
MOST_CONNECTIONS = 1000
MOST_FROM_ONE = 500  # of one address


class GuardedRequest(Request):
    """A request whose body stays in memory and below a limit.

    @ivar key: the name of the API key, "" without keys.
    @ivar refusal: why it is not let in, None when it is.
    @ivar id: by which the client and we know it, None until it has been asked for.
    """

    channel: GuardedChannel
    id: str | None = None
    key = ""
    refusal: ExecutorError | None = None

    def gotLength(self, length: int | None) -> None:
        """Never a temporary file, which Twisted takes for a large body."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep it, unless the body becomes too large."""
        assert self.content is not None
        most = self.channel.site.most
        if self.content.tell() + len(data) > most:
            self.channel.refuse(self, too_large(most))
        else:
            self.content.write(data)


class GuardedChannel(HTTPChannel):
    """One connection."""

    requestFactory = GuardedRequest
    site: GuardedSite
    _discarding = False
    _deadline: IDelayedCall | None = None
    peer = ""

    def dataReceived(self, data: bytes) -> None:
        """As usual, with a deadline for a request of which only a part has come."""
        if self._discarding:
            return
        super().dataReceived(data)
        partial = not self._discarding and not self._handlingRequest and bool(self.requests or self._buffer)
        if partial and self._deadline is None:
            self._deadline = self.callLater(REQUEST_LIMIT, self._too_slow)
        elif not partial:
            self._stop_deadline()

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
        try:
            request.key = self.site.gate.admit(self._command, self._path, request.requestHeaders, self.length)
        except ExecutorError as error:
            if self.length != 0:
                self.refuse(request, error)
                return
            request.refusal = error
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """Nothing of a refused request is looked at."""
        if not self._discarding:
            super().allContentReceived()

    def refuse(self, request: GuardedRequest | None, error: ExecutorError) -> None:
        """Answer at once and close, dropping what still comes.

        Closing with unread bytes resets the connection, and the client may never see the answer.
        """
        if self._discarding:
            return
        self._discarding = True
        self._stop_deadline()
        self.setTimeout(None)
        transport: Any = self.transport
        transport.write(self.site.refusal(request, error))
        transport.loseWriteConnection()
        self._deadline = self.callLater(GOODBYE, transport.abortConnection)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give the place back."""
        self._stop_deadline()
        self.site.forget(self)
        super().connectionLost(reason)

    def _respondToBadRequestAndDisconnect(self) -> None:
        self.refuse(None, InvalidRequest("This is not an HTTP request that the server understands."))

    def _too_slow(self) -> None:
        self._deadline = None
        self.refuse(None, InvalidRequest(f"The request did not arrive within {REQUEST_LIMIT:g} seconds."))

    def _stop_deadline(self) -> None:
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
        most: int,
        refused: Callable[[GuardedRequest | None, ExecutorError], tuple[int, list[tuple[bytes, bytes]], bytes]],
        reactor: IReactorTime,
    ) -> None:
        """@param most: bytes of a body.

        @param refused: from a request and an error to the answer's status, headers and body.
        """
        super().__init__(resource, GuardedRequest, parsePOSTFormSubmission=False, timeout=IDLE_LIMIT, reactor=reactor)
        self.gate = gate
        self.most = most
        self._refused = refused
        self._connections: Counter[str] = Counter()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Another connection, or None where there are too many: it is closed."""
        peer = str(getattr(addr, "host", ""))
        if self._connections.total() >= MOST_CONNECTIONS or (peer and self._connections[peer] >= MOST_FROM_ONE):
            return None
        channel = GuardedChannel()
        channel.factory = channel.site = self
        channel.callLater = self.reactor.callLater  # type: ignore[method-assign, assignment]
        channel.timeOut = IDLE_LIMIT  # type: ignore[assignment]
        channel.peer = peer
        self._connections[peer] += 1
        return channel

    def forget(self, channel: GuardedChannel) -> None:
        """A connection has ended."""
        self._connections[channel.peer] -= 1
        if self._connections[channel.peer] <= 0:
            del self._connections[channel.peer]

    def log(self, request: Any) -> None:
        """No access log: metrics count requests, and a line for each would cost more than the run's own."""

    def refusal(self, request: GuardedRequest | None, error: ExecutorError) -> bytes:
        """A whole HTTP answer for a connection that is closed after it."""
        status, headers, body = self._refused(request, error)
        lines = [b"HTTP/1.1 %d %s" % (status, RESPONSES.get(status, b"Refused")), b"Date: " + datetimeToString()]
        lines += [name + b": " + value for name, value in headers]
        lines += [b"Content-Length: %d" % len(body), b"Connection: close", b"", body]
        return b"\r\n".join(lines)
