"""How runs end, and that nothing of them lives on."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.agent.harness import Agent, processes
from twisted_executor import wire
from twisted_executor.wire import CANCELLED, EXITED, TIMED_OUT


def test_time_limit(box: Agent) -> None:
    """At its time limit a run ends, with the output so far."""
    run = box.run("echo so far; sleep 9", timeout=0.2)
    assert (run.end.cause, run.code, run.stdout) == (TIMED_OUT, -9, b"so far\n")
    assert 0.2 <= run.end.wall < 1
    assert run.wiped.clean


def test_time_limit_of_a_busy_run(box: Agent) -> None:
    """Processes that burn all time do not keep the agent from its duty."""
    run = box.run("for i in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done; wait", timeout=0.3)
    assert run.end.cause == TIMED_OUT
    assert 0.3 <= run.end.wall < 1
    assert run.end.cpu > 0.1
    assert run.wiped.clean


@pytest.mark.parametrize("script", ["sleep 9", "trap '' TERM HUP INT; while :; do :; done", "kill -STOP $$", "cat"])
def test_cancel(box: Agent, script: str) -> None:
    """CANCEL ends a run at once, whatever it does."""
    number = box.start("echo on; " + script)
    box.output(b"on\n")
    began = time.monotonic()
    box.send(wire.cancel_frame(number))
    event: wire.Event = box.event()
    while not isinstance(event, wire.Wiped):
        if isinstance(event, wire.End):
            assert (event.cause, os.waitstatus_to_exitcode(event.wait_status)) == (CANCELLED, -9)
        event = box.event()
    assert event.clean
    assert time.monotonic() - began < 1


def test_cancel_in_the_same_write(box: Agent) -> None:
    """A CANCEL may come with the START."""
    number = box.start("echo never; sleep 9", also=wire.cancel_frame(1))
    assert box.finish(number).end.cause == CANCELLED


LEFT_BEHIND = {
    "in the background": "sleep 99 &",
    "with its own output": "sleep 99 >/dev/null 2>&1 </dev/null &",
    "in a session of its own": "setsid sleep 99 &",
    "an orphan's orphan": "(setsid sh -c 'sleep 99 & sleep 98' &)",
    "deaf": "sh -c 'trap \"\" TERM HUP INT QUIT; while :; do sleep 9; done' &",
    "stopped": "sleep 99 & kill -STOP $!",
    "stopped and deaf": "/bin/probe stop &",
    "a hundred": "i=0; while [ $i -lt 100 ]; do sleep 99 & i=$((i+1)); done",
}


@pytest.mark.parametrize("script", LEFT_BEHIND.values(), ids=LEFT_BEHIND)
def test_left_behind(box: Agent, script: str) -> None:
    """When the main process ends all others are killed, wherever they have hidden."""
    began = time.monotonic()
    run = box.run(script + "\nsleep 0.05; echo done; exit 3")
    assert (run.end.cause, run.code) == (EXITED, 3)
    assert run.stdout.endswith(b"done\n")
    assert run.wiped.clean
    assert box.others() == []
    assert time.monotonic() - began < 5


def test_lingering_output(box: Agent) -> None:
    """What a child writes within a tenth of a second after the main process belongs to the run; it is not timed."""
    run = box.run("(sleep 0.03; echo late) &")
    assert run.stdout == b"late\n"
    assert run.end.wall < 0.03
    began = time.monotonic()
    waited = box.run("(sleep 5; echo never) &")
    assert waited.stdout == b""
    assert 0.1 <= time.monotonic() - began < 2


def test_no_lingering_without_output(box: Agent) -> None:
    """A run whose processes have closed their output has nothing to wait for."""
    began = time.monotonic()
    assert box.run("(sleep 9) >/dev/null 2>&1 & exec >/dev/null 2>&1").code == 0
    assert time.monotonic() - began < 0.09


def test_fork_bomb(box: Agent) -> None:
    """A fork bomb ends with its run, however it multiplies."""
    run = box.run("bomb() { bomb | bomb & }; bomb; while :; do sleep 1; done", timeout=0.7)
    assert run.end.cause == TIMED_OUT
    assert run.wiped.clean
    assert box.others() == []
    assert box.run("echo fine").stdout == b"fine\n"


def test_fork_bomb_that_outlives_its_parent(box: Agent) -> None:
    """Nor does one survive whose main process is gone."""
    run = box.run("bomb() { bomb | bomb & }; bomb; exit 0", timeout=5)
    assert run.end.cause == EXITED
    assert run.wiped.clean
    assert box.others() == []


def test_end_of_stdin_when_idle(box: Agent) -> None:
    """The end of the server is the end of the agent."""
    box.close_stdin()
    assert box.exit_code() == 0


@pytest.mark.parametrize("script", ["sleep 99", "yes", *LEFT_BEHIND.values()], ids=["quiet", "noisy", *LEFT_BEHIND])
def test_end_of_stdin_in_a_run(box: Agent, script: str) -> None:
    """The end of the server is the end of all: the agent, the script and what it has started."""
    box.start("echo on\n" + script + "\nsleep 99")
    box.output(b"on\n")
    time.sleep(0.05)
    namespace = box.namespace()
    assert processes(namespace)
    began = time.monotonic()
    box.close_stdin()
    assert box.exit_code() == 0
    assert time.monotonic() - began < 1
    assert processes(namespace) == []


@pytest.mark.long
@pytest.mark.timeout(180)
def test_silence(root: Path) -> None:
    """An agent that nobody speaks to leaves after 90 seconds; one that is spoken to, or runs a script, stays."""
    with Agent(root) as silent, Agent(root) as busy, Agent(root) as asked:
        for box in (silent, busy, asked):
            box.hello()
        number = busy.start("sleep 95; echo done", timeout=100)
        time.sleep(80)
        asked.send(wire.ping_frame())
        assert asked.event() == wire.Pong()
        assert silent.process.poll() is None
        time.sleep(12)
        assert silent.exit_code() == 0
        assert asked.process.poll() is None
        assert busy.finish(number).stdout == b"done\n"


def test_reader_that_is_gone(box: Agent) -> None:
    """A server that no longer reads, but holds the other side open, is gone as well."""
    box.start("yes")
    box.close_stdout()
    assert box.exit_code() == 0


def test_later_words_of_the_last_run(box: Agent) -> None:
    """STDIN and CANCEL that were on their way when their run ended do nothing, also when it is wiped."""
    number = box.start("exit 0")
    assert box.finish(number).code == 0
    box.send(wire.stdin_frames(number, b"late", last=True) + wire.cancel_frame(number) + wire.ping_frame())
    assert box.event() == wire.Pong()
    assert box.run("cat", stdin=b"mine").stdout == b"mine"


OOM_COUNTERS = {
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n",
    "memory.events": "low 0\nhigh 0\nmax 9\noom 9\noom_kill {}\noom_group_kill 9\n",
}


@pytest.mark.parametrize(("name", "text"), OOM_COUNTERS.items(), ids=["1", "2"])
def test_oom_kills(root: Path, name: str, text: str) -> None:
    """The growth of the counter in the run is told, on both versions of control groups."""
    counter = f"sys/fs/cgroup/{name}"
    with Agent(root, setup=f"mkdir sys/fs/cgroup/memory; printf '{text.format(3)}' >{counter}") as box:
        box.hello()
        assert box.run("true").end.oom_kills == 0
        number = box.start("echo on; read x")
        box.output(b"on\n")
        (box.files / counter).write_text(text.format(5))
        assert box.finish(number).end.oom_kills == 2
        assert box.run("true").end.oom_kills == 0


def test_stream_that_stays_open(box: Agent) -> None:
    """A run ends when nobody of it lives, though something still holds its streams, like a message in a socket."""
    run = box.start("echo first; echo second >&2; exec sleep 9")
    box.output(b"first\n")
    held = [os.open(f"/proc/{box.others()[0]}/fd/{number}", os.O_WRONLY) for number in (1, 2)]
    try:
        box.send(wire.cancel_frame(run))
        ended = box.finish(run)
        assert (ended.end.cause, ended.end.stdout_bytes, ended.end.stderr_bytes) == (CANCELLED, 6, 7)
        assert ended.wiped.clean
        assert box.run("echo next").stdout == b"next\n"
    finally:
        for number in held:
            os.close(number)
