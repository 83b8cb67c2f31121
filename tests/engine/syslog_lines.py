"""A process that sends each line of its input to syslog, and at the end says how many were lost.

python -m tests.engine.syslog_lines TARGET MOST
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.logger import Logger, globalLogBeginner
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from twisted_executor.logs import syslog
from twisted_executor.values import syslog as target


class Lines(LineOnlyReceiver):
    """Says "." for each, so that its driver knows that it was never blocked."""

    delimiter = b"\n"
    log = Logger()

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def lineReceived(self, line: bytes) -> None:
        self.log.info("{line}", event="line", line=line.decode())
        print(".", flush=True)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.ended.callback(None)


async def main(reactor: Any, where: str, most: str) -> None:
    observer = syslog.observer(target(where), reactor, int(most))
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    observer.service.startService()
    lines = Lines()
    StandardIO(lines)
    await lines.ended
    await observer.service.stopService()  # type: ignore[misc]
    print(f"lost {observer.lost}")


react(lambda reactor, *arguments: Deferred.fromCoroutine(main(reactor, *arguments)), sys.argv[1:])
