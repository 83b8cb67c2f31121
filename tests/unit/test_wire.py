"""The agent's protocol: frames to bytes, bytes to events."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_executor import wire
from twisted_executor.boundaries import Job
from twisted_executor.errors import ProtocolError
from twisted_executor.wire import AgentDecoder, Credit, End, Event, Fault, Hello, Output, Pong, Wiped

RUN = 0x0102030405060708
MOST_START = 2 << 20


def frame(kind: int, run: int, payload: bytes, zeros: bytes = bytes(3)) -> bytes:
    """A frame by the protocol's page, written here a second time on purpose."""
    return bytes([kind]) + zeros + len(payload).to_bytes(4, "big") + run.to_bytes(8, "big") + payload


def end_frame(cause: int = 0, stage: int = 0, zero: int = 0) -> bytes:
    """An END in which every number differs from the others."""
    numbers = (2, 256, 1, 3, 4, 5_000_000_000, 6_500_000_000, 7)
    return frame(133, RUN, struct.pack(">BBHIIIQQQQQ", cause, stage, zero, *numbers))


# To the agent


@dataclass
class Sent:
    """A frame of the server's."""

    kind: int
    run: int
    payload: bytes


def parsed(data: bytes) -> list[Sent]:
    """What the server sends, read by the protocol's page."""
    frames = []
    while data:
        length = int.from_bytes(data[4:8], "big")
        assert data[1:4] == bytes(3)
        assert length <= (MOST_START if data[0] == 1 else 65536)
        assert len(data) >= 16 + length
        frames.append(Sent(data[0], int.from_bytes(data[8:16], "big"), data[16 : 16 + length]))
        data = data[16 + length :]
    return frames


def strings(data: bytes) -> list[bytes]:
    """Strings with their length before them; nothing may be left."""
    found = []
    while data:
        length = int.from_bytes(data[:4], "big")
        assert len(data) >= 4 + length
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    return found


WORDS = st.binary(max_size=20).map(lambda word: word.replace(b"\0", b"-"))
JOBS = st.builds(
    Job,
    script=st.binary(min_size=1, max_size=200),
    timeout=st.floats(0.000001, 86400),
    request_id=st.just("r"),
    args=st.lists(WORDS, max_size=4).map(tuple),
    env=st.lists(WORDS, max_size=4).map(tuple),
)


@given(
    job=JOBS,
    run=st.integers(1, 2**64 - 1),
    uid=st.integers(1, 2**32 - 2),
    limit=st.integers(0, 2**64 - 1),
    end=st.integers(0, 2**64 - 1),
)
def test_start_is_read_back(job: Job, run: int, uid: int, limit: int, end: int) -> None:
    """A reader who has only the protocol's page finds everything of the job in START and SCRIPT."""
    start, *script = parsed(wire.start_frames(job, run, uid, limit, end))
    assert (start.kind, start.run) == (1, run)
    fixed = struct.unpack(">IQQQQII", start.payload[:44])
    assert fixed[0] == uid
    assert fixed[1] == pytest.approx(job.timeout * 1e6, abs=0.6)
    assert fixed[2:] == (limit, end, len(job.script), len(job.args), len(job.env))
    texts = strings(start.payload[44:])
    assert texts[: len(job.args)] == list(job.args)
    assert texts[len(job.args) :] == list(job.env)
    assert {(part.kind, part.run) for part in script} == {(2, run)}
    assert b"".join(part.payload for part in script) == job.script


def test_shortest_time_limit() -> None:
    """A time limit below a microsecond is one microsecond, as none at all would end the run before it starts."""
    start = parsed(wire.start_frames(Job(b"x", 1e-9, "r"), RUN, 1, 0, 0))[0]
    assert start.payload[4:12] == (1).to_bytes(8, "big")


@pytest.mark.parametrize(
    ("size", "sizes"),
    [(1, [1]), (65536, [65536]), (65537, [65536, 1]), (131072, [65536, 65536])],
)
def test_pieces(size: int, sizes: list[int]) -> None:
    """A script and stdin go in pieces of at most 65,536 bytes, in order, none of them empty."""
    data = bytes(at % 251 for at in range(size))
    script = parsed(wire.start_frames(Job(data, 1, "r"), RUN, 1, 0, 0))[1:]
    stdin = parsed(wire.stdin_frames(RUN, data, last=False))
    assert {part.kind for part in script} == {2}
    assert {part.kind for part in stdin} == {3}
    for parts in (script, stdin):
        assert [len(part.payload) for part in parts] == sizes
        assert b"".join(part.payload for part in parts) == data


def test_end_of_stdin() -> None:
    """The end of stdin is an empty STDIN behind the rest; without the end there is none."""
    assert parsed(wire.stdin_frames(RUN, b"ab", last=True)) == [Sent(3, RUN, b"ab"), Sent(3, RUN, b"")]
    assert parsed(wire.stdin_frames(RUN, b"", last=True)) == [Sent(3, RUN, b"")]
    assert wire.stdin_frames(RUN, b"", last=False) == b""


def test_short_frames() -> None:
    """CANCEL names its run; PING belongs to none."""
    assert wire.cancel_frame(RUN) == frame(4, RUN, b"")
    assert wire.ping_frame() == frame(5, 0, b"")


# From the agent

EVENTS: list[tuple[bytes, Event]] = [
    (
        frame(129, 0, b"\0\0\0\1uid_map 0 0 1,5 5 1\ninterfaces \nwritable /tmp\n"),
        Hello(1, {"uid_map": "0 0 1,5 5 1", "interfaces": "", "writable": "/tmp"}),
    ),
    (frame(130, RUN, b"out"), Output(RUN, 1, b"out")),
    (frame(131, RUN, b"e" * 65536), Output(RUN, 2, b"e" * 65536)),
    (frame(132, RUN, b"\0\1\0\0"), Credit(RUN, 65536)),
    (end_frame(3, 1), End(RUN, 3, 1, 2, 256, 1, 3, 4, 5.0, 6.5, 7)),
    (frame(134, RUN, b"\1"), Wiped(RUN, True, "")),
    (frame(134, RUN, b"\0/tmp is not \xff"), Wiped(RUN, False, "/tmp is not \ufffd")),
    (frame(135, 0, b""), Pong()),
    (frame(136, 0, b"a reason"), Fault("a reason")),
]
STREAM = b"".join(data for data, _ in EVENTS if len(data) < 1000)
STREAM_EVENTS = [event for data, event in EVENTS if len(data) < 1000]


@pytest.mark.parametrize(("data", "event"), EVENTS)
def test_each_event(data: bytes, event: Event) -> None:
    """Every frame of the agent's is one event with all that it says."""
    assert AgentDecoder().feed(data) == [event]


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_split_anywhere(cut: int) -> None:
    """Wherever the stream is cut in two, the same events come."""
    decoder = AgentDecoder()
    assert decoder.feed(STREAM[:cut]) + decoder.feed(STREAM[cut:]) == STREAM_EVENTS


def test_byte_by_byte() -> None:
    """An event comes with the last of its bytes, not later."""
    decoder, told, until = AgentDecoder(), 0, 0
    ends = []
    for data, _ in EVENTS:
        until += len(data)
        ends.append(until)
    stream = b"".join(data for data, _ in EVENTS)
    for at in range(len(stream)):
        told += len(decoder.feed(stream[at : at + 1]))
        assert told == sum(end <= at + 1 for end in ends)


@given(st.data())
def test_split_in_many(data: st.DataObject) -> None:
    """In any number of pieces, empty ones too, the same events come."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(STREAM)), max_size=30)))
    decoder = AgentDecoder()
    events = [
        event
        for begin, end in zip([0, *cuts], [*cuts, len(STREAM)], strict=True)
        for event in decoder.feed(STREAM[begin:end])
    ]
    assert events == STREAM_EVENTS


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(frame(0, RUN, b""), id="type 0"),
        pytest.param(frame(1, RUN, b""), id="a type of the server's"),
        pytest.param(frame(128, RUN, b""), id="a type below the first"),
        pytest.param(frame(137, RUN, b""), id="a type above the last"),
        pytest.param(frame(130, RUN, b"x", b"\1\0\0"), id="first zero"),
        pytest.param(frame(130, RUN, b"x", b"\0\1\0"), id="second zero"),
        pytest.param(frame(130, RUN, b"x", b"\0\0\1"), id="third zero"),
        pytest.param(frame(130, RUN, b"")[:4] + b"\0\1\0\1" + bytes(8), id="too long"),
        pytest.param(frame(130, RUN, b"")[:4] + b"\xff\xff\xff\xff" + bytes(8), id="4 GiB"),
        pytest.param(frame(130, 0, b"x"), id="output of no run"),
        pytest.param(frame(133, 0, end_frame()[16:]), id="end of no run"),
        pytest.param(frame(129, RUN, b"\0\0\0\1"), id="greeting of a run"),
        pytest.param(frame(135, RUN, b""), id="pong of a run"),
        pytest.param(frame(136, RUN, b"x"), id="fault of a run"),
        pytest.param(frame(129, 0, b"\0\0\0"), id="greeting without version"),
        pytest.param(frame(130, RUN, b""), id="empty stdout"),
        pytest.param(frame(131, RUN, b""), id="empty stderr"),
        pytest.param(frame(132, RUN, b"\0\0\0"), id="short credit"),
        pytest.param(frame(132, RUN, b"\0\0\0\0\0"), id="long credit"),
        pytest.param(end_frame(cause=4), id="unknown cause"),
        pytest.param(end_frame(stage=3), id="unknown stage"),
        pytest.param(end_frame(zero=1), id="end's zeros"),
        pytest.param(frame(133, RUN, end_frame()[16:-1]), id="short end"),
        pytest.param(frame(133, RUN, end_frame()[16:] + b"\0"), id="long end"),
        pytest.param(frame(134, RUN, b""), id="empty wiped"),
        pytest.param(frame(134, RUN, b"\2"), id="neither clean nor dirty"),
        pytest.param(frame(135, 0, b"x"), id="pong with payload"),
    ],
)
def test_refused(data: bytes) -> None:
    """What the protocol's page does not allow is a ProtocolError that names the agent."""
    with pytest.raises(ProtocolError, match="The agent sent a frame"):
        AgentDecoder().feed(data)


def test_refused_early() -> None:
    """A header that is wrong is refused when it is there, not when its payload is."""
    with pytest.raises(ProtocolError):
        AgentDecoder().feed(frame(1, RUN, bytes(10))[:16])


def test_events_before_the_error_are_lost() -> None:
    """A wrong frame spoils what came with it: the connection is of no more use."""
    with pytest.raises(ProtocolError):
        AgentDecoder().feed(frame(135, 0, b"") + frame(0, 0, b""))


def test_facts() -> None:
    """A fact is a key and the rest of its line; a line without a space has no value; odd bytes do no harm."""
    hello = AgentDecoder().feed(frame(129, 0, b"\0\0\0\2a b c\nd\n\n\xff \xfe\n"))[0]
    assert hello == Hello(2, {"a": "b c", "d": "", "\ufffd": "\ufffd"})


def test_only_a_newline_ends_a_fact() -> None:
    """Other characters that end lines for Python can stand in the name of a mount point."""
    name = "/a\x0bb\x0cc\x1cd\re\x85f\u2028g"
    hello = AgentDecoder().feed(frame(129, 0, b"\0\0\0\1writable " + name.encode() + b"\n"))[0]
    assert hello == Hello(1, {"writable": name})


SENT_KINDS = st.sampled_from(range(127, 139))
LIKELY_FRAMES = st.builds(
    frame,
    SENT_KINDS,
    st.sampled_from([0, RUN]),
    st.one_of(st.binary(max_size=8), st.binary(min_size=56, max_size=56)),
    st.sampled_from([bytes(3), bytes(3), bytes(3), b"\0\0\1"]),
)


@given(st.lists(st.one_of(st.binary(max_size=40), LIKELY_FRAMES), max_size=8))
def test_any_bytes(pieces: list[bytes]) -> None:
    """Whatever comes, there are events or a ProtocolError, never another exception."""
    decoder = AgentDecoder()
    for piece in pieces:
        try:
            events = decoder.feed(piece)
        except ProtocolError:
            break
        assert all(isinstance(event, Hello | Output | Credit | End | Wiped | Pong | Fault) for event in events)
