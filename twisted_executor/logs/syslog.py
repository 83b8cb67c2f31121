"""Events to a syslog server, in the form of RFC 5424, over a unix socket, UDP or TCP."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from random import random
from time import time
from typing import Any, Final

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.logger import ILogObserver, LogEvent
from zope.interface import implementer

from twisted_executor.logs.backlog import Backlog
from twisted_executor.logs.carriers import Carrier, DatagramCarrier, StreamCarrier
from twisted_executor.logs.rfc5424 import Sender, as_syslog
from twisted_executor.logs.standard import losses
from twisted_executor.values import SyslogTarget

APP: Final = "script-executor"
MOST_WAITING: Final = 10_000  # messages
MOST_WAITING_BYTES: Final = 4 << 20
# A receiver of UDP takes 2048 bytes (RFC 5426), one of the others 8192 (RFC 6587, and rsyslog's default).
LONGEST: Final = {"udp": 2048, "unixgram": 8192, "tcp": 8192}


@implementer(ILogObserver)
class SyslogObserver:
    """Puts each event into the backlog; its carrier sends it in a later turn of the reactor.

    @ivar service: the carrier.  Before it starts, and while the server cannot be reached, events wait.
    """

    def __init__(self, backlog: Backlog, carrier: Carrier, sender: Sender, soon: Callable[..., object]) -> None:
        """@param soon: has something called in the reactor's thread, as its callFromThread."""
        self.service: IService = carrier
        self._backlog = backlog
        self._carrier = carrier
        self._sender = sender
        self._soon = soon
        self._woken = False

    @property
    def lost(self) -> int:
        """Events that are known to be lost, since the start."""
        return self._backlog.lost

    def __call__(self, event: LogEvent) -> None:
        """Never blocks, from whichever thread it comes."""
        if self._backlog.put(as_syslog(event, self._sender)) and not self._woken:
            self._woken = True
            self._soon(self._wake)

    def _wake(self) -> None:
        self._woken = False
        self._carrier.wake()


def observer(target: SyslogTarget, reactor: Any, most: int = MOST_WAITING) -> SyslogObserver:
    """What sends to this target; its service has to be started.  @param most: events that wait."""
    sender = Sender(socket.gethostname(), APP, os.getpid(), LONGEST[target.kind])
    backlog = Backlog(most, MOST_WAITING_BYTES, lambda lost: as_syslog(losses(lost, time()), sender))
    carrier: Carrier
    if target.kind == "tcp":
        endpoint = HostnameEndpoint(reactor, target.place, target.port)
        carrier = StreamCarrier(backlog, endpoint, reactor, random)
    elif target.kind == "udp":
        carrier = DatagramCarrier(backlog, lambda: udp_socket(target, reactor.nameResolver), reactor, random)
    else:
        carrier = DatagramCarrier(backlog, lambda: unix_socket(target.place), reactor, random)
    return SyslogObserver(backlog, carrier, sender, reactor.callFromThread)


def unix_socket(path: str) -> Deferred[socket.socket]:
    """Connected to a socket in the file system; an OSError says why not."""
    return Deferred.fromCoroutine(_connected(socket.AF_UNIX, path))


def udp_socket(target: SyslogTarget, resolver: IHostnameResolver) -> Deferred[socket.socket]:
    """Connected to the first address of a host."""
    return Deferred.fromCoroutine(_udp_socket(target, resolver))


async def _udp_socket(target: SyslogTarget, resolver: IHostnameResolver) -> socket.socket:
    address: Any = await _Resolution(resolver, target).found
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return await _connected(family, (address.host, address.port))


async def _connected(family: int, address: Any) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.connect(address)
    except BaseException:
        made.close()
        raise
    return made


@implementer(IResolutionReceiver)
class _Resolution:
    """@ivar found: fires with the first address of a host, or errbacks with DNSLookupError."""

    def __init__(self, resolver: IHostnameResolver, target: SyslogTarget) -> None:
        self.found: Deferred[IAddress] = Deferred(lambda _: None)
        self._place = target.place
        resolver.resolveHostName(self, target.place, target.port, transportSemantics="UDP")

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Wait."""

    def addressResolved(self, address: IAddress) -> None:
        """The first is enough."""
        if not self.found.called:
            self.found.callback(address)

    def resolutionComplete(self) -> None:
        """There may have been none."""
        if not self.found.called:
            self.found.errback(DNSLookupError(f"no address is known for {self._place}"))
