"""The standard log: its lines, its levels, and where they go."""

from __future__ import annotations

import io
import json
import math
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher
from twisted.python import log as legacy
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from twisted_executor.errors import EngineError
from twisted_executor.logs.lines import as_json, as_text
from twisted_executor.logs.standard import LevelObserver, StandardObserver, destination, passing


class Broken:
    """Fails when it is shown."""

    def __repr__(self) -> str:
        raise ValueError("no")

    __str__ = __repr__


def failure(error: Exception | None = None) -> Failure:
    """A failure with a traceback."""
    try:
        raise error or OSError("first\nsecond")
    except Exception:
        return Failure()


class Terminal(io.StringIO):
    """A stream that people look at."""

    def isatty(self) -> bool:
        return True


def written(log_format: str, level: str = "debug") -> tuple[Logger, io.StringIO]:
    """A logger and what its observer writes to."""
    stream = io.StringIO()
    return Logger("a.module", observer=LevelObserver(level, StandardObserver(log_format, stream))), stream


def event(**fields: object) -> dict[str, object]:
    """An event as a Logger makes it."""
    return {"log_time": 0.0, "log_level": LogLevel.info, "log_namespace": "n", "log_format": "hello"} | fields


def test_text() -> None:
    """A line has the time in UTC, the level, the namespace and the message with its fields filled in."""
    assert as_text(event(log_format="{a} and {b}", a=1, b="two")) == "1970-01-01T00:00:00.000Z info n: 1 and two\n"


def test_json() -> None:
    """A line is one object with the same, and every field under its own name."""
    line = as_json(event(log_format="{request_id} took {seconds}", request_id="x", seconds=0.5, warm=True))
    assert line.endswith("}\n")
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.000Z",
        "level": "info",
        "namespace": "n",
        "message": "x took 0.5",
        "request_id": "x",
        "seconds": 0.5,
        "warm": True,
    }


def test_json_fields_of_any_kind() -> None:
    """What JSON cannot hold is shown as text; an object that fails to be shown does no harm."""
    line = json.loads(as_json(event(nan=math.nan, name=b"x", things=[1], broken=Broken(), nothing=None)))
    assert (line["nan"], line["name"], line["things"], line["nothing"]) == ("nan", "x", "[1]", None)
    assert "Broken" in line["broken"]


def test_json_field_cannot_replace_a_part_of_the_line() -> None:
    """A field that is called like a part of the line is left out; the part stays."""
    line = json.loads(as_json(event(level="fake", time="fake", message="fake", namespace="fake", traceback="fake")))
    assert "fake" not in line.values()


def test_json_traceback() -> None:
    """A failure becomes one string in the same object."""
    line = as_json(event(log_failure=failure()))
    assert line.count("\n") == 1
    assert "OSError: first\nsecond" in json.loads(line)["traceback"]


def test_text_traceback() -> None:
    """A failure stands below its line, indented, so that a new event is what begins at the margin."""
    first, *rest = as_text(event(log_failure=failure())).splitlines()
    assert first.endswith("hello")
    assert any("OSError: first" in line for line in rest)
    assert all(line.startswith("    ") for line in rest)


@given(st.text())
def test_nobody_forges_a_line(text: str) -> None:
    """Whatever a client puts into a message, only the event itself begins at the margin, and it is printable."""
    first, *rest = as_text(event(log_format="{text}", text=text)).removesuffix("\n").split("\n")
    assert first.startswith("1970-01-01T00:00:00.000Z info n: ")
    assert all(line.startswith("    ") for line in rest)
    assert all(line.isprintable() for line in [first, *rest])
    assert as_json(event(log_format="{text}", text=text)).count("\n") == 1


def test_escapes() -> None:
    """Control characters are shown escaped."""
    assert as_text(event(log_format="a\x1b[1m\rb\x00")).endswith(": a\\x1b[1m\\rb\\x00\n")


@pytest.mark.parametrize("form", [as_text, as_json])
def test_bare_event(form: object) -> None:
    """An event without any of the usual keys does no harm."""
    assert "-" in form({})  # type: ignore[operator]


@pytest.mark.parametrize("log_format", ["text", "json", ""])
def test_level(log_format: str) -> None:
    """Events below the level are left out."""
    log, stream = written(log_format, "warn")
    log.info("quiet")
    log.warn("loud")
    log.critical("louder")
    assert "quiet" not in stream.getvalue()
    assert stream.getvalue().count("loud") == 2


@pytest.mark.parametrize(
    ("log_format", "stream", "json_expected"),
    [
        ("", io.StringIO, True), ("", Terminal, False), ("text", io.StringIO, False), ("text", Terminal, False),
        ("json", io.StringIO, True), ("json", Terminal, True),
    ],
)  # fmt: skip
def test_formats(log_format: str, stream: type[io.StringIO], json_expected: bool) -> None:
    """Text for people at a terminal, JSON for what reads files and pipes; unless one is asked for."""
    target = stream()
    Logger("a.module", observer=StandardObserver(log_format, target)).info("hello")
    if json_expected:
        assert json.loads(target.getvalue())["namespace"] == "a.module"
    else:
        assert target.getvalue().endswith("Z info a.module: hello\n")


def test_words_of_a_failure() -> None:
    """What a failure says of itself is shown where it cannot quote a request; where it happened always is."""
    for error in (
        ValueError("secret"),
        KeyError("secret"),
        RuntimeError("secret"),
        UnicodeDecodeError("a", b"secret", 0, 1, "secret"),
    ):
        for form in (as_json, as_text):
            line = form(event(log_failure=failure(error)))
            assert "secret" not in line
            assert type(error).__name__ in line
            assert "in failure" in line
    for shown in (OSError("words"), TypeError("words"), EngineError("words")):
        assert "words" in as_json(event(log_failure=failure(shown)))


def test_legacy_failure() -> None:
    """What twisted.python.log says of a failure is no way around that."""
    stream = io.StringIO()
    publisher = legacy.LogPublisher(publishPublisher=LogPublisher(StandardObserver("json", stream)))
    publisher.msg(failure=failure(KeyError("secret")), why="what failed", isError=1)
    publisher.msg(failure=failure(KeyError("secret")), why=None, isError=1)
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["message"], second["message"]) == ("what failed", "Unhandled Error")
    assert "KeyError" in first["traceback"]
    assert "secret" not in stream.getvalue()


def test_odd_formats() -> None:
    """What is no plain format is shown as Twisted would show it."""
    assert as_text(event(log_format="{call()} {a.b}", call=lambda: "x", a=1)).startswith("1970")
    assert "x1" in as_text(event(log_format="{call()}{n}", call=lambda: "x", n=1))
    assert as_text(event(log_format=None)) == "1970-01-01T00:00:00.000Z info n: \n"
    assert "é" in as_text(event(log_format="é".encode()))
    assert "missing" in as_text(event(log_format="{missing}"))


class Full(io.StringIO):
    """A disk that is full."""

    full = False

    def write(self, text: str) -> int:
        if self.full:
            raise OSError("No space left on device")
        return super().write(text)


def test_losses() -> None:
    """What a stream does not take is counted, and told when it takes something again."""
    stream = Full()
    observer = StandardObserver("json", stream)
    log = Logger("n", observer=observer)
    stream.full = True
    log.info("one")
    log.info("two")
    assert observer.lost == 2
    stream.full = False
    log.info("three")
    log.info("four")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["message"] for line in lines] == ["2 events before this one were lost", "three", "four"]
    stream.close()
    log.info("five")
    assert observer.lost == 3


def test_passing() -> None:
    """A level and those above it."""
    assert passing("warn") == {LogLevel.warn, LogLevel.error, LogLevel.critical}


def test_rotation(tmp_path: Path) -> None:
    """A file is followed by another before it is too large, and of the older ones five are kept."""
    path = tmp_path / "log"
    with closing(destination(str(path))) as stream:
        for number in range(70):
            stream.write(f"{number}" + "x" * (1 << 20) + "\n")
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 6
    assert all(one.stat().st_size <= 12 << 20 for one in kept)


def test_stream_that_cannot_write_everything() -> None:
    """Characters that the stream's encoding lacks are escaped, and do not fail."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii")
    Logger("n", observer=StandardObserver("text", stream)).info("{a}", a="é\udcff")
    assert raw.getvalue().endswith(b": \\xe9\\udcff\n")


def test_standard_output() -> None:
    """A dash is standard output."""
    assert destination("-") is sys.stdout


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_file(tmp_path: Path, log_format: str) -> None:
    """A file is appended to, at once and in any language."""
    path = tmp_path / "server.log"
    path.write_text("before\n")
    with closing(destination(str(path))) as stream:
        Logger("n", observer=StandardObserver(log_format, stream)).info("é")
        assert path.read_text(encoding="utf-8").count("\n") == 2
    first, second = path.read_text(encoding="utf-8").splitlines()
    assert first == "before"
    assert "é" in (json.loads(second)["message"] if log_format == "json" else second)


def test_legacy_events() -> None:
    """What twisted.python.log emits is written as well, without its own keys as fields."""
    stream = io.StringIO()
    legacy.LogPublisher(publishPublisher=LogPublisher(StandardObserver("json", stream))).msg("hello")
    line = json.loads(stream.getvalue())
    assert line["message"] == "hello"
    assert set(line) == {"time", "level", "namespace", "message"}


def test_interface() -> None:
    """The observer is one of twisted's."""
    assert verifyObject(ILogObserver, StandardObserver("", io.StringIO()))
    assert verifyObject(ILogObserver, LevelObserver("info"))
