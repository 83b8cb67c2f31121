"""The listening ports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.web.resource import Resource
from twisted.web.server import Site

from twisted_executor import tap
from twisted_executor.keys import KeyFile
from twisted_executor.server import ServerService, is_local


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """What is logged as one."""
    found: list[str] = []

    def observe(event: LogEvent) -> None:
        if event["log_level"] is LogLevel.warn:
            found.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("unix:/run/executor.sock", True),
        ("unix:/run/executor.sock:mode=660", True),
        ("tcp:8080:interface=127.0.0.1:backlog=1024", True),
        ("tcp:8080:interface=127.0.0.2", True),
        ("tcp:8080:interface=localhost", True),
        (r"tcp:8080:interface=\:\:1:backlog=1024", True),
        ("tcp:8080", False),
        ("tcp:8080:interface=0.0.0.0:backlog=1024", False),
        ("tcp:8080:interface=10.0.0.1", False),
        (r"tcp:8080:interface=\:\:", False),
        (r"tcp:8080:interface=2001\:db8\:\:1", False),
        ("tcp:8080:interface=localhost.example", False),
    ],
)
def test_local(endpoint: str, local: bool) -> None:
    """Whether other machines reach an endpoint."""
    assert is_local(endpoint) == local


def test_caution(warnings: list[str]) -> None:
    """It is logged where others come in, and nowhere else."""
    reactor = MemoryReactorClock()
    endpoints = ("tcp:1", "tcp:2:interface=127.0.0.1", r"tcp:3:interface=\:\:")
    for caution in ("", "Beware."):
        ServerService(endpoints, Site(Resource()), lambda: None, 0.0, reactor, caution).startService()
    assert warnings == ["tcp:1: Beware.", r"tcp:3:interface=\:\:: Beware."]


@pytest.mark.parametrize("keys", [False, True])
def test_open_port(keys: bool, tmp_path: Path) -> None:
    """That anybody may run scripts is told of; with keys nobody else may."""
    options = tap.Options({})
    options.parseOptions([])
    if keys:
        (tmp_path / "keys").write_text("alice:alices-secret-0001\n")
        options.api_keys = KeyFile(str(tmp_path / "keys"))
    root = tap.makeService(options, MemoryReactorClock())
    assert (root.getServiceNamed("server")._caution == "") == keys
