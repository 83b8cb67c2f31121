"""A request of Twisted's, with limits."""

from __future__ import annotations

from http import HTTPStatus
from io import BytesIO
from typing import Any

from twisted.python.failure import Failure
from twisted.web.server import Request

from twisted_executor.boundaries import Answered, Execution
from twisted_executor.errors import ExecutorError, Overloaded
from twisted_executor.gate import too_large, traceparent

# The words that belong to a status; Twisted has none for 422 and 429.
PHRASES = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


class GuardedRequest(Request):
    """A request whose body stays in memory and below a limit.

    @ivar key: the name of the API key, "" without keys.
    @ivar refusal: why it is not let in, or why there is nothing else to be answered.
    @ivar execution: of the script that came to an end for it.
    @ivar id: by which the client and we know it, None until it has been asked for.
    """

    channel: Any
    id: str | None = None
    key = ""
    refusal: ExecutorError | None = None
    execution: Execution | None = None
    _head: tuple[bytes, bytes] | None = None
    _peer = ""
    _began: float | None = None

    @property
    def gone(self) -> bool:
        """The client has closed the connection."""
        return self._disconnected

    def arrived(self, method: bytes, target: bytes, now: float) -> None:
        """Its headers are there.  @param now: seconds on the clock that L{answered} is asked with."""
        self._head = (method, target.partition(b"?")[0])
        self._peer = self.channel.peer
        self._began = now

    def answered(self, status: int, now: float) -> Answered:
        """The request and its answer in short.  With it the request lets go of them, as it may live on for long."""
        head, self._head = self._head or (b"", b""), None
        execution, self.execution = self.execution, None
        refusal, self.refusal = self.refusal, None
        method, path = (part.decode("latin-1") for part in head)
        return Answered(
            status=status,
            method=method,
            path=path,
            seconds=0.0 if self._began is None else now - self._began,
            peer=self._peer or getattr(self.channel, "peer", ""),
            request_id=self.id or "",
            traceparent=traceparent(self.requestHeaders),
            key=self.key,
            execution=execution,
            error=refusal,
        )

    def gotLength(self, length: int | None) -> None:
        """Never a temporary file, which Twisted takes for a large body."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep it, unless the body becomes too large."""
        assert self.content is not None
        site = self.channel.site
        if self.content.tell() + len(data) > site.most:
            self.channel.refuse(self, too_large(site.most))
        elif site.arriving + len(data) > site.most_arriving:
            self.channel.refuse(self, Overloaded(f"Requests on their way hold {site.arriving} bytes already."))
        else:
            self.channel.arrived(len(data))
            self.content.write(data)

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        """Set the status, with its words."""
        super().setResponseCode(code, message or PHRASES[code])

    def getRequestHostname(self) -> bytes:
        """Always the same: Klein wants one for redirects, which we have none of, and fails on odd ones."""
        return b"localhost"

    def write(self, data: bytes) -> None:
        """Remember what the client has not read."""
        super().write(data)
        if not self._disconnected:
            self.channel.unread(len(data))

    def finish(self) -> None:
        """End the answer."""
        super().finish()
        self._let_go()

    def connectionLost(self, reason: Failure) -> None:
        """The client has gone."""
        site = self.channel.site
        super().connectionLost(reason)
        self._let_go()
        if self._head is not None:
            site.left(self)

    def _let_go(self) -> None:
        """Klein leaves each request to the garbage collector; what a client has not read need not wait for that."""
        self.transport = None

    def process(self) -> None:
        """Hand it to the resource, unless it is not let in."""
        if self.refusal is None:
            super().process()
            return
        status, headers, body = self.channel.site.refused(self, self.refusal)
        self.setResponseCode(status)
        for name, value in headers:
            self.setHeader(name, value)
        self.write(body)
        self.finish()
