"""What the agent makes of a server that keeps to the protocol, and of one that does not."""

from __future__ import annotations

import contextlib
import errno
import random
import struct
from pathlib import Path

import pytest

from tests.agent.harness import FIRST_UID, Agent, processes
from twisted_executor import wire
from twisted_executor.boundaries import Job
from twisted_executor.wire import CREDIT, STAGE_EXEC, Credit, End, Fault, Output, Pong, Wiped

START, SCRIPT, STDIN, CANCEL, PING = range(1, 6)


def frame(kind: int, run: int, payload: bytes = b"", length: int | None = None, zeros: bytes = bytes(3)) -> bytes:
    """A frame by the protocol's page."""
    size = len(payload) if length is None else length
    return bytes([kind]) + zeros + size.to_bytes(4, "big") + run.to_bytes(8, "big") + payload


def start(
    run: int = 1,
    strings: bytes = b"",
    uid: int = FIRST_UID,
    time_limit: int = 5_000_000,
    script: int = 8,
    args: int = 0,
    env: int = 0,
) -> bytes:
    """A START for a script of eight bytes."""
    fixed = struct.pack(">IQQQQII", uid, time_limit, 1000, 8000, script, args, env)
    return frame(START, run, fixed + strings)


def string(data: bytes, length: int | None = None) -> bytes:
    """A string of a START, or the begin of one that says that it is longer."""
    return (len(data) if length is None else length).to_bytes(4, "big") + data


SLEEPS = start() + frame(SCRIPT, 1, b"sleep 9\n")
ENDS = start() + frame(SCRIPT, 1, b"exit 0\n\n")

FORBIDDEN = {
    "type 0": frame(0, 0),
    "type 6": frame(6, 0),
    "a type of the agent's": frame(130, 1, b"x"),
    "type 255": frame(255, 0),
    "first zero": frame(PING, 0, zeros=b"\1\0\0"),
    "second zero": frame(PING, 0, zeros=b"\0\1\0"),
    "third zero": frame(PING, 0, zeros=b"\0\0\1"),
    "a long START": frame(START, 1, length=(2 << 20) + 1),
    "a long SCRIPT": start() + frame(SCRIPT, 1, length=65537),
    "a long STDIN": SLEEPS + frame(STDIN, 1, length=65537),
    "4 GiB": frame(PING, 0, length=2**32 - 1),
    "START of run 0": start(run=0),
    "START before the script": start() + start(run=2),
    "START in a run": SLEEPS + start(run=2),
    "START twice": start() + start(),
    "an empty START": frame(START, 1),
    "a short START": frame(START, 1, start()[16:-1]),
    "START as root": start(uid=0),
    "START as nobody": start(uid=2**32 - 1),
    "no script": start(script=0),
    "endless time": start(time_limit=2**64 - 1),
    "fewer args": start(args=1),
    "fewer env": start(args=1, env=1, strings=string(b"a")),
    "more strings": start(args=1, strings=string(b"a") + string(b"b")),
    "one byte more": start(args=1, strings=string(b"a") + b"\0"),
    "a short length": start(args=1, strings=b"\0\0\0"),
    "a long string": start(args=1, strings=string(b"abc", 4)),
    "a very long string": start(args=1, strings=string(b"abc", 2**32 - 1)),
    "a zero in an arg": start(args=1, strings=string(b"a\0b")),
    "a zero in env": start(env=1, strings=string(b"A=\0")),
    "as many args as can be": start(args=2**32 - 1),
    "as many env as can be": start(env=2**32 - 1),
    "SCRIPT without START": frame(SCRIPT, 1, b"x"),
    "SCRIPT of run 0": frame(SCRIPT, 0, b"x"),
    "SCRIPT of another run": start() + frame(SCRIPT, 2, b"x"),
    "an empty SCRIPT": start() + frame(SCRIPT, 1),
    "more SCRIPT": start() + frame(SCRIPT, 1, b"123456789"),
    "more SCRIPT in a run": SLEEPS + frame(SCRIPT, 1, b"x"),
    "SCRIPT after the run": ENDS + frame(SCRIPT, 1, b"x"),
    "STDIN of no run": frame(STDIN, 1, b"x"),
    "STDIN of run 0": frame(STDIN, 0, b"x"),
    "STDIN before the script": start() + frame(STDIN, 1, b"x"),
    "STDIN of another run": SLEEPS + frame(STDIN, 2, b"x"),
    "STDIN after its end": SLEEPS + frame(STDIN, 1) + frame(STDIN, 1, b"x"),
    "two ends of STDIN": SLEEPS + frame(STDIN, 1) + frame(STDIN, 1),
    "CANCEL of no run": frame(CANCEL, 1),
    "CANCEL of run 0": frame(CANCEL, 0),
    "CANCEL of another run": SLEEPS + frame(CANCEL, 2),
    "CANCEL with payload": SLEEPS + frame(CANCEL, 1, b"x"),
    "PING of a run": frame(PING, 1),
    "PING with payload": frame(PING, 0, b"x"),
}


@pytest.mark.parametrize("data", FORBIDDEN.values(), ids=FORBIDDEN)
def test_forbidden(box: Agent, data: bytes) -> None:
    """What the page does not allow is answered by FAULT with a reason; the agent exits, and what runs dies with it."""
    namespace = box.namespace()
    box.send(data)
    event = box.event()
    while isinstance(event, End | Wiped):
        event = box.event()
    assert isinstance(event, Fault)
    assert 5 < len(event.reason) <= 256
    assert box.exit_code() == 70
    assert processes(namespace) == []


def test_stdin_beyond_credit(box: Agent) -> None:
    """Who sends more stdin than there is credit for is not served."""
    box.send(SLEEPS)
    box.send(frame(STDIN, 1, bytes(65536)) * 2)
    while not box.quiet(0.1):
        event = box.event()
        assert isinstance(event, Credit)
        box.send(frame(STDIN, 1, bytes(event.amount)))
    box.send(frame(STDIN, 1, bytes(65536)))
    event = box.event()
    while isinstance(event, Credit):
        event = box.event()
    assert isinstance(event, Fault)
    assert box.exit_code() == 70


def test_credit_is_each_runs_own(box: Agent) -> None:
    """What one run left of its credit has no part in the next."""
    for _ in range(3):
        run = box.run("exit 0", stdin=bytes(CREDIT))
        assert run.granted <= CREDIT


def test_ping_without_reading(box: Agent) -> None:
    """A server that asks and asks and never reads is given up; the agent's memory is bounded."""
    with contextlib.suppress(BrokenPipeError):
        box.send(wire.ping_frame() * 20_000)
    assert box.exit_code() == 70


@pytest.mark.parametrize("step", [1, 2, 3, 7, 15, 16, 17, 31, 100])
def test_any_split(box: Agent, step: int) -> None:
    """However the server's bytes arrive, they are the same frames."""
    job = Job(b"printf '%s|' \"$@\" $A; cat", 10, "r", args=(b"one", b"two"), env=(b"A=three",))
    data = wire.ping_frame() + wire.start_frames(job, 7, FIRST_UID, 1000, 8000)
    data += wire.stdin_frames(7, b"four", last=True) + wire.ping_frame()
    for at in range(0, len(data), step):
        box.send(data[at : at + step])
    events: list[wire.Event] = []
    while not events or not isinstance(events[-1], Wiped):
        events.append(box.event())
    assert events[0] == Pong()
    assert events.count(Pong()) == 2
    assert b"".join(event.data for event in events if isinstance(event, Output)) == b"one|two|three|four"


def test_largest_start(box: Agent) -> None:
    """A START of two megabytes is accepted, again and again; what the kernel does not take is told as its errno."""
    value = b"x" * 100_000
    env = tuple(b"N%02d=%s" % (at, value) for at in range(20))
    assert box.run("echo ${#N00} ${#N18}", env=env[:-1]).stdout == b"100000 100000\n"
    rest = (2 << 20) - 44 - sum(4 + len(text) for text in env) - 4 - 5
    for _ in range(2):
        run = box.run("echo ${#N00} ${#LAST}", env=(*env, b"LAST=" + b"y" * rest))
        if run.end.stage == STAGE_EXEC:
            assert run.end.errno == errno.E2BIG  # a quarter of the stack's limit is too little
        else:
            assert run.stdout == f"100000 {rest}\n".encode()
        assert run.wiped.clean


def test_memory(box: Agent) -> None:
    """However many runs there were, and however large, the agent stays small."""
    env = tuple(b"N%02d=%s" % (at, b"x" * 100_000) for at in range(20))
    box.run("true", env=env, stdin=bytes(CREDIT))
    before = box.resident()
    for _ in range(20):
        box.run("true", env=env, stdin=bytes(CREDIT))
    assert box.resident() <= before + (1 << 20)
    assert before < 1 << 20


def test_noise(root: Path) -> None:
    """Whatever bytes come, the agent ends by itself: with FAULT, or when its stdin does."""
    dice = random.Random(1)
    whole = (
        start(args=1, strings=string(b"a"))
        + frame(SCRIPT, 1, b"cat\n\n\n\n\n")
        + frame(STDIN, 1, b"abc")
        + frame(STDIN, 1)
    )
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(dice.randrange(4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        with Agent(root) as box:
            box.hello()
            with contextlib.suppress(BrokenPipeError):
                box.send(bytes(data[: dice.randrange(len(data) + 1)]) + dice.randbytes(dice.randrange(20)))
            box.close_stdin()
            assert box.exit_code() in (0, 70)
