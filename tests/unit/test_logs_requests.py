"""The event of each request, and that every event has a name that docs/logging.md explains."""

from __future__ import annotations

import ast
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from tests.unit.test_layers import FILES
from tests.unit.web_client import Server
from twisted_executor import errors
from twisted_executor.boundaries import Answered, Job, Tenant
from twisted_executor.keys import parse
from twisted_executor.logs.lines import as_json, as_text
from twisted_executor.logs.requests import DELAY, MOST, SMALL, RequestLog
from twisted_executor.logs.standard import LevelObserver, StandardObserver
from twisted_executor.testing import HELLO, execution

DOCS = Path(__file__).parents[2] / "docs" / "logging.md"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RAN = Answered(
    200, "POST", "/execute", 0.0025, "192.0.2.1", "id-1", "", "",
    execution(Job(b"secret", 1.0, "id-1", b"secret", (b"secret",), ((b"secret", b"secret"),), None,
                  Tenant("key", "secret")), replace(HELLO, stdout=b"secret", stderr=b"secret", error="secret")),
)  # fmt: skip


def logged(answered: Answered, level: str = "debug") -> tuple[dict[str, Any], str]:
    """The event as JSON, and as text without its time; empty when there is none."""
    events: list[Any] = []
    RequestLog(level, Clock(), LevelObserver(level, events.append), lambda: 0.0)(answered)
    assert len(events) <= 1
    if not events:
        return {}, ""
    return json.loads(as_json(events[0])), as_text(events[0]).partition(" ")[2]


def test_run() -> None:
    """What it was and how it went; nothing of what the script is, gets and says."""
    line, text = logged(replace(RAN, key="alice", traceparent=TRACE))
    ran = RAN.execution
    assert ran is not None
    assert {name: line[name] for name in line if name not in ("time", "message", "namespace")} == {
        "level": "info", "event": "run", "image": ran.image, "status": "ok", "exit_code": 0,
        "execution_time": ran.outcome.execution_time, "queue_time": ran.queue_time, "warm": ran.warm,
        "http_status": 200, "seconds": 0.0025, "peer": "192.0.2.1", "key": "alice", "request_id": "id-1",
        "traceparent": TRACE,
    }  # fmt: skip
    assert "secret" not in json.dumps(line) + text
    took = ran.outcome.execution_time
    whose = "request id-1 of alice from 192.0.2.1"
    assert text.endswith(f"run of {ran.image}: ok in {took} s, 0.0025 s in all; {whose}\n")


def test_what_is_not_known_is_left_out() -> None:
    """No key, no trace, no peer as on a unix socket."""
    line, text = logged(replace(RAN, peer=""))
    assert not {"key", "traceparent", "peer"} & set(line)
    assert text.endswith("; request id-1\n")


@pytest.mark.parametrize("error", [errors.Overloaded("secret"), errors.InvalidRequest('"secret" is none')])
def test_refused(error: errors.ExecutorError) -> None:
    """The code says why; the sentence may quote the request."""
    status = 503 if isinstance(error, errors.Overloaded) else 400
    line, text = logged(Answered(status, "POST", "/execute", 0.1, "192.0.2.1", "id-1", error=error), "info")
    assert (line["event"], line["code"], line["http_status"]) == ("refused", error.code, status)
    assert f"POST /execute refused: {status} {error.code}; request id-1 from 192.0.2.1" in text
    assert "secret" not in json.dumps(line) + text


def test_no_http() -> None:
    """What is no request has no method, no path and no id."""
    line, text = logged(Answered(400, error=errors.InvalidRequest("no")))
    assert (line["method"], line["path"]) == ("-", "-")
    assert text.endswith("- - refused: 400 invalid_request; a request\n")
    line, _ = logged(Answered(404, "secret", "/secret", error=errors.NoSuchResource("no")))
    assert "secret" not in json.dumps(line)


def test_path() -> None:
    """A path is shown short, and cannot break a line."""
    line, text = logged(
        Answered(404, "GET", "/a\x85" + "b" * 1000, 0.0, "::1", "id-1", error=errors.NoSuchResource("no"))
    )
    assert len(line["path"]) < 120
    assert text.count("\n") == 1


def test_left() -> None:
    """A client that does not wait is told of."""
    line, text = logged(Answered(499, "POST", "/execute", 1.5, "192.0.2.1", "id-1"), "info")
    assert line["event"] == "client_left"
    assert "the client left after 1.5 s; request id-1" in text


def test_levels() -> None:
    """Probes are for those who look for trouble; above info there is nothing."""
    probe = Answered(503, "GET", "/health", 0.001, "192.0.2.1", "id-1")
    assert logged(probe)[0]["event"] == "request"
    assert logged(probe, "info") == ({}, "")
    for answered in (probe, RAN, Answered(400, error=errors.InvalidRequest("no")), Answered(499)):
        assert logged(answered, "warn") == ({}, "")


def test_together() -> None:
    """Events are written together soon, each with its own time; at the stop what waits, and then each at once."""
    clock, events = Clock(), []
    log = RequestLog("info", clock, events.append, clock.seconds)
    log(RAN)
    assert len(events) == 1  # it has not started
    log.startService()
    log(RAN)
    clock.advance(DELAY / 2)
    log(RAN)
    assert len(events) == 1
    clock.advance(DELAY / 2)
    assert [event["log_time"] for event in events] == [0.0, 0.0, DELAY / 2]
    for _ in range(MOST):
        log(RAN)
    assert len(events) == 3 + MOST
    log(RAN)
    log.stopService()
    log(RAN)
    assert len(events) == 5 + MOST
    assert clock.getDelayedCalls() == []


def test_answers_are_not_kept() -> None:
    """While an event waits nothing of the run's output is held for it."""
    clock = Clock()
    log = RequestLog("info", clock, lambda event: None)
    log.startService()
    output = bytes(SMALL + 1)
    before = sys.getrefcount(output)
    assert RAN.execution is not None
    log(replace(RAN, execution=replace(RAN.execution, outcome=replace(HELLO, stdout=output))))
    assert sys.getrefcount(output) == before
    error = errors.InvalidRequest("no")
    before = sys.getrefcount(error)
    log(Answered(400, "POST", "/execute", error=error))
    assert sys.getrefcount(error) == before
    assert len(clock.getDelayedCalls()) == 1


def test_incident() -> None:
    """A fault has the request's id and trace, and not its own words."""
    stream = io.StringIO()
    observer = StandardObserver("json", stream)
    server = Server(keys=parse("alice:alices-secret-0001\n"))
    server.health.report = lambda: {}["secret"]  # type: ignore[method-assign, assignment, return-value, call-overload]
    globalLogPublisher.addObserver(observer)
    try:
        answer = server.request("GET", "/health", "X-Request-ID: mine", f"traceparent: {TRACE}")
    finally:
        globalLogPublisher.removeObserver(observer)
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert (line["event"], line["request_id"], line["traceparent"]) == ("incident", "mine", TRACE)
    assert line["incident"] == answer.json["incident"]
    assert "KeyError" in line["traceback"]
    assert "secret'" not in line["traceback"].rsplit("\n", 1)[1]


LEVELS = {"debug", "info", "warn", "error", "critical", "failure"}


def calls() -> Iterator[tuple[Path, ast.Call, str]]:
    """Everything that our code logs."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and (isinstance(node.func.value, ast.Attribute) and node.func.value.attr == "log")
                and node.func.attr in LEVELS
            ):
                yield path, node, node.func.attr.replace("failure", "critical")
            elif isinstance(node, ast.Call) and node.args and ast.unparse(node.args[0]).startswith("LogLevel."):
                yield path, node, ast.unparse(node.args[0]).removeprefix("LogLevel.")


def named() -> set[tuple[str, str]]:
    """Name and level of each event in the code."""
    found = {("events_lost", "warn")}  # which no Logger makes
    for path, call, level in calls():
        (name,) = [word.value for word in call.keywords if word.arg == "event"] or [None]
        assert isinstance(name, ast.Constant), f"{path.name}:{call.lineno}: give the event a name"
        found.add((str(name.value), level))
    return found


def test_every_event_is_explained() -> None:
    """docs/logging.md has a row for each event, with its level, and none that there is not."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (debug|info|warn|error|critical) \|", DOCS.read_text(), re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == named()
