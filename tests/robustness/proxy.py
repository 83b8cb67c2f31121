"""A socket between server and engine that knows each call to the engine and can make the k-th one fail."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPMessage, parse_headers
from pathlib import Path
from re import match
from typing import BinaryIO, cast
from urllib.parse import urlsplit

PIECE = 65536  # bytes of a stream that are passed on at once


class Way(StrEnum):
    """How a call fails.  Of a unix socket a refused connection ends with ECONNRESET and a reset one with an EOF."""

    REFUSED = "refused"  # the connection is closed before anything is read
    RESET = "reset"  # closed after the request was read
    CUT = "cut"  # the engine does it, half of its answer comes
    HUNG = "hung"  # no answer, and nothing is done
    LATE = "late"  # the engine does it, its answer does not come
    MALFORMED = "malformed"  # bytes that are not HTTP
    NOT_FOUND = "404"
    CONFLICT = "409"
    BROKEN = "500"


@dataclass(frozen=True)
class Call:
    """@ivar path: without the version of the API and without the query."""

    method: str
    path: str

    @property
    def attaches(self) -> bool:
        """Whether what follows is a raw stream."""
        return self.method == "POST" and self.path.endswith("/attach")

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def every(call: Call) -> bool:
    """Count all calls."""
    return True


def of_operations(call: Call) -> bool:
    """Not what the server asks now and then by itself: its watch and its sweep."""
    return str(call) not in ("GET /info", "GET /containers/json")


Deliver = Callable[[socket.socket, bytes], None]


class Proxy:
    """Listens on a socket until it is closed; a thread for each connection.

    @ivar hit: the call that failed since the last `arm`.
    @ivar calls: what was counted since then.
    @ivar deliver: passes on to the server what came from the engine on an attach stream.
    @ivar attached: changes the head of the engine's answer to an attach.
    """

    def __init__(self, path: Path) -> None:
        engine = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
        assert engine.scheme == "unix", "the proxy stands before a unix socket"
        self.url = f"unix://{path}"
        self.hit: Call | None = None
        self.calls: list[Call] = []
        self.deliver: Deliver = socket.socket.sendall
        self.attached: Callable[[bytes], bytes] = bytes
        self._engine = engine.path
        self._k = 0
        self._way = Way.RESET
        self._counted: Callable[[Call], bool] = every
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(100)
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, k: int, way: Way, counted: Callable[[Call], bool] = every) -> None:
        """Let the k-th call from now on fail, the first is 1; the others pass."""
        with self._lock:
            self._k, self._way, self._counted = k, way, counted
            self.calls, self.hit = [], None

    def disarm(self) -> Call | None:
        """From now on all calls pass; the one that did not, if any."""
        with self._lock:
            self._k = 0
            return self.hit

    def close(self) -> None:
        """Take the engine away."""
        with self._lock:
            for one in (self._listener, *self._open):
                _end(one)
        self._listener.close()

    def _fails(self, call: Call) -> Way | None:
        with self._lock:
            if not self._counted(call):
                return None
            self.calls.append(call)
            if len(self.calls) != self._k:
                return None
            self.hit = call
            return self._way

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_all, args=(near,), daemon=True).start()

    def _pass_all(self, near: socket.socket) -> None:
        far = socket.socket(socket.AF_UNIX)
        with self._lock:
            self._open |= {near, far}
        with near, far, near.makefile("rb") as requests, far.makefile("rb") as answers:
            with contextlib.suppress(OSError, _Ended):
                far.connect(self._engine)
                while True:
                    self._pass_one(near, requests, far, answers)
            with self._lock:
                self._open -= {near, far}

    def _pass_one(self, near: socket.socket, requests: BinaryIO, far: socket.socket, answers: BinaryIO) -> None:
        """One request and its answer; raises when the connection is at its end."""
        call = _peek(near)
        way = self._fails(call)
        if way is Way.REFUSED:
            raise _Ended
        head = _head(requests)
        request = head + _body(requests, head)
        if way is Way.RESET:
            raise _Ended
        if way is Way.HUNG:
            _wait_for_end(near)
        if way is Way.MALFORMED:
            near.sendall(b"\x00\xff this is not HTTP\r\n\r\n")
            raise _Ended
        if way in (Way.NOT_FOUND, Way.CONFLICT, Way.BROKEN):
            near.sendall(_refusal(way))
            return
        far.sendall(request)
        head = _head(answers)
        if way is None and call.attaches and _status(head) == 101:
            near.sendall(self.attached(head))
            self._stream(near, requests, far, answers)
        answer = head + _body(answers, head)
        if way is Way.CUT:
            near.sendall(answer[: len(answer) // 2])
            raise _Ended
        if way is Way.LATE:
            _wait_for_end(near)
        near.sendall(answer)

    def _stream(self, near: socket.socket, requests: BinaryIO, far: socket.socket, answers: BinaryIO) -> None:
        def downwards() -> None:
            with contextlib.suppress(OSError, ValueError):
                while data := _some(answers):
                    self.deliver(near, data)
            _end(near)

        threading.Thread(target=downwards, daemon=True).start()
        with contextlib.suppress(OSError):
            while data := _some(requests):
                far.sendall(data)
        _end(near)
        _end(far)
        raise _Ended


class _Ended(Exception):
    """Nothing more is passed on this connection."""


def _end(one: socket.socket) -> None:
    """Wake whoever reads or writes it; its thread closes it."""
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


def _peek(near: socket.socket) -> Call:
    """The next call, which stays unread."""
    seen = b""
    while b"\r\n" not in seen:
        seen = near.recv(PIECE, socket.MSG_PEEK)
        if not seen:
            raise _Ended
    method, target, _ = seen.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    versioned = match(r"/v[0-9.]+(/.*)", path := urlsplit(target).path)
    return Call(method, versioned[1] if versioned else path)


def _head(peer: BinaryIO) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = peer.readline()
        if not line:
            raise _Ended
        head += line
    return head


def _status(head: bytes) -> int | None:
    """Of an answer; None of a request."""
    return int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/") else None


def _body(peer: BinaryIO, head: bytes) -> bytes:
    """What follows this head, as it came."""
    fields: HTTPMessage = parse_headers(io.BytesIO(head.partition(b"\r\n")[2]))
    if "chunked" in fields.get("Transfer-Encoding", ""):
        return _chunks(peer)
    if "Content-Length" in fields:
        return peer.read(int(fields["Content-Length"]))
    ends_with_connection = _status(head) not in (None, 101, 204, 304)
    return peer.read() if ends_with_connection else b""


def _chunks(peer: BinaryIO) -> bytes:
    body = b""
    while True:
        line = peer.readline()
        body += line + peer.read(int(line, 16) + 2)
        if int(line, 16) == 0:
            return body


def _refusal(way: Way) -> bytes:
    """As the engine says it."""
    body = json.dumps({"message": f"the test wants {way} here"}).encode() + b"\n"
    head = f"HTTP/1.1 {way} Because\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode("ascii") + body


def _wait_for_end(near: socket.socket) -> None:
    """Say nothing until the server gives up."""
    while near.recv(PIECE):
        pass
    raise _Ended


def _some(peer: BinaryIO) -> bytes:
    """What is there, at least a byte, or nothing at the end."""
    return cast(io.BufferedReader, peer).read1(PIECE)
