"""The listening ports, closed in good order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from twisted.application import strports
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.server import Site

from twisted_executor.services import OrderedMultiService

# Of an endpoint's description, in which a colon of an address has a backslash before it.
_LOCAL = re.compile(r"unix:.*|.*:interface=(127\.[0-9.]+|localhost|\\:\\:1)(:.*)?", re.DOTALL)


def is_local(endpoint: str) -> bool:
    """Whether only programs on this machine reach it: a unix socket, or an address of the loopback interface."""
    return _LOCAL.fullmatch(endpoint) is not None


class ServerService(OrderedMultiService):
    """Serves a site on every endpoint.

    A taken port ends the process: strports raises where StreamServerEndpointService logs and stays deaf.
    """

    log = Logger()

    def __init__(
        self,
        listen: Sequence[str],
        site: Site,
        drain: Callable[[], None],
        drain_delay: float,
        reactor: IReactorTime,
        caution: str = "",
    ) -> None:
        """@param drain: called first when the service stops: from then on requests are refused in words.

        @param drain_delay: seconds from then until the ports close, for load balancers to notice.

        @param caution: a sentence to be logged for each endpoint that other machines reach.
        """
        super().__init__()
        self.setName("server")
        self._drain = drain
        self._drain_delay = drain_delay
        self._clock = reactor
        self._open = [endpoint for endpoint in listen if not is_local(endpoint)]
        self._caution = caution
        for endpoint in listen:
            service: Any = strports.service(endpoint, site, reactor=reactor)  # type: ignore[arg-type]
            service.setServiceParent(self)

    def startService(self) -> None:
        """Open the ports."""
        super().startService()
        if self._caution:
            for endpoint in self._open:
                self.log.warn("{endpoint}: {caution}", event="open_port", endpoint=endpoint, caution=self._caution)

    def stopService(self) -> Deferred[None]:
        """Fires when the ports are closed; connections live on until they are answered."""
        self._drain()
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        if self._drain_delay:
            await deferLater(self._clock, self._drain_delay)
        await super().stopService()
