"""Observers that can be named to twistd: `twistd --logger twisted_executor.logs.json_observer script-executor`.

twistd calls them without arguments, so they are roots of their own: they read LOG_LEVEL and SYSLOG, and ask for the
running process's reactor.
"""

from __future__ import annotations

import os
import sys

from twisted.logger import ILogObserver

from twisted_executor.config import read
from twisted_executor.logs import syslog
from twisted_executor.logs.standard import LevelObserver, StandardObserver


def json_observer() -> ILogObserver:
    """One JSON object a line, to standard output."""
    return LevelObserver(read(os.environ).log_level, StandardObserver("json", sys.stdout))


def text_observer() -> ILogObserver:
    """Lines for people, to standard output."""
    return LevelObserver(read(os.environ).log_level, StandardObserver("text", sys.stdout))


def syslog_observer() -> ILogObserver:
    """Only to the syslog server of SYSLOG."""
    from twisted.internet import reactor

    settings = read(os.environ)
    if settings.syslog is None:
        raise SystemExit("SYSLOG does not say where to log to; set it to unixgram:/dev/log, for example.")
    to_syslog = syslog.observer(settings.syslog, reactor)
    reactor.callWhenRunning(to_syslog.service.startService)
    reactor.addSystemEventTrigger("after", "shutdown", to_syslog.service.stopService)
    return LevelObserver(settings.log_level, to_syslog)
