"""Faults on the stream between a server and its container, in mid-run: the right answer or a truthful one, soon."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator

import docker
import pytest

from tests.engine.server_process import ServerProcess
from tests.robustness.invariants import MIB, Invariants, held
from tests.robustness.proxy import Deliver, Proxy

TOLD = 3.0  # seconds until the client knows
LARGEST = 0xFFFFFFFF  # bytes, of a frame: the largest that its header can say
GROWTH = 20 * MIB  # what a server may hold more, whatever a length says
NOTE = b"the test is the engine's error"

Change = Callable[[bytes], bytes]


def framed(stream: int, payload: bytes, length: int | None = None) -> bytes:
    """A frame of the engine's."""
    return struct.pack(">B3xI", stream, len(payload) if length is None else length) + payload


# What comes in place of the first bytes that the engine sends in mid-run, which are a frame with one of the agent's.
CHANGES: dict[str, Change] = {
    "garbage": lambda data: b"\xa5\x00\xffHTTP/1.1 is not spoken here\r\n" * 100,
    "zeros": lambda data: bytes(4096),
    "the engine's error": lambda data: framed(3, NOTE),
    "a long engine's error": lambda data: framed(3, NOTE * 100000, LARGEST),
    "an unknown stream": lambda data: framed(7, data[8:]),
    "the agent's stderr": lambda data: framed(2, b"it is broken"),
    "a length of 4 GiB": lambda data: framed(1, data[8:], LARGEST),
    "a length of 4 GiB of the agent": lambda data: framed(1, struct.pack(">B3xIQ", 130, LARGEST, 1) + bytes(60000)),
    "a torn header": lambda data: data + framed(1, data[8:16]),
    "another run's": lambda data: framed(1, struct.pack(">B3xIQ", 130, 5, 1) + b"wrong"),
}


@pytest.fixture
def server(proxy: Proxy) -> Iterator[ServerProcess]:
    """With one container, whose stream goes through the proxy."""
    running = ServerProcess(DOCKER_HOST=proxy.url, POOL_SIZE="1")
    try:
        yield running.ready()
    finally:
        running.discard()


def once(proxy: Proxy, first: Deliver) -> None:
    """Deliver the next bytes so, and all that come after them as they are."""

    def deliver(near: socket.socket, data: bytes) -> None:
        proxy.deliver = socket.socket.sendall
        first(near, data)

    proxy.deliver = deliver


def cut(near: socket.socket, data: bytes) -> None:
    """Half of it, and the end."""
    near.sendall(data[: len(data) // 2])
    near.shutdown(socket.SHUT_RDWR)


def lost_in_mid_run(proxy: Proxy, server: ServerProcess, engine: docker.APIClient, deliver: Deliver) -> None:
    """A run whose stream breaks is told as lost, and all is as it was."""
    invariants = Invariants.of(server, engine)
    once(proxy, deliver)
    began = time.monotonic()
    answer = server.execute("echo begun; sleep 1; echo end")
    assert time.monotonic() - began < TOLD
    assert (answer.status, answer["code"], answer["stdout"]) == (503, "sandbox_lost", ""), answer
    assert int(answer.headers["Retry-After"]) >= 1
    invariants.check()
    assert held(server).memory < invariants.before.memory + GROWTH


def test_every_byte_alone(proxy: Proxy, server: ServerProcess, engine: docker.APIClient) -> None:
    """It does not matter how the engine's bytes are cut, neither to runs nor to the making of a container."""
    invariants = Invariants.of(server, engine)

    def alone(near: socket.socket, data: bytes) -> None:
        for at in range(len(data)):
            near.sendall(data[at : at + 1])

    proxy.deliver = alone
    text = "".join(f"{number}\n" for number in range(2000))
    assert server.output("cat", stdin=text) == text
    answer = server.execute("echo out; echo err >&2; exit 3")
    assert (answer["stdout"], answer["stderr"], answer["exit_code"]) == ("out\n", "err\n", 3)
    assert server.execute("echo begun; sleep 20", timeout=0.5)["stdout"] == "begun\n"
    assert server.output("echo replaced") == "replaced\n"
    invariants.check()


def test_cut_in_a_frame(proxy: Proxy, server: ServerProcess, engine: docker.APIClient) -> None:
    """The stream ends in the middle of a frame."""
    lost_in_mid_run(proxy, server, engine, cut)


@pytest.mark.parametrize("name", CHANGES)
def test_changed(proxy: Proxy, server: ServerProcess, engine: docker.APIClient, name: str) -> None:
    """The engine sends something else than the agent has said."""
    lost_in_mid_run(proxy, server, engine, lambda near, data: near.sendall(CHANGES[name](data)))


def test_length_without_an_end(proxy: Proxy, server: ServerProcess, engine: docker.APIClient) -> None:
    """A frame begins that is said to have 4 GiB, and nothing of it comes: at its limit the run is lost."""
    invariants = Invariants.of(server, engine)
    broken: list[socket.socket] = []

    def deliver(near: socket.socket, data: bytes) -> None:
        if not broken:
            broken.append(near)
            near.sendall(framed(1, b"", LARGEST))
        elif near is not broken[0]:
            near.sendall(data)

    proxy.deliver = deliver
    began = time.monotonic()
    answer = server.execute("echo begun; sleep 20", timeout=1)
    assert time.monotonic() - began < 1 + TOLD
    assert (answer.status, answer["code"], answer["stdout"]) == (503, "sandbox_lost", ""), answer
    invariants.check()
    assert held(server).memory < invariants.before.memory + GROWTH


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n"], ids=["1.1", "1.0"])
def test_200_instead_of_101(proxy: Proxy, server: ServerProcess, engine: docker.APIClient, head: bytes) -> None:
    """An engine that does not upgrade answers an attach with 200, and the stream follows all the same."""
    invariants = Invariants.of(server, engine)
    proxy.attached = lambda _: head + b"Content-Type: application/vnd.docker.raw-stream\r\n\r\n"
    assert server.execute("sleep 20", timeout=0.5)["status"] == "timeout"
    assert server.output("echo right") == "right\n"
    invariants.check()
