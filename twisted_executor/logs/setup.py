"""All that a server logs to, from its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.application.service import IService
from twisted.logger import ILogObserver

from twisted_executor.logs import syslog
from twisted_executor.logs.standard import LevelObserver, StandardObserver, destination
from twisted_executor.values import SyslogTarget


class Logs:
    """The standard log, and syslog beside it.

    @ivar services: to be started before all others and stopped after them.
    """

    def __init__(self, level: str, log_format: str, path: str, target: SyslogTarget | None, reactor: Any) -> None:
        """@param level: the name of one of twisted's log levels.  @param log_format: "text", "json" or empty.

        @param path: a file, or "-".  @param target: None: no syslog.
        """
        self._level = level
        self._format = log_format
        self._path = path
        self._standard: StandardObserver | None = None
        self._syslog = None if target is None else syslog.observer(target, reactor)
        self.services: tuple[IService, ...] = () if self._syslog is None else (self._syslog.service,)

    def observer(self) -> ILogObserver:
        """What takes all events.  Before twistd starts to log, which replaces sys.stdout."""
        self._standard = StandardObserver(self._format, destination(self._path))
        others = () if self._syslog is None else (self._syslog,)
        return LevelObserver(self._level, self._standard, *others)

    @property
    def lost(self) -> Mapping[str, int]:
        """Events that are known to be lost since the start, by the name of what should have taken them."""
        known = {"standard": self._standard, "syslog": self._syslog}
        return {name: one.lost for name, one in known.items() if one is not None}
