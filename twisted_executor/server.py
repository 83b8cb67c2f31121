"""The listening ports, closed in good order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.application import strports
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.server import Site

from twisted_executor.services import OrderedMultiService


class ServerService(OrderedMultiService):
    """Serves a site on every endpoint.

    A taken port ends the process: strports raises where StreamServerEndpointService logs and stays deaf.
    """

    def __init__(
        self, listen: Sequence[str], site: Site, drain: Callable[[], None], drain_delay: float, reactor: IReactorTime
    ) -> None:
        """@param drain: called first when the service stops: from then on requests are refused in words.

        @param drain_delay: seconds from then until the ports close, for load balancers to notice.
        """
        super().__init__()
        self.setName("server")
        self._drain = drain
        self._drain_delay = drain_delay
        self._clock = reactor
        for endpoint in listen:
            service: Any = strports.service(endpoint, site, reactor=reactor)  # type: ignore[arg-type]
            service.setServiceParent(self)

    def stopService(self) -> Deferred[None]:
        """Fires when the ports are closed; connections live on until they are answered."""
        self._drain()
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        if self._drain_delay:
            await deferLater(self._clock, self._drain_delay)
        await super().stopService()
