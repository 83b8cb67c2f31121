"""How late the event loop is: whatever holds it delays every client."""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

INTERVAL = 0.1  # seconds between looks


class LagWatch(Service):
    """Asks to be called again and again, and tells by how much later it was."""

    def __init__(self, clock: IReactorTime, observe: Callable[[float], object]) -> None:
        """@param observe: called with seconds, 0 or more."""
        self.setName("lag watch")
        self._clock = clock
        self._observe = observe
        self._next: IDelayedCall | None = None
        self._due = 0.0

    def startService(self) -> None:
        """Begin to look."""
        super().startService()
        self._ask()

    def stopService(self) -> None:
        """No longer look."""
        super().stopService()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _ask(self) -> None:
        self._due = self._clock.seconds() + INTERVAL
        self._next = self._clock.callLater(INTERVAL, self._look)

    def _look(self) -> None:
        self._observe(max(0.0, self._clock.seconds() - self._due))
        self._ask()
