"""Stdin against credit, output within its limits, and servers that are slow."""

from __future__ import annotations

import time

import pytest

from tests.agent.harness import Agent
from twisted_executor import wire
from twisted_executor.wire import CANCELLED, CREDIT, EXITED, OUTPUT_LIMIT, Credit, End, Output, Pong, Wiped

PATTERN = bytes(at * 7 % 251 for at in range(251 * 100))


def pattern(size: int) -> bytes:
    """So many bytes, any piece of which tells where it stood."""
    return (PATTERN * (size // len(PATTERN) + 1))[:size]


@pytest.mark.parametrize("size", [0, 1, 65536, CREDIT - 1, CREDIT, CREDIT + 1, 8 << 20])
def test_stdin(box: Agent, size: int) -> None:
    """Stdin of any size goes through the script and comes back; credit is given for what was sent, never for more."""
    data = pattern(size)
    run = box.run("cat", stdin=data, keep=16 << 20, most=64 << 20)
    assert run.stdout == data
    assert run.end.stdout_bytes == size
    assert run.granted <= size
    assert run.wiped.clean


@pytest.mark.parametrize("step", [1, 4096, 65535])
def test_stdin_in_odd_pieces(box: Agent, step: int) -> None:
    """However stdin is cut into frames, it is the same for the script, also where the agent's ring begins anew."""
    data = pattern(step * 40)
    number = box.start("sleep 0.05; cat", keep=16 << 20)
    sent = received = granted = 0
    while received < len(data) or sent < len(data):
        while sent < len(data) and sent + step <= CREDIT + granted:
            box.send(wire.stdin_frames(number, data[sent : sent + step], last=sent + step == len(data)))
            sent += step
        event = box.event()
        if isinstance(event, Credit):
            granted += event.amount
        else:
            assert isinstance(event, Output)
            assert event.data == data[received : received + len(event.data)]
            received += len(event.data)
    while not isinstance(event, Wiped):
        event = box.event()
    assert event.clean


def test_no_stdin(box: Agent) -> None:
    """Without stdin there is a real end of file, at once."""
    run = box.run("cat; read x; echo $?")
    assert run.stdout == b"1\n"


def test_stdin_that_stays_open(box: Agent) -> None:
    """What comes is handed on when it comes; the script ends when it likes."""
    number = box.start("read a; echo got $a; read b; echo got $b")
    box.send(wire.stdin_frames(number, b"one\n", last=False))
    box.output(b"got one\n")
    box.send(wire.stdin_frames(number, b"two\n", last=False))
    box.output(b"got two\n")
    event = box.event()
    while isinstance(event, Credit):
        event = box.event()
    assert isinstance(event, End)


@pytest.mark.parametrize("script", ["exec <&-; sleep 0.1; echo done", "sleep 0.1; echo done", "head -c 5; sleep 0.1"])
def test_script_that_ignores_stdin(box: Agent, script: str) -> None:
    """A script that does not read its stdin ends as it likes."""
    run = box.run(script, stdin=pattern(4 << 20))
    assert run.code == 0
    assert run.stdout in (b"done\n", pattern(5))
    assert run.wiped.clean
    assert box.run("cat", stdin=b"x").stdout == b"x"


def test_closed_stdin_gives_credit(box: Agent) -> None:
    """What a script does not want is asked for all the same, so that the server is rid of it."""
    data = pattern(1 << 20)
    run = box.run("exec <&-; sleep 0.5", stdin=data)
    assert run.granted >= len(data) - CREDIT


@pytest.mark.parametrize("script", ["sleep 9", "head -c 100000 >/dev/null; sleep 9"])
def test_stdin_is_its_own_runs(box: Agent, script: str) -> None:
    """What a run has not read of its stdin, which may be a secret, never comes to the next."""
    number = box.start(script)
    box.send(wire.stdin_frames(number, b"s" * CREDIT, last=True))
    while not box.quiet(0.1):
        box.event()
    box.send(wire.cancel_frame(number))
    while not isinstance(box.event(), Wiped):
        pass
    assert box.run("cat", stdin=b"mine").stdout == b"mine"
    assert box.run("cat").stdout == b""


def test_stdin_waits_in_the_server(box: Agent) -> None:
    """While the script does not read there is no credit beyond what its pipe holds; all of it arrives later."""
    number = box.start("sleep 0.4; wc -c")
    box.send(wire.stdin_frames(number, pattern(CREDIT), last=False))
    granted = 0
    while not box.quiet(0.1):
        event = box.event()
        assert isinstance(event, Credit)
        granted += event.amount
    assert 0 < granted <= 65536
    box.send(wire.stdin_frames(number, b"", last=True))
    box.output(str(CREDIT).encode())


def test_output_kept(box: Agent) -> None:
    """Of each stream an exact prefix is kept; the rest is counted, and the script does not notice."""
    run = box.run("yes a | tr -d '\\n' | head -c 300000; echo z; head -c 5 /proc/version >&2", keep=100_001)
    assert run.stdout == b"a" * 100_001
    assert run.end.stdout_bytes == 300_002
    assert len(run.stderr) == run.end.stderr_bytes == 5
    assert (run.end.cause, run.code) == (EXITED, 0)


@pytest.mark.parametrize("keep", [0, 1, 5, 6])
def test_output_kept_exactly(box: Agent, keep: int) -> None:
    """The limit is exact to the byte, for each stream by itself."""
    run = box.run("printf hello; printf HELLO >&2", keep=keep)
    assert (run.stdout, run.stderr) == (b"hello"[:keep], b"HELLO"[:keep])
    assert (run.end.stdout_bytes, run.end.stderr_bytes) == (5, 5)


@pytest.mark.parametrize("stream", [1, 2])
def test_output_end(box: Agent, stream: int) -> None:
    """At the second limit, on either stream, the run ends; what was kept is exact."""
    run = box.run(f"yes 0123456 >&{stream}", keep=10_000, most=1_000_000)
    kept, other = (run.stdout, run.stderr) if stream == 1 else (run.stderr, run.stdout)
    assert run.end.cause == OUTPUT_LIMIT
    assert run.code == -9
    assert kept == b"0123456\n" * 1250
    assert other == b""
    assert 1_000_000 <= max(run.end.stdout_bytes, run.end.stderr_bytes) < 1_200_000
    assert run.wiped.clean


def test_much_output(box: Agent) -> None:
    """Megabytes on both streams at once come whole."""
    run = box.run(
        "(yes out | head -c 4000000) & (yes err | head -c 3000000 >&2); wait",
        keep=16 << 20,
        most=64 << 20,
    )
    assert run.stdout == b"out\n" * 1_000_000
    assert run.stderr == b"err\n" * 750_000


def test_slow_reader_is_heard(box: Agent) -> None:
    """A server that does not read stops the script, not the agent: it still hears CANCEL."""
    number = box.start("yes", keep=1 << 40, most=1 << 50)
    time.sleep(0.3)
    stopped, used = box.written(), box.cpu_time()
    time.sleep(0.2)
    assert box.written() == stopped
    assert box.cpu_time() - used < 0.1  # it waits, and does not ask again and again
    box.send(wire.cancel_frame(number))
    run = box.finish(number)
    assert run.end.cause == CANCELLED
    assert run.stdout == (b"y\n" * len(run.stdout))[: len(run.stdout)]
    assert len(run.stdout) == run.end.stdout_bytes
    assert run.wiped.clean


def test_script_that_reads_its_own_output(box: Agent) -> None:
    """A script that takes its output away from the agent keeps nobody waiting but itself."""
    script = "yes >/proc/self/fd/1 & while :; do head -c 65536 </proc/self/fd/1 >/dev/null; done"
    run = box.run(script, timeout=0.4, most=1 << 50)
    assert run.end.cause == wire.TIMED_OUT
    assert 0.4 <= run.end.wall < 1
    assert run.wiped.clean


def test_slow_reader_and_the_time_limit(box: Agent) -> None:
    """A server that does not read does not stretch the time limit."""
    number = box.start("yes", keep=1 << 40, most=1 << 50, timeout=0.2)
    time.sleep(0.5)
    run = box.finish(number)
    assert run.end.cause == wire.TIMED_OUT
    assert 0.2 <= run.end.wall < 0.45


def test_ping(box: Agent) -> None:
    """A PING is answered, idle or in a run, also behind output that nobody has read yet."""
    box.send(wire.ping_frame() * 3)
    assert [box.event() for _ in range(3)] == [Pong()] * 3
    number = box.start("echo hi; sleep 0.3")
    box.send(wire.ping_frame())
    events = [box.event() for _ in range(4)]
    assert Pong() in events
    assert Output(number, 1, b"hi\n") in events


def test_output_is_not_kept_back(box: Agent) -> None:
    """What a script writes comes while it runs, not at its end."""
    number = box.start("echo hi; sleep 5")
    began = time.monotonic()
    assert box.event() == Output(number, 1, b"hi\n")
    assert time.monotonic() - began < 2
    box.send(wire.cancel_frame(number))
    assert box.finish(number).end.cause == CANCELLED
