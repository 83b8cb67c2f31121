"""An event as text: lines for people, or one JSON object a line.  Pure.

Twisted's own text observer shows control characters as they are, so that a client could forge lines; its own JSON
observer writes neither the message nor a readable time.
"""

from __future__ import annotations

import json
import linecache
import math
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from twisted.logger import LogEvent, formatEvent
from twisted.python.failure import Failure
from twisted.python.reflect import qual, safe_str

from twisted_executor.errors import EngineError, ProtocolError

# What twisted.python.log adds to events beside log_*, and the names that each line has.
_NOT_FIELDS: Final = frozenset({"time", "system", "isError", "message", "format", "failure", "why", "printed"} | {
    "level", "namespace", "traceback"})  # fmt: skip
_INDENT = "\n    "
_PLAIN = frozenset({str, int, bool, type(None)})
_encode = json.JSONEncoder(allow_nan=False).encode  # json.dumps would make one each time

# Their words are about the program, the system or the engine.  Others quote what they were given: a KeyError its key, a
# ValueError its value, which may be a piece of a request.
_SAFE_WORDS: Final = (
    ArithmeticError, AttributeError, ImportError, MemoryError, NameError, OSError, TypeError,
    EngineError, ProtocolError,
)  # fmt: skip


def as_text(event: LogEvent) -> str:
    """A line like "2026-11-23T12:00:00.000Z info twisted_executor.pool: message"; more lines of it are indented."""
    lines = [*message(event).split("\n"), *traceback(event).splitlines()]
    text = _INDENT.join(map(printable, lines))
    return f"{time_of(event)} {level_of(event)} {namespace_of(event)}: {text}\n"


def as_json(event: LogEvent) -> str:
    """An object in ASCII with time, level, namespace, message, traceback where there is one, and the event's fields."""
    line: dict[str, object] = {
        "time": time_of(event),
        "level": level_of(event),
        "namespace": namespace_of(event),
        "message": message(event),
    }
    if told := traceback(event):
        line["traceback"] = told
    for name, value in event.items():
        if name[:4] != "log_" and name not in _NOT_FIELDS:  # is_field, without a call
            line[name] = value if type(value) in _PLAIN else _plain(value)
    return _encode(line) + "\n"


def message(event: LogEvent) -> str:
    """The sentence of an event, without a traceback; never raises."""
    if isinstance(event.get("failure"), Failure):  # of twisted.python.log, whose sentence has the traceback in it
        return safe_str(event.get("why") or "Unhandled Error")
    try:
        sentence: str = event["log_format"].format_map(event)
    except Exception:
        return formatEvent(event)  # ten times as long, but it knows calls in formats, and what to do with broken values
    return sentence


def traceback(event: LogEvent) -> str:
    """The calls that led to a failure and what it was, in lines; "" where there is none.

    No values, and the failure's own words only where they cannot quote a request.
    """
    failure = event.get("log_failure") or event.get("failure")
    if not isinstance(failure, Failure):
        return ""
    lines = ["Traceback (most recent call last):"]
    for function, file, number, *_ in failure.frames:
        lines += [f'  File "{file}", line {number}, in {function}', f"    {linecache.getline(file, number).strip()}"]
    kind = failure.type or type(failure.value)
    words = safe_str(failure.value) if issubclass(kind, _SAFE_WORDS) else "its words are left out, they may quote data"
    return "\n".join([*lines, f"{qual(kind)}: {words}"])


def time_of(event: LogEvent) -> str:
    """The time of an event in UTC with milliseconds; "-" when it has none."""
    moment = event.get("log_time")
    if moment is None:
        return "-"
    second = math.floor(moment)
    return f"{_second(second)}.{int((moment - second) * 1000):03d}Z"


@lru_cache(maxsize=4)  # many events are of the same second
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def level_of(event: LogEvent) -> str:
    """The name of its level; "-" when it has none."""
    return getattr(event.get("log_level"), "name", "-")


def namespace_of(event: LogEvent) -> str:
    """Who tells of it; "-" when it does not say."""
    namespace = event.get("log_namespace", "-")
    return namespace if type(namespace) is str else safe_str(namespace)


def is_field(name: str) -> bool:
    """Whether it is one of the event's own, and not one of Twisted's."""
    return not name.startswith("log_") and name not in _NOT_FIELDS


def printable(text: str) -> str:
    """Control characters and broken ones, line ends too, are shown escaped."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _plain(value: object) -> object:
    """What JSON has no form for becomes text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, str | int):
        return value
    return safe_str(value)
