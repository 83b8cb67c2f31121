"""The standard log: standard output, or a file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final, TextIO, cast

from twisted.logger import FileLogObserver, ILogObserver, LogEvent, LogLevel
from twisted.python.logfile import LogFile
from zope.interface import implementer

from twisted_executor.logs.lines import as_json, as_text

_LONGEST_FILE: Final = 10 << 20
_OLDER_FILES: Final = 5


def destination(path: str) -> TextIO:
    """Standard output for "-", else a file that is appended to, and of which five older parts are kept.

    Take it before twistd starts to log, which replaces sys.stdout.
    """
    if path == "-":
        return sys.stdout
    file = LogFile.fromFullPath(path, rotateLength=_LONGEST_FILE, maxRotatedFiles=_OLDER_FILES)
    return cast(TextIO, file)


@implementer(ILogObserver)
class StandardObserver:
    """Writes each event to a stream.

    @ivar lost: events that the stream did not take: its disk is full, its reader has gone.
    """

    def __init__(self, log_format: str, stream: TextIO) -> None:
        """@param log_format: "json" or "text"; empty: text where the stream is a terminal, else JSON."""
        self.lost = 0
        self._untold = 0
        people = getattr(stream, "isatty", lambda: False)()
        line = as_text if (log_format or ("text" if people else "json")) == "text" else as_json
        encoding = getattr(stream, "encoding", None) or "utf-8"
        self._write = FileLogObserver(stream, _encodable(line, encoding) if line is as_text else line)

    def __call__(self, event: LogEvent) -> None:
        """Write it; after a loss, say in the log how much was lost."""
        try:
            if self._untold:
                self._write(losses(self._untold, event.get("log_time")))
                self._untold = 0
            self._write(event)
        except (
            OSError,
            ValueError,
            RuntimeError,
        ):  # ValueError: it is closed; RuntimeError: a signal's handler, in mid-write
            self.lost += 1
            self._untold += 1


@implementer(ILogObserver)
class LevelObserver:
    """Passes events of a level and above on.  Twisted's filter looks up the namespace of each, which nobody sets."""

    def __init__(self, level: str, *observers: ILogObserver) -> None:
        """@param level: the name of one of twisted's log levels."""
        self._passing = passing(level)
        self._observers = observers

    def __call__(self, event: LogEvent) -> None:
        """Pass it on, if it is to be."""
        if event.get("log_level") in self._passing:
            for observer in self._observers:
                observer(event)


def passing(level: str) -> frozenset[object]:
    """This level of twisted's and those above it."""
    least = LogLevel.levelWithName(level)
    return frozenset(one for one in LogLevel.iterconstants() if one >= least)


def losses(count: int, moment: object) -> LogEvent:
    """An event that tells of those before it that were lost."""
    return {
        "log_format": "{count} events before this one were lost",
        "log_level": LogLevel.warn,
        "log_namespace": __package__,
        "log_time": moment,
        "event": "events_lost",
        "count": count,
    }


def _encodable(form: Callable[[LogEvent], str], encoding: str) -> Callable[[LogEvent], str]:
    """A name in a log must not end the log: what the stream cannot write is escaped."""
    return lambda event: form(event).encode(encoding, "backslashreplace").decode(encoding)
