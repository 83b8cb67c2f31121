"""An event as a message of RFC 5424: read back by a parser that follows the grammar of the RFC."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from twisted_executor.logs.rfc5424 import BOM, Sender, as_syslog, cut, framed

SENDER = Sender("a-host", "script-executor", 42, 2048)

# The grammar of section 6, for bytes.
NAME = rb"[!#-<>-\\^-~]{1,32}"
VALUE = rb'(?:[^"\\\]]|\\["\\\]])*'
GRAMMAR = re.compile(
    rb"<(?P<priority>[0-9]{1,3})>1 "
    rb"(?P<time>-|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z) "
    rb"(?P<host>[!-~]{1,255}) (?P<app>[!-~]{1,48}) (?P<process>[!-~]{1,128}) (?P<id>[!-~]{1,32}) "
    rb"\[(?P<sd>" + NAME + rb")(?P<parameters>(?: " + NAME + rb'="' + VALUE + rb'")*)\]'
    rb"(?: (?P<message>.*))?",
    re.DOTALL,
)
PARAMETER = re.compile(rb" (" + NAME + rb')="(' + VALUE + rb')"')


def event(**fields: object) -> dict[str, object]:
    """An event as a Logger makes it."""
    return {"log_time": 0.25, "log_level": LogLevel.info, "log_namespace": "n", "log_format": "hello"} | fields


def parsed(message: bytes) -> tuple[re.Match[bytes], dict[str, str]]:
    """The parts and the parameters; a failure when it is not of the grammar."""
    match = GRAMMAR.fullmatch(message)
    assert match, message
    found = {}
    for name, value in PARAMETER.findall(match["parameters"]):
        assert name.decode() not in found
        found[name.decode()] = re.sub(r'\\(["\\\]])', r"\1", value.decode())
    return match, found


def test_whole() -> None:
    """Everything in its place: facility daemon, the event's name as the message's id, its fields as structured data."""
    made = as_syslog(event(log_format="{a} b", event="run", a='say "x] \\', warm=True, nothing=None), SENDER)
    assert made == (
        b"<30>1 1970-01-01T00:00:00.250Z a-host script-executor 42 run "
        b'[executor@32473 a="say \\"x\\] \\\\" warm="True" namespace="n"] say "x] \\ b'
    )


@pytest.mark.parametrize(
    ("level", "priority"),
    [(LogLevel.debug, 31), (LogLevel.info, 30), (LogLevel.warn, 28), (LogLevel.error, 27), (LogLevel.critical, 26),
     (None, 29)],
)  # fmt: skip
def test_severity(level: object, priority: int) -> None:
    """Each level has its severity; what has none is a notice."""
    match, _ = parsed(as_syslog(event(log_level=level), SENDER))
    assert int(match["priority"]) == priority


def test_byte_order_mark() -> None:
    """A text that is not ASCII says that it is UTF-8; one that is may do without."""
    match, _ = parsed(as_syslog(event(log_format="größe"), SENDER))
    assert match["message"] == BOM + "größe".encode()
    match, _ = parsed(as_syslog(event(), SENDER))
    assert match["message"] == b"hello"


def test_traceback() -> None:
    """It follows the message, on the same line."""
    match, _ = parsed(as_syslog(event(log_failure=Failure(OSError("words"))), SENDER))
    assert match["message"].startswith(b"hello\\nTraceback")
    assert match["message"].endswith(b"OSError: words")


def test_bare_event() -> None:
    """An event without any of the usual keys, from a host without a name, is a message too."""
    match, parameters = parsed(as_syslog({}, Sender("", "", 1, 480)))
    assert (match["host"], match["app"], match["time"], match["id"]) == (b"-", b"-", b"-", b"-")
    assert parameters == {"namespace": "-"}


def test_too_many_fields() -> None:
    """What does not fit is left out, whole; the text has its place."""
    fields = {f"field{number}": "x" * 500 for number in range(20)}
    made = as_syslog(event(**fields), SENDER)
    match, parameters = parsed(made)
    assert len(made) <= SENDER.most
    assert set(parameters) == {*(f"field{number}" for number in range(5)), "namespace"}
    assert parameters["field0"] == "x" * 256
    assert match["message"] == b"hello"


@given(
    st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.floats() | st.binary() | st.none(), max_size=8),
    st.text(),
    st.text(max_size=40),
    st.integers(480, 3000),
)
def test_any_event(fields: dict[str, object], text: str, name: str, most: int) -> None:
    """Whatever is in an event, the message is of the grammar, in one printable line, and not too long."""
    named = {f"x{number}{key}": value for number, (key, value) in enumerate(fields.items())}
    made = as_syslog(event(**named, log_format="{text}", text=text, event=name), Sender("h\x00ö" * 90, "a b", 1, most))
    parsed(made)
    assert len(made) <= most
    assert made.decode().replace("\ufeff", "").isprintable()


@given(st.text(), st.integers(0, 50))
def test_cut(text: str, most: int) -> None:
    """It is the longest beginning of whole characters that fits."""
    short = cut(text.encode(), most).decode()
    assert text.startswith(short)
    assert len(short.encode()) <= most
    assert short == text or len(text[: len(short) + 1].encode()) > most


def test_framed() -> None:
    """A stream has the length in bytes before each."""
    assert framed("é".encode()) == b"2 \xc3\xa9"
