"""The composition root: `twistd script-executor`.  It does no I/O."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.application.service import IService
from twisted.logger import ILogObserver

from twisted_executor.assembly import Assembly
from twisted_executor.descriptors import raise_limit
from twisted_executor.options import Options
from twisted_executor.services import OrderedMultiService, StopOnce, Watchdog

__all__ = ["Options", "makeService"]

STOP_LIMIT = 20.0  # seconds that a stop may take beyond its drain


class Root(OrderedMultiService):
    """The whole server.  It gives twistd its log observer."""

    def __init__(self, observer: Callable[[], ILogObserver] | None) -> None:
        """@param observer: makes it; None: twistd's own is to be used."""
        super().__init__()
        self._observer = observer

    def startService(self) -> None:
        """Start; what is there by now stays, so the garbage collector need not look at it again and again."""
        raise_limit()
        super().startService()
        gc.collect()
        gc.freeze()

    def setServiceParent(self, parent: Any) -> None:
        """Where the parent is twistd's application, log through our observer."""
        if self._observer is not None and hasattr(parent, "setComponent"):
            parent.setComponent(ILogObserver, self._observer())
        super().setServiceParent(parent)


def makeService(options: Options, reactor: Any = None) -> IService:
    """Build the tree.  @param reactor: None: the running process's."""
    last: tuple[IService, ...] = ()
    if reactor is None:
        from twisted.internet import reactor

        # Twisted's own is the time of day, which is set now and then.
        reactor.seconds = time.monotonic  # type: ignore[attr-defined]
        last = (StopOnce(),)
    settings = options.configuration
    parts = Assembly(options, reactor)
    root = Root(parts.logs.observer if parts.logs is not None else None)
    watchdog = Watchdog(settings.drain_delay + settings.drain_timeout + STOP_LIMIT, partial(os._exit, 1))
    # Those that come last are the first to be told of the end.
    for service in (*parts.services(), watchdog, *last):
        service.setServiceParent(root)
    return root
