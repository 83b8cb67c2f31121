"""The command line and the tree that it builds."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.application.service import IServiceCollection, IServiceMaker
from twisted.internet.testing import MemoryReactorClock
from twisted.plugin import getPlugins
from twisted.python import usage

from twisted_executor import tap
from twisted_executor.pool import WarmPool
from twisted_executor.services import Watchdog


def options(*arguments: str, **environ: str) -> tap.Options:
    """The parsed command line under these variables."""
    found = tap.Options(environ)
    found.parseOptions(list(arguments))
    return found


def pools(root: Any) -> list[WarmPool]:
    """All pools of a tree."""
    found = []
    for child in root:
        if IServiceCollection.providedBy(child):
            found += pools(child)
        elif isinstance(child, WarmPool):
            found.append(child)
    return found


def test_plugin() -> None:
    """twistd finds the server under its name, and its module is this one."""
    (maker,) = [plugin for plugin in getPlugins(IServiceMaker) if plugin.tapname == "script-executor"]
    assert maker.module == tap.__name__


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        ([], {}, ["tcp:8080:interface=127.0.0.1:backlog=1024"]),
        ([], {"HOST_PORT": "9000"}, ["tcp:9000:interface=127.0.0.1:backlog=1024"]),
        (["--port", "1"], {"HOST_PORT": "9000"}, ["tcp:1:interface=127.0.0.1:backlog=1024"]),
        (["--host", "::1"], {}, [r"tcp:8080:interface=\:\:1:backlog=1024"]),
        (["--listen", "unix:/run/x", "-l", "tcp:1"], {}, ["unix:/run/x", "tcp:1"]),
    ],
)
def test_where_it_listens(arguments: list[str], environ: dict[str, str], expected: list[str]) -> None:
    """Loopback unless told otherwise; an option wins over the environment."""
    assert options(*arguments, **environ)["listen"] == expected


def test_wrong_configuration() -> None:
    """Every problem is told at once, before anything starts."""
    with pytest.raises(usage.UsageError) as caught:
        options(POOL_SIZE="many", MEMORY_LIMIT="much")
    assert "POOL_SIZE" in str(caught.value)
    assert "MEMORY_LIMIT" in str(caught.value)


def test_wrong_port() -> None:
    """A port that is no number is told."""
    with pytest.raises(usage.UsageError):
        options("--port", "http")


def test_missing_keys() -> None:
    """A file of keys that is not there keeps the server from starting without any."""
    with pytest.raises(usage.UsageError, match="API_KEYS_FILE"):
        options(API_KEYS_FILE="/no/such/file")


def test_check_config(capsys: pytest.CaptureFixture[str]) -> None:
    """--check-config says that all is fine, and ends."""
    with pytest.raises(SystemExit) as caught:
        options("--check-config")
    assert caught.value.code == 0
    assert "fine" in capsys.readouterr().out


def test_config_help(capsys: pytest.CaptureFixture[str]) -> None:
    """--config-help explains every variable."""
    with pytest.raises(SystemExit):
        options("--config-help")
    out = capsys.readouterr().out
    assert "POOL_SIZE" in out
    assert "CUSTOM_IMAGE_PULL_RETRIES" in out


def test_tree() -> None:
    """Building the tree does no I/O; it has a pool for each image and one for all others, and a watchdog last."""
    reactor: Any = MemoryReactorClock()
    root: Any = tap.makeService(options(CUSTOM_POOLS="python:3.11=2,node=1", POOL_SIZE="4"), reactor)
    assert [(pool.stats().image, pool.stats().target) for pool in pools(root)] == [
        ("alpine:latest", 4),
        ("python:3.11", 2),
        ("node", 1),
        ("temporary", 0),
    ]
    assert isinstance(list(root)[-1], Watchdog)
    assert not reactor.tcpServers
    assert not reactor.unixClients
    assert not reactor.getDelayedCalls()


def test_listens() -> None:
    """The port is bound before the services start, on the address that was asked for."""
    reactor: Any = MemoryReactorClock()
    root: Any = tap.makeService(options("--port", "8123"), reactor)
    root.privilegedStartService()
    ((port, _, backlog, interface),) = reactor.tcpServers
    assert (port, interface, backlog) == (8123, "127.0.0.1", 1024)


def test_port_of_the_figures() -> None:
    """It is bound beside the main one where it is asked for, also as a socket."""
    for value, expected in (("9090", (9090, "127.0.0.1")), ("[::1]:9091", (9091, "::1"))):
        reactor: Any = MemoryReactorClock()
        root: Any = tap.makeService(options("--port", "8123", METRICS_LISTEN=value), reactor)
        root.privilegedStartService()
        assert [(port, interface) for port, _, _, interface in reactor.tcpServers] == [expected, (8123, "127.0.0.1")]
    reactor = MemoryReactorClock()
    root = tap.makeService(options(METRICS_LISTEN="unix:/run/x"), reactor)
    root.privilegedStartService()
    assert [path for path, *_ in reactor.unixServers] == ["/run/x"]


def test_wrong_port_of_the_figures() -> None:
    """A place that is none is told before anything starts."""
    with pytest.raises(usage.UsageError, match=r'METRICS_LISTEN="localhost:9090": It must be a port'):
        options(METRICS_LISTEN="localhost:9090")
