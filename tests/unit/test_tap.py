"""The command line and the tree that it builds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import Application, IServiceCollection, IServiceMaker
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, LogLevel
from twisted.plugin import getPlugins
from twisted.python import usage

from twisted_executor import tap
from twisted_executor.assembly import OPEN_FIGURES, own_logs
from twisted_executor.executor import Executor
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


@pytest.mark.parametrize("content", [None, "{", '{"auths": []}'])
def test_wrong_registry_auth_file(tmp_path: Path, content: str | None) -> None:
    """A file of passwords that cannot be used is told before anything starts, and found by --check-config."""
    path = tmp_path / "auth.json"
    if content is not None:
        path.write_text(content)
    for arguments in ((), ("--check-config",)):
        with pytest.raises(usage.UsageError, match=f"REGISTRY_AUTH_FILE {path}"):
            options(*arguments, REGISTRY_AUTH_FILE=str(path))


def test_image_refresh() -> None:
    """It is a service only where it was asked for, and stops before the pools."""
    for interval, there in (("", False), ("0", False), ("60", True)):
        root: Any = tap.makeService(options(IMAGE_REFRESH_INTERVAL=interval), MemoryReactorClock())
        names = [child.name for child in root]
        assert ("image refresh" in names) is there
        if there:
            assert pools(list(root)[: names.index("image refresh")])


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


def observer_of(root: Any) -> Any:
    """What twistd is given to log to."""
    application: Any = Application("test")
    root.setServiceParent(application)
    return application.getComponent(ILogObserver)


@pytest.mark.parametrize("target", ["", "unixgram:/no/such/socket", "udp:127.0.0.1:9", "tcp:127.0.0.1:9"])
def test_syslog(target: str) -> None:
    """It is started before all others and stopped after them, so that all of them can log; its losses are known."""
    reactor: Any = MemoryReactorClock()
    reactor.callFromThread = lambda *_: None
    root: Any = tap.makeService(options(SYSLOG=target), reactor)
    assert (next(iter(root)).name == "syslog") == bool(target)
    assert observer_of(root) is not None
    assert not reactor.getDelayedCalls()
    assert not reactor.tcpClients


def test_logs() -> None:
    """What a log has lost is there for the figures, by the name of the log."""
    reactor: Any = MemoryReactorClock()
    reactor.callFromThread = lambda *_: None
    logs = own_logs(options(SYSLOG="unixgram:/no/such/socket"), reactor)
    assert logs is not None
    assert logs.lost == {"syslog": 0}
    observer = logs.observer()
    assert logs.lost == {"standard": 0, "syslog": 0}
    (syslog,) = logs.services
    for number in range(10_001):
        observer({"log_level": LogLevel.info, "log_format": f"{number}"})
    assert logs.lost == {"standard": 0, "syslog": 1}
    assert not syslog.running


@pytest.mark.parametrize(("option", "value"), [("syslog", 1), ("logger", "x.y")])
def test_told_to_log_elsewhere(option: str, value: object) -> None:
    """twistd's own options win."""
    parsed = options(SYSLOG="udp:127.0.0.1:9")
    parsed.parent = {option: value}
    root: Any = tap.makeService(parsed, MemoryReactorClock())
    assert observer_of(root) is None
    assert next(iter(root)).name != "syslog"


@pytest.mark.parametrize(("parent", "name"), [({"nodaemon": False}, "twistd.log"), ({"logfile": "my.log"}, "my.log")])
def test_file(parent: dict[str, Any], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon logs to twistd's file, as JSON, and the file cannot grow without end."""
    monkeypatch.chdir(tmp_path)
    parsed = options()
    parsed.parent = parent
    logs = own_logs(parsed, MemoryReactorClock())
    assert logs is not None
    observer = logs.observer()
    observer({"log_level": LogLevel.info, "log_format": "hello"})
    assert json.loads((tmp_path / name).read_text())["message"] == "hello"
    for number in range(12):
        observer({"log_level": LogLevel.info, "log_format": f"{number}" + "x" * (1 << 20)})
    assert len(list(tmp_path.iterdir())) == 2
    logs._standard._write._outFile.close()  # type: ignore[union-attr]


def test_listens() -> None:
    """The port is bound before the services start, on the address that was asked for."""
    reactor: Any = MemoryReactorClock()
    root: Any = tap.makeService(options("--port", "8123"), reactor)
    root.privilegedStartService()
    ((port, _, backlog, interface),) = reactor.tcpServers
    assert (port, interface, backlog) == (8123, "127.0.0.1", 1024)


def executor_of(root: Any) -> Any:
    return next(child for child in root if isinstance(child, Executor))


def test_pools_are_watched() -> None:
    """Each standing pool says how it was asked for, and what its containers take to be made; the temporary does not."""
    reactor: Any = MemoryReactorClock()
    root: Any = tap.makeService(options(CUSTOM_POOLS="node=1"), reactor)
    stats = executor_of(root).stats()
    assert [(pool.image, pool.demand is not None) for pool in stats.pools] == [
        ("alpine:latest", True),
        ("node", True),
        ("temporary", False),
    ]


@pytest.mark.parametrize(("interval", "expected"), [("", True), ("5m", True), ("0", False)])
def test_canary(interval: str, expected: bool) -> None:
    """It stops before the executor and the pools that it uses; CANARY_INTERVAL=0 means none."""
    reactor: Any = MemoryReactorClock()
    root: Any = tap.makeService(options(CANARY_INTERVAL=interval), reactor)
    names = [child.name for child in root]
    assert ("canary" in names) == expected
    if expected:
        assert names.index("executor") < names.index("canary")


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


def test_port_of_the_figures_is_told_of(tmp_path: Path) -> None:
    """It never asks for a key: where others reach it, the log says so, also where the main port has keys."""
    (tmp_path / "keys").write_text("alice:alices-secret-0001\n")
    parsed = options(METRICS_LISTEN="0.0.0.0:9090", API_KEYS_FILE=str(tmp_path / "keys"))
    root: Any = tap.makeService(parsed, MemoryReactorClock())
    assert root.getServiceNamed("figures")._caution == OPEN_FIGURES
    assert root.getServiceNamed("server")._caution == ""


def test_time_goes_on() -> None:
    """The real reactor's clock is not the time of day, which somebody may set: deadlines would fire, or never come."""
    program = (
        "import time; from twisted.internet import reactor; from twisted_executor import tap; "
        "options = tap.Options({}); options.parseOptions([]); tap.makeService(options); "
        "assert abs(reactor.seconds() - time.monotonic()) < 1; "
        "reactor.callLater(0.05, reactor.stop); reactor.run()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
