"""SIGHUP."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs

from twisted_executor.hangup import Hangup
from twisted_executor.keys import KeyFile

FIRST, SECOND = "alice:alices-secret-0001", "bob:bobs-secret-00000001"


class Signals:
    """What signal.signal does."""

    def __init__(self) -> None:
        self.handlers: dict[int, Any] = {signal.SIGHUP: "as it was"}

    def handle(self, number: int, handler: Any) -> Any:
        before, self.handlers[number] = self.handlers[number], handler
        return before


class Reactor(MemoryReactorClock):
    """One that calls at its next turn what comes from a thread or a signal."""

    def callFromThread(self, function: Any, *args: Any, **kwargs: Any) -> None:
        self.callLater(0, function, *args, **kwargs)


def test_hangup(tmp_path: Path) -> None:
    """The signal has the keys read again at the reactor's next turn; a wrong file is logged and changes nothing."""
    path = tmp_path / "keys"
    path.write_text(FIRST)
    keys, signals, reactor = KeyFile(str(path)), Signals(), Reactor()
    service = Hangup(keys, reactor, signals.handle)
    service.startService()

    def hang_up() -> list[Any]:
        signals.handlers[signal.SIGHUP](signal.SIGHUP, None)
        with capturedLogs() as events:
            reactor.advance(0)
        return [event["log_level"] for event in events]

    path.write_text(SECOND)
    assert keys.name_of(b"bobs-secret-00000001") is None
    assert hang_up() == [LogLevel.info]
    assert keys.name_of(b"bobs-secret-00000001") == "bob"
    path.write_text("nonsense")
    assert hang_up() == [LogLevel.error]
    assert keys.name_of(b"bobs-secret-00000001") == "bob"
    service.stopService()
    assert signals.handlers[signal.SIGHUP] == "as it was"
