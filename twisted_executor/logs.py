"""Where log events go: lines for people, or one JSON object a line.

Twisted's own text observer shows control characters as they are, so that a client could forge lines; its own JSON
observer writes neither the message nor a readable time.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TextIO, cast

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from twisted.python.reflect import safe_str

# What twisted.python.log adds to events beside log_*, and the names that each line has.
_NOT_FIELDS: Final = frozenset({"time", "system", "isError", "message", "format", "failure", "why", "printed"} | {
    "level", "namespace", "traceback"})  # fmt: skip
_LONGEST_FILE = 10 << 20
_INDENT = "\n    "


def destination(path: str) -> TextIO:
    """Standard output for "-", else a file that is appended to, and of which five older parts are kept.

    Take it before twistd starts to log, which replaces sys.stdout.
    """
    if path == "-":
        return sys.stdout
    return cast("TextIO", LogFile.fromFullPath(path, rotateLength=_LONGEST_FILE, maxRotatedFiles=5))


def observer(level: str, log_format: str, stream: TextIO) -> ILogObserver:
    """Writes events of this level and above to the stream.

    @param level: the name of one of twisted's log levels.
    @param log_format: "json"; anything else, also empty, is text.
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    line = as_json if log_format == "json" else _encodable(as_text, encoding)
    filtered = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName(level))
    return FilteringLogObserver(FileLogObserver(stream, line), [filtered])


def as_text(event: LogEvent) -> str:
    """A line like "2026-11-23T12:00:00.000Z info twisted_executor.pool: message"; more lines of it are indented."""
    message = "\n".join(map(_printable, [*formatEvent(event).split("\n"), *_traceback(event).splitlines()]))
    return f"{_time(event)} {_level(event)} {_namespace(event)}: {message}".replace("\n", _INDENT) + "\n"


def as_json(event: LogEvent) -> str:
    """An object in ASCII with time, level, namespace, message, traceback where there is one, and the event's fields."""
    line: dict[str, object] = {
        "time": _time(event),
        "level": _level(event),
        "namespace": _namespace(event),
        "message": formatEvent(event),
    }
    if traceback := _traceback(event):
        line["traceback"] = traceback
    line.update((name, _plain(value)) for name, value in event.items() if _is_field(name))
    return json.dumps(line, allow_nan=False) + "\n"


def _time(event: LogEvent) -> str:
    moment = event.get("log_time")
    if moment is None:
        return "-"
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(event: LogEvent) -> str:
    return getattr(event.get("log_level"), "name", "-")


def _namespace(event: LogEvent) -> str:
    return safe_str(event.get("log_namespace", "-"))


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return failure.getTraceback() if isinstance(failure, Failure) else ""


def _is_field(name: str) -> bool:
    return not name.startswith("log_") and name not in _NOT_FIELDS


def _plain(value: object) -> object:
    """What JSON has no form for becomes text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, str | int):
        return value
    return safe_str(value)


def _printable(text: str) -> str:
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _encodable(form: Callable[[LogEvent], str], encoding: str) -> Callable[[LogEvent], str]:
    """A name in a log must not end the log: what the stream cannot write is escaped."""
    return lambda event: form(event).encode(encoding, "backslashreplace").decode(encoding)
