"""What level debug shows of each request, before an executor in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from twisted.internet.defer import CancelledError
from twisted.logger import LogLevel, capturedLogs, formatEvent
from zope.interface.verify import verifyObject

from twisted_executor.boundaries import IExecutor, Job
from twisted_executor.errors import Draining, ExecutorError, Overloaded
from twisted_executor.testing import HELLO, MemoryExecutor
from twisted_executor.tracing import TracedExecutor

JOB = Job(b"echo secret", 5.0, "the-id", stdin=b"secret", args=(b"secret",), env=((b"A", b"secret"),))


@contextmanager
def lines() -> Iterator[list[str]]:
    """What is logged meanwhile, all of it at level debug."""
    found: list[str] = []
    with capturedLogs() as events:
        yield found
    assert {event["log_level"] for event in events} <= {LogLevel.debug}
    found += [formatEvent(event) for event in events]


def test_a_run() -> None:
    """One line with its id and how it ended, nothing of what the client sent or got."""
    traced, came = TracedExecutor(MemoryExecutor(HELLO)), list[Any]()
    assert verifyObject(IExecutor, traced)
    with lines() as said:
        traced.execute(JOB).addCallback(came.append)
    (line,) = said
    assert line.startswith("the-id ended, ok: ")
    assert "secret" not in line
    assert "hi" not in line
    assert came[0].outcome is HELLO


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (lambda inner, _: inner.fail(Overloaded("It is full.")), "the-id was not served, overloaded: It is full."),
        (lambda inner, _: inner.fail(ValueError("odd")), "the-id was not served, internal_error: odd"),
        (lambda _, request: request.cancel(), "the-id was not served, cancelled: "),
    ],
)
def test_a_failure(end: Callable[[MemoryExecutor, Any], None], expected: str) -> None:
    """One line with its reason; the error goes on as it is."""
    inner, came = MemoryExecutor(), list[Any]()
    request = TracedExecutor(inner).execute(JOB).addErrback(lambda failure: came.append(failure.value))
    with lines() as said:
        end(inner, request)
    assert said == [expected]
    assert isinstance(came[0], ExecutorError | ValueError | CancelledError)


def test_no_room() -> None:
    """A request that is refused before its body is read has a line too."""
    inner = MemoryExecutor()
    traced = TracedExecutor(inner)
    with lines() as said:
        traced.check_room()
    assert said == []
    inner.refuses = Draining("It stops.")
    with lines() as said, pytest.raises(Draining):
        traced.check_room()
    assert said == ["refused, draining: It stops."]
    assert traced.stats() is inner.figures
