"""SIGHUP: read again what may have changed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger

from twisted_executor.keys import KeyFile, KeysError


class Hangup(Service):
    """Reads the keys again on SIGHUP; a file that is wrong is logged, and the keys remain as they were."""

    log = Logger()

    def __init__(self, keys: KeyFile, reactor: IReactorFromThreads, handle: Callable[..., Any] = signal.signal) -> None:
        """@param handle: as signal.signal; it returns the handler before it."""
        self.setName("hangup")
        self._keys = keys
        self._reactor = reactor
        self._handle = handle
        self._before: Any = None

    def startService(self) -> None:
        """Listen to the signal."""
        super().startService()
        # A handler runs between any two steps of the program; the reactor's next turn is soon enough.
        self._before = self._handle(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reread))

    def stopService(self) -> None:
        """Do what was done before."""
        super().stopService()
        self._handle(signal.SIGHUP, self._before)

    def reread(self) -> None:
        """Read the keys again."""
        try:
            count = self._keys.reread()
        except KeysError as error:
            self.log.error("the API keys remain as they were: {error}", event="keys_not_read", error=str(error))
        else:
            self.log.info("read the API keys again: {count}", event="keys_read", count=count)
