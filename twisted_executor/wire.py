"""The agent's protocol, the server's side: frames to bytes, bytes to events.  Pure.

docs/agent-protocol.md is its description.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

from twisted_executor.boundaries import Job
from twisted_executor.errors import ProtocolError

VERSION = 1
CREDIT = 131072  # bytes of stdin that may be sent before the agent asks for more
MOST_PAYLOAD = 65536

START, SCRIPT, STDIN, CANCEL, PING = 1, 2, 3, 4, 5
HELLO, STDOUT, STDERR, CREDIT_FRAME, END, WIPED, PONG, FAULT = range(129, 137)

EXITED, TIMED_OUT, OUTPUT_LIMIT, CANCELLED = range(4)  # End.cause
STAGE_RUN, STAGE_EXEC, STAGE_SETUP = range(3)  # End.stage

_HEADER = struct.Struct(">B3xIQ")
_START = struct.Struct(">IQQQQII")
_END = struct.Struct(">BBHIIIQQQQQ")
_U32 = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Hello:
    """The agent is there.  @ivar facts: what it sees of its container, by the names of the protocol's page."""

    version: int
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Output:
    """Some of what the script wrote.  @ivar stream: 1 stdout, 2 stderr."""

    run: int
    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Credit:
    """So many more bytes of stdin may be sent."""

    run: int
    amount: int


@dataclass(frozen=True, slots=True)
class End:
    """The run has ended and all of its output has been sent.

    @ivar cause: EXITED, TIMED_OUT, OUTPUT_LIMIT or CANCELLED.  @ivar stage: STAGE_RUN, STAGE_EXEC or STAGE_SETUP.
    @ivar errno: why exec or the setting up failed, else 0.
    @ivar wait_status: of the main process, as wait(2) gives it.
    @ivar wall: seconds.  @ivar cpu: seconds.  @ivar memory_peak: bytes.
    """

    run: int
    cause: int
    stage: int
    errno: int
    wait_status: int
    oom_kills: int
    stdout_bytes: int
    stderr_bytes: int
    wall: float
    cpu: float
    memory_peak: int


@dataclass(frozen=True, slots=True)
class Wiped:
    """Nothing of the run is left, or something is and `reason` says what."""

    run: int
    clean: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a ping."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The agent gives up, and says why."""

    reason: str


Event: TypeAlias = Hello | Output | Credit | End | Wiped | Pong | Fault


# To the agent


def start_frames(job: Job, run: int, uid: int, output_limit: int, output_end: int) -> bytes:
    """START and the whole script.

    @param output_limit: bytes of each stream that are kept.  @param output_end: bytes at which the run ends.
    """
    texts = (*job.args, *job.env)
    fixed = _START.pack(
        uid,
        max(1, round(job.timeout * 1e6)),
        output_limit,
        output_end,
        len(job.script),
        len(job.args),
        len(job.env),
    )
    payload = fixed + b"".join(chain.from_iterable(zip(map(_U32.pack, map(len, texts)), texts, strict=True)))
    return _frame(START, run, payload) + b"".join(_chunks(SCRIPT, run, job.script))


def stdin_frames(run: int, data: bytes, last: bool) -> bytes:
    """Some stdin, at most what there is credit for; its end when it is the last."""
    return b"".join(_chunks(STDIN, run, data)) + (_frame(STDIN, run, b"") if last else b"")


def cancel_frame(run: int) -> bytes:
    """End the run now."""
    return _frame(CANCEL, run, b"")


def ping_frame() -> bytes:
    """Are you there?"""
    return _frame(PING, 0, b"")


def _frame(kind: int, run: int, payload: bytes) -> bytes:
    return _HEADER.pack(kind, len(payload), run) + payload


def _chunks(kind: int, run: int, data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), MOST_PAYLOAD):
        yield _frame(kind, run, data[at : at + MOST_PAYLOAD])


# From the agent


class AgentDecoder:
    """Bytes in, events out; what the protocol does not allow is a L{ProtocolError}."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def whole(self) -> bool:
        """Whether the bytes so far end with a frame."""
        return not self._buffer

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete."""
        buffer = self._buffer
        buffer += data
        events: list[Event] = []
        at = 0
        while len(buffer) - at >= _HEADER.size:
            kind, length, run = _HEADER.unpack_from(buffer, at)
            if buffer[at + 1] | buffer[at + 2] | buffer[at + 3] or length > MOST_PAYLOAD or kind not in _DECODERS:
                # Not what stands there: it may be a script's output.
                raise ProtocolError(f"The agent sent a frame that is none, of type {kind}.")
            until = at + _HEADER.size + length
            if len(buffer) < until:
                break
            events.append(_decoded(kind, run, bytes(buffer[at + _HEADER.size : until])))
            at = until
        del buffer[:at]
        return events


def _decoded(kind: int, run: int, payload: bytes) -> Event:
    if (run == 0) != (kind in (HELLO, PONG, FAULT)):
        raise ProtocolError(f"The agent sent a frame of type {kind} for run {run}.")
    try:
        return _DECODERS[kind](run, payload)
    except (struct.error, ValueError) as error:
        raise ProtocolError(
            f"The agent sent a frame of type {kind} with a payload that is none: {type(error).__name__}."
        ) from error


def _hello(run: int, payload: bytes) -> Hello:
    (version,) = _U32.unpack_from(payload)
    # Not splitlines(): a mount point's name may have a form feed or U+2028 in it.
    lines = payload[_U32.size :].decode("utf-8", "replace").split("\n")
    return Hello(version, {key: value for key, _, value in (line.partition(" ") for line in lines if line)})


def _output(stream: int) -> Callable[[int, bytes], Output]:
    def decode(run: int, payload: bytes) -> Output:
        if not payload:
            raise ValueError("it is empty")
        return Output(run, stream, payload)

    return decode


def _end(run: int, payload: bytes) -> End:
    cause, stage, zero, errno, status, kills, out, err, wall, cpu, peak = _END.unpack(payload)
    if zero or cause > CANCELLED or stage > STAGE_SETUP:
        raise ValueError(f"cause {cause}, stage {stage}")
    return End(run, cause, stage, errno, status, kills, out, err, wall / 1e9, cpu / 1e9, peak)


def _wiped(run: int, payload: bytes) -> Wiped:
    if payload[:1] not in (b"\0", b"\1"):
        raise ValueError("neither clean nor dirty")
    return Wiped(run, payload[0] == 1, payload[1:].decode("utf-8", "replace"))


def _pong(run: int, payload: bytes) -> Pong:
    if payload:
        raise ValueError("it is not empty")
    return Pong()


_DECODERS: Mapping[int, Callable[[int, bytes], Event]] = {
    HELLO: _hello,
    STDOUT: _output(1),
    STDERR: _output(2),
    CREDIT_FRAME: lambda run, payload: Credit(run, *_U32.unpack(payload)),
    END: _end,
    WIPED: _wiped,
    PONG: _pong,
    FAULT: lambda run, payload: Fault(payload.decode("utf-8", "replace")),
}
