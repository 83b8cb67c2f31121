"""An event as a message of RFC 5424, with its fields as structured data.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from twisted.logger import LogEvent
from twisted.python.reflect import safe_str

from twisted_executor.logs.lines import is_field, level_of, message, namespace_of, printable, time_of, traceback

# 32473 is the enterprise number that RFC 5612 sets aside for examples; we have none of our own.
SD_ID: Final = "executor@32473"
BOM: Final = b"\xef\xbb\xbf"
DAEMON: Final = 3  # the facility
_SEVERITIES: Final = {"critical": 2, "error": 3, "warn": 4, "info": 6, "debug": 7}
_NOTICE: Final = 5  # of an event without a level
_LONGEST_VALUE: Final = 256  # bytes of one value, before it is escaped
_UNPRINTABLE = re.compile(r"[^!-~]")
_NO_NAME = re.compile(r'[^!-~]|[="\]]')
_TO_ESCAPE = re.compile(r'(["\\\]])')


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends.  @ivar most: bytes of one message."""

    host: str
    app: str
    process: int
    most: int


def as_syslog(event: LogEvent, sender: Sender) -> bytes:
    """The message, in one line and at most `sender.most` bytes: fields that do not fit are left out, text is cut.

    The structured data gets three quarters at most.  A text that is not ASCII begins with a byte order mark.
    """
    name = event.get("event")
    head = " ".join((
        f"<{DAEMON * 8 + _SEVERITIES.get(level_of(event), _NOTICE)}>1",
        time_of(event),
        _header(sender.host, 255),
        _header(sender.app, 48),
        str(sender.process),
        _header(name, 32) if isinstance(name, str) else "-",
        f"[{SD_ID}",
    )).encode("ascii")  # fmt: skip
    for parameter in _parameters(event):
        if len(head) + len(parameter) < sender.most * 3 // 4:
            head += parameter
    head += b"] "
    told = traceback(event)
    text = printable(message(event) + ("\n" + told if told else ""))
    body = text.encode() if text.isascii() else BOM + text.encode()
    return head + cut(body, sender.most - len(head))


def cut(text: bytes, most: int) -> bytes:
    """The first bytes of a text in UTF-8, whole characters only."""
    return text if len(text) <= most else text[:most].decode("utf-8", "ignore").encode()


def framed(text: bytes) -> bytes:
    """With its length before it, as streams have it (RFC 6587, octet counting)."""
    return b"%d %s" % (len(text), text)


def _parameters(event: LogEvent) -> Iterator[bytes]:
    for name, value in event.items():
        if is_field(name) and name != "event" and value is not None:
            yield _parameter(name, value if isinstance(value, str) else safe_str(value))
    yield _parameter("namespace", namespace_of(event))


def _parameter(name: str, value: str) -> bytes:
    short = cut(printable(value).encode(), _LONGEST_VALUE).decode()
    return f' {_NO_NAME.sub("_", name)[:32] or "_"}="{_TO_ESCAPE.sub(_escaped, short)}"'.encode()


def _escaped(match: re.Match[str]) -> str:
    return "\\" + match[1]


def _header(text: str, most: int) -> str:
    return _UNPRINTABLE.sub("_", text)[:most] or "-"
