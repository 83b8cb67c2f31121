"""What brings waiting messages to a syslog server, without ever blocking, and again after each trouble."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from socket import socket
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IPullProducer, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_executor.logs.backlog import Backlog
from twisted_executor.logs.rfc5424 import framed
from twisted_executor.services import Backoff, cancelled

FLUSH_LIMIT = 1.0  # seconds that a stop waits for what is still to be sent
STEADY = 10.0  # seconds without trouble after which it is over
_BATCH = 64  # messages at a time
_FULL = (errno.EAGAIN, errno.ENOBUFS)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05  # seconds until a full socket is tried again, doubled each time


class Carrier(Service):
    """What both kinds have in common.  It logs of itself only when a trouble begins, and when it is over."""

    log = Logger()

    def __init__(self, backlog: Backlog, clock: IReactorTime, random: Callable[[], float]) -> None:
        """@param random: numbers in [0, 1)."""
        self.setName("syslog")
        self._backlog = backlog
        self._clock = clock
        self._backoff = Backoff(clock, random, self._open)
        self._opening: Deferred[Any] | None = None
        self._steady: IDelayedCall | None = None
        self._trouble = False
        self._moved: float | None = None  # when something was taken, or came to wait; None: nothing waits
        self._empty: Deferred[None] | None = None

    def startService(self) -> None:
        """Connect."""
        super().startService()
        self._open()

    def stopService(self) -> Deferred[None]:
        """Fires when all is sent, or after FLUSH_LIMIT."""
        return Deferred.fromCoroutine(self._finish())

    def wake(self) -> None:
        """There is something to send."""
        if not len(self._backlog):
            self._moved = None
        elif self._moved is None:
            self._moved = self._clock.seconds()
        elif self._is_stuck() and self._steady is None:
            self._in_trouble(f"it has taken nothing for {STEADY:g} seconds")
        self._send()

    def _is_stuck(self) -> bool:
        return self._moved is not None and self._clock.seconds() - self._moved >= STEADY

    def _send(self) -> None:
        raise NotImplementedError

    async def _finish(self) -> None:
        if len(self._backlog):
            self._empty = Deferred()
            with suppress(TimeoutError):
                await self._empty.addTimeout(FLUSH_LIMIT, self._clock)
        super().stopService()
        self._backoff.stop()
        self._unsteady()
        opening, self._opening = self._opening, None
        await cancelled(opening)
        self._close()

    def _open(self) -> None:
        """Try to connect; ends in `_opened` or `_failed`."""
        self._opening = Deferred.fromCoroutine(self._connect())
        self._opening.addCallbacks(self._opened, self._not_opened)

    def _opened(self, _: object) -> None:
        self._opening = None
        self._steady = self._clock.callLater(STEADY, self._over)
        self.wake()

    def _not_opened(self, failure: Failure) -> None:
        self._opening = None
        if self.running and not failure.check(CancelledError):
            self._failed(failure.value)

    async def _connect(self) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError

    def _failed(self, reason: object) -> None:
        """Try again later."""
        self._unsteady()
        self._backoff.failed()
        self._in_trouble(str(reason))

    def _in_trouble(self, reason: str) -> None:
        if not self._trouble:
            self._trouble = True
            self.log.warn("syslog cannot be reached: {reason}", event="syslog_unreachable", reason=reason)

    def _over(self) -> None:
        self._steady = None
        self._backoff.succeeded()
        if self._trouble and not self._is_stuck():
            self._trouble = False
            self.log.info("syslog takes events again; {lost} were lost since the start", event="syslog_reached",
                          lost=self._backlog.lost)  # fmt: skip

    def _unsteady(self) -> None:
        steady, self._steady = self._steady, None
        if steady is not None:
            steady.cancel()

    def _sent(self, count: int) -> None:
        self._backlog.sent(count)
        if count:
            self._moved = self._clock.seconds() if len(self._backlog) else None
            if self._trouble and self._steady is None:
                self._steady = self._clock.callLater(STEADY, self._over)
        empty = self._empty
        if empty is not None and not empty.called and not len(self._backlog):
            empty.callback(None)


class DatagramCarrier(Carrier):
    """Each message is one datagram, through a socket that never blocks.

    A unix socket says when its reader is behind or has gone, and the messages wait.  UDP says nothing, or afterwards,
    when a machine without a listener has answered: then at least one is known to be lost.
    """

    def __init__(
        self,
        backlog: Backlog,
        connect: Callable[[], Deferred[socket]],
        clock: IReactorTime,
        random: Callable[[], float],
    ) -> None:
        """@param connect: makes a socket that is connected, and does not block."""
        super().__init__(backlog, clock, random)
        self._make = connect
        self._socket: socket | None = None
        self._behind: IDelayedCall | None = None
        self._pause = _FIRST_PAUSE

    async def _connect(self) -> None:
        self._socket = await self._make()

    def _close(self) -> None:
        behind, self._behind = self._behind, None
        if behind is not None:
            behind.cancel()
        used, self._socket = self._socket, None
        if used is not None:
            used.close()

    def _send(self) -> None:
        """All, or until the socket is full."""
        while self._socket is not None and self._behind is None and (waiting := self._backlog.first(1)):
            try:
                self._socket.send(waiting[0])
            except OSError as error:
                self._refused(error)
            else:
                self._pause = _FIRST_PAUSE
                self._sent(1)

    def _refused(self, error: OSError) -> None:
        if error.errno in _FULL:
            self._behind = self._clock.callLater(self._pause, self._again)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            return
        if error.errno == errno.EMSGSIZE:  # it would be refused for ever
            self._backlog.missed()
            self._sent(1)
            return
        if error.errno == errno.ECONNREFUSED and self._socket is not None and _is_network(self._socket):
            self._backlog.missed()  # one that was sent before
        self._close()
        self._failed(error)

    def _again(self) -> None:
        self._behind = None
        self.wake()


def _is_network(used: socket) -> bool:
    return used.family.name.startswith("AF_INET")


class _Connection(Protocol):
    """Nobody answers on it."""

    def __init__(self, lost: Callable[[object], None]) -> None:
        self._lost = lost

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost(reason.getErrorMessage())


@implementer(IPullProducer)
class StreamCarrier(Carrier):
    """All messages go down one stream, some at a time.

    Those that the transport had not written when the connection ended are sent again on the next one: a message may
    come twice, and only what the system's own buffer held is lost uncounted.
    """

    def __init__(
        self, backlog: Backlog, endpoint: IStreamClientEndpoint, clock: IReactorTime, random: Callable[[], float]
    ) -> None:
        super().__init__(backlog, clock, random)
        self._endpoint = endpoint
        self._transport: Any = None
        self._flying = 0

    async def _connect(self) -> None:
        factory = Factory.forProtocol(lambda: _Connection(self._lost))
        factory.noisy = False
        protocol: Any = await self._endpoint.connect(factory)
        self._transport = protocol.transport
        self._transport.registerProducer(self, False)

    def _close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.unregisterProducer()
            transport.loseConnection()

    def _send(self) -> None:
        """The next ones, unless some are under way."""
        if self._transport is not None and not self._flying and (batch := self._backlog.first(_BATCH)):
            self._flying = len(batch)
            self._transport.write(b"".join(map(framed, batch)))

    def resumeProducing(self) -> None:
        """All that was written has gone."""
        flying, self._flying = self._flying, 0
        self._sent(flying)
        self.wake()

    def stopProducing(self) -> None:
        """The connection ends; its protocol is told."""

    def _lost(self, reason: object) -> None:
        self._flying = 0
        if self._transport is not None:
            self._transport = None
            self._failed(reason)
