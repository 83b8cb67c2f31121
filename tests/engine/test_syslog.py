"""The log at a real rsyslogd, over each transport, and through its troubles; and what twistd can be told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.rsyslog import Rsyslog
from tests.engine.server_process import PROJECT, TWISTD, ServerProcess, wait_until

KINDS = ("unixgram", "udp", "tcp")


@pytest.fixture
def rsyslog() -> Iterator[Rsyslog]:
    """One that runs."""
    with tempfile.TemporaryDirectory(prefix="rsyslog-") as folder:
        running = Rsyslog(Path(folder))
        try:
            yield running.start()
        finally:
            running.stop()


class Lines:
    """The process of syslog_lines."""

    def __init__(self, target: str, most: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.syslog_lines", target, str(most)],
            cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def send(self, *lines: str) -> None:
        """Have these logged, and wait until they have been, one after another."""
        assert self._process.stdin
        assert self._process.stdout
        for line in lines:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            assert self._process.stdout.readline() == ".\n"

    def end(self) -> int:
        """End it; how many it has lost."""
        out, _ = self._process.communicate(timeout=30)
        word, count = out.split()
        assert (word, self._process.returncode) == ("lost", 0)
        return int(count)


@pytest.fixture
def lines() -> Iterator[Callable[[str, int], Lines]]:
    """Starts them."""
    started: list[Lines] = []

    def begin(target: str, most: int) -> Lines:
        started.append(Lines(target, most))
        return started[-1]

    yield begin
    for one in started:
        if one._process.poll() is None:
            one._process.kill()
            one._process.communicate()


def messages(rsyslog: Rsyslog) -> list[str]:
    """The lines that have arrived."""
    return [one["message"].removeprefix("\ufeff") for one in rsyslog.events("line")]


@pytest.mark.parametrize("kind", KINDS)
def test_server(rsyslog: Rsyslog, kind: str, start: Callable[..., ServerProcess]) -> None:
    """A run is an event at syslog, with its fields, as it is in the standard log; and so is the end of the server."""
    server = start(SYSLOG=rsyslog.targets[kind]).ready()
    answer = server.execute("echo größe", stdin="é")
    event = rsyslog.wait_for("run")
    assert (event["app"], event["process"], event["priority"]) == ("script-executor", str(server.process.pid), "30")
    assert event["input"] == {"unixgram": "imuxsock", "udp": "imudp", "tcp": "imptcp"}[kind]
    assert event["fields"].startswith("[executor@32473 ")
    assert f'request_id="{answer["request_id"]}"' in event["fields"]
    assert 'namespace="twisted_executor.logs.requests"' in event["fields"]
    (line,) = [json.loads(line) for line in server.log.splitlines() if '"event": "run"' in line]
    assert event["message"] == line["message"]
    assert event["time"] == line["time"]
    server.stop()
    wait_until(lambda: any("SIGTERM" in one["message"] for one in rsyslog.events()), "the end is told")


@pytest.mark.parametrize("kind", KINDS)
def test_restart(rsyslog: Rsyslog, kind: str, lines: Callable[[str, int], Lines]) -> None:
    """What is logged while rsyslogd is away arrives when it is back, in order; what is too much is counted and told."""
    process = lines(rsyslog.targets[kind], 20)
    process.send("before")
    wait_until(lambda: messages(rsyslog) == ["before"], "the first line")
    rsyslog.stop()
    sent = [f"{number}" for number in range(40)]
    process.send(*sent)
    rsyslog.start()
    told = rsyslog.wait_for("events_lost")
    process.send("after")
    wait_until(lambda: messages(rsyslog)[-1] == "after", "the last line")
    if kind != "udp":  # where it was the first to be lost
        rsyslog.wait_for("syslog_unreachable")
    lost = process.end()
    arrived = messages(rsyslog)[1:-1]
    assert arrived == sent[sent.index(arrived[0]) : sent.index(arrived[0]) + len(arrived)]
    # One event of ours waited among them.  UDP says nothing of the first that is lost, TCP's system had taken some.
    assert 20 <= len(arrived) + 1 <= 21 or kind != "unixgram"
    assert lost + len(arrived) >= len(sent) - 1
    assert told["message"].endswith("events before this one were lost")


@pytest.mark.parametrize("kind", ["unixgram", "tcp"])
def test_frozen(rsyslog: Rsyslog, kind: str, lines: Callable[[str, int], Lines]) -> None:
    """A server that takes nothing blocks nobody; whatever is not lost arrives when it goes on."""
    process = lines(rsyslog.targets[kind], 1000)
    process.send("before")
    wait_until(lambda: messages(rsyslog) == ["before"], "the first line")
    rsyslog.send(signal.SIGSTOP)
    sent = [f"{number} {'x' * 6000}" for number in range(1600)]
    process.send(*sent)
    rsyslog.send(signal.SIGCONT)
    wait_until(lambda: rsyslog.events("events_lost"), "the losses are told")
    lost = process.end()
    assert lost > 0
    wait_until(lambda: len(messages(rsyslog)) == 1 + len(sent) - lost, "all others")
    assert messages(rsyslog)[1:] == sent[: len(sent) - lost]


def test_no_server(start: Callable[..., ServerProcess]) -> None:
    """Without a syslog server the scripts run, and the standard log says once what is wrong."""
    server = start(SYSLOG="unixgram:/no/such/socket").ready()
    assert server.output("echo hi") == "hi\n"
    assert server.log.count('"syslog_unreachable"') == 1
    assert "No such file or directory" in server.log
    assert server.stop() == -signal.SIGTERM


def named(observer: str) -> tuple[str, ...]:
    """twistd with another log observer."""
    return (*TWISTD, "--logger", f"twisted_executor.logs.{observer}")


@pytest.fixture
def told() -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers by a command of its own."""
    started: list[ServerProcess] = []

    def begin(*twistd: str, **environ: str) -> ServerProcess:
        started.append(ServerProcess(twistd=twistd, **environ))
        return started[-1].ready()

    yield begin
    for server in started:
        server.discard()


def test_named_observers(told: Callable[..., ServerProcess], rsyslog: Rsyslog) -> None:
    """twistd --logger takes ours by name; they heed LOG_LEVEL."""
    for name, mark in (("json_observer", '"event": "run"'), ("text_observer", " info twisted_executor.logs.")):
        server = told(*named(name), LOG_FORMAT="text" if name == "json_observer" else "json", LOG_LEVEL="debug")
        server.execute("true")
        server.stop()
        assert mark in server.log
        assert "GET /health/ready: 200" in server.log
    server = told(*named("syslog_observer"), SYSLOG=rsyslog.targets["tcp"])
    server.execute("true")
    rsyslog.wait_for("run")
    server.stop()
    wait_until(lambda: any("SIGTERM" in one["message"] for one in rsyslog.events()), "the end is told")
    assert "run of" not in server.log


def test_syslog_observer_without_a_target() -> None:
    """It says what is missing."""
    command = [*named("syslog_observer"), "-n", "--pidfile=", "script-executor"]
    done = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "SYSLOG does not say where to log to" in done.stderr


def test_twistd_syslog(told: Callable[..., ServerProcess]) -> None:
    """With twistd's own --syslog the server logs nowhere else."""
    server = told(*TWISTD, "--syslog")
    assert server.output("echo hi") == "hi\n"
    assert server.stop() == -signal.SIGTERM
    assert server.log == ""
