"""Docker's multiplexed stream."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_executor.errors import ProtocolError
from twisted_executor.frames import StreamFrames


def frame(stream: int, data: bytes, length: int | None = None) -> bytes:
    """A frame of the engine's, or the begin of one that is longer."""
    return bytes([stream, 0, 0, 0]) + (len(data) if length is None else length).to_bytes(4, "big") + data


def joined(pieces: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Neighbouring pieces of one stream as one."""
    whole: list[tuple[int, bytes]] = []
    for stream, data in pieces:
        if whole and whole[-1][0] == stream:
            whole[-1] = (stream, whole[-1][1] + data)
        else:
            whole.append((stream, data))
    return whole


STREAM = frame(1, b"one") + frame(2, b"two") + frame(1, b"") + frame(2, b"") + frame(1, b"three")
PIECES = [(1, b"one"), (2, b"two"), (1, b"three")]


def test_pieces() -> None:
    """Each frame is a piece of its stream; an empty frame is none."""
    assert list(StreamFrames().feed(STREAM)) == PIECES


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_split_anywhere(cut: int) -> None:
    """Wherever the bytes are cut, the same bytes of the same streams come, in the same order."""
    frames = StreamFrames()
    assert joined([*frames.feed(STREAM[:cut]), *frames.feed(STREAM[cut:])]) == PIECES


def test_byte_by_byte() -> None:
    """Nothing waits: every byte of a payload comes out as it comes in."""
    frames = StreamFrames()
    pieces = [piece for at in range(len(STREAM)) for piece in frames.feed(STREAM[at : at + 1])]
    assert all(len(data) == 1 for _, data in pieces)
    assert joined(pieces) == PIECES


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=30)), max_size=6), st.data())
def test_any_frames_in_any_pieces(written: list[tuple[int, bytes]], data: st.DataObject) -> None:
    """What is written comes out, whatever its frames and however they are cut."""
    stream = b"".join(frame(*one) for one in written)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    frames = StreamFrames()
    pieces = [
        piece
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for piece in frames.feed(stream[begin:end])
    ]
    assert joined(pieces) == joined([(stream, data) for stream, data in written if data])


def test_length_costs_no_memory() -> None:
    """A frame that says it is 4 GiB long takes no memory for it, before or while its bytes pass."""
    frames = StreamFrames()
    data = bytes(65536)
    tracemalloc.start()
    try:
        passed = sum(len(piece) for _, piece in frames.feed(frame(1, b"", 2**32 - 1)))
        for _ in range(64):
            passed += sum(len(piece) for _, piece in frames.feed(data))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert passed == 64 * 65536
    assert most < 4 * 65536


@pytest.mark.parametrize("stream", [0, 4, 7, 255])
def test_unknown_stream(stream: int) -> None:
    """A frame of another stream than stdout and stderr is refused at its header; stdin's is never sent to us."""
    with pytest.raises(ProtocolError, match="has a frame that is none"):
        list(StreamFrames().feed(frame(stream, b"", 5)))


@pytest.mark.parametrize("at", [1, 2, 3])
def test_zeros(at: int) -> None:
    """The three bytes behind the stream's number are zero."""
    header = bytearray(frame(1, b"x"))
    header[at] = 1
    with pytest.raises(ProtocolError, match="has a frame that is none"):
        list(StreamFrames().feed(bytes(header)))


def test_pieces_before_a_wrong_frame() -> None:
    """What came before a wrong frame is handed on first."""
    pieces = StreamFrames().feed(frame(2, b"said") + frame(9, b""))
    assert next(pieces) == (2, b"said")
    with pytest.raises(ProtocolError):
        next(pieces)


def test_engine_error() -> None:
    """The engine's own text ends the stream, as a sentence, when all of it is there."""
    frames = StreamFrames()
    assert list(frames.feed(frame(3, b"out of", 12))) == []
    with pytest.raises(ProtocolError, match=r"^The engine says: out of luck\ufffd$"):
        list(frames.feed(b" luck\xff"))


def test_engine_error_without_end() -> None:
    """Of a text that does not end a thousand bytes are kept, and they are enough to give up."""
    frames = StreamFrames()
    assert list(frames.feed(frame(3, b"x" * 1000, 2**32 - 1))) == []
    with pytest.raises(ProtocolError, match=r"^The engine says: x{1024}$"):
        list(frames.feed(b"x" * 1000))


def test_empty_engine_error() -> None:
    """An error without text harms nobody."""
    assert list(StreamFrames().feed(frame(3, b"") + frame(1, b"x"))) == [(1, b"x")]


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_bytes(pieces: list[bytes]) -> None:
    """Whatever comes, there are pieces or a ProtocolError, never another exception."""
    frames = StreamFrames()
    for data in pieces:
        try:
            found = list(frames.feed(data))
        except ProtocolError:
            break
        assert all(stream in (1, 2) and piece for stream, piece in found)
