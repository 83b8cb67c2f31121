"""Docker's multiplexed stream: bytes in, pieces of stdout and stderr out.  Pure.

Each frame has a header of eight bytes: the stream (0 stdin, 1 stdout, 2 stderr, 3 the engine's own error text), three
zeros, and the length of what follows, big-endian (moby, api/pkg/stdcopy).
"""

from __future__ import annotations

from collections.abc import Iterator

from twisted_executor.errors import ProtocolError

STDOUT, STDERR = 1, 2
_HEADER = 8
_ENGINE_ERROR = 3
_MOST_ERROR = 1024  # bytes of the engine's error text that are kept


class StreamFrames:
    """A decoder.  It hands on what it gets as it gets it, so a frame's length costs no memory."""

    def __init__(self) -> None:
        self._header = b""
        self._stream = 0
        self._left = 0
        self._error = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The pieces in these bytes: the stream, 1 or 2, and some of what was written to it.

        @raise ProtocolError: they are not such a stream, or the engine tells of an error in it.
        """
        at = 0
        while at < len(data):
            if self._left == 0:
                at = self._begin(data, at)
                continue
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            if self._stream == _ENGINE_ERROR:
                self._engine_error(piece)
            else:
                yield self._stream, piece

    @property
    def whole(self) -> bool:
        """Whether the bytes so far end with a frame."""
        return not self._header and self._left == 0

    def _begin(self, data: bytes, at: int) -> int:
        """Take what is there of a header; the place behind it."""
        until = at + _HEADER - len(self._header)
        self._header += data[at:until]
        if len(self._header) == _HEADER:
            self._stream, self._left = self._header[0], int.from_bytes(self._header[4:], "big")
            if self._stream not in (STDOUT, STDERR, _ENGINE_ERROR) or any(self._header[1:4]):
                # Not what stands there: it may be a script's output.
                raise ProtocolError(f"The engine's stream has a frame that is none, of stream {self._stream}.")
            self._header = b""
        return min(until, len(data))

    def _engine_error(self, piece: bytes) -> None:
        self._error += piece[: _MOST_ERROR - len(self._error)]
        if self._left == 0 or len(self._error) == _MOST_ERROR:
            raise ProtocolError(f"The engine says: {self._error.decode('utf-8', 'replace')}")
