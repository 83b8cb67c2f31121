"""Too many requests, too many connections, too few descriptors, and clients that are slow or rude."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import docker
import pytest

from tests.engine.server_process import TWISTD, Answer, ServerProcess, wait_until
from tests.robustness.invariants import MIB, Invariants, held

HEAD = b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture
def begin(engine: docker.APIClient) -> Iterator[Callable[..., Invariants]]:
    """Starts a server; what must hold holds again at the end."""
    started: list[Invariants] = []

    def make(memory: int = 40 * MIB, twistd: Sequence[str] = TWISTD, **environ: str) -> Invariants:
        server = ServerProcess(twistd=twistd, **environ)
        started.append(Invariants.of(server.ready(), engine, memory=memory))
        return started[-1]

    yield make
    try:
        for watched in started:
            watched.check()
    finally:
        for watched in started:
            watched.server.discard()


def connected(server: ServerProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def request(script: str, **fields: object) -> bytes:
    """A whole one."""
    body = json.dumps({"script": script} | fields).encode()
    return HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def at_once(count: int, work: Callable[[int], Answer]) -> list[Answer]:
    """As many clients as there are numbers, all at the same time."""
    gate = threading.Barrier(count)

    def one(number: int) -> Answer:
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


def test_500_connections(begin: Callable[..., Invariants]) -> None:
    """On a pool of 4 with a line of 100 each gets its own answer, or is told when to come back."""
    server = begin(POOL_SIZE="4").server
    answers = at_once(500, lambda number: server.execute("echo $1", args=[str(number)]))
    for number, answer in enumerate(answers):
        if answer.status == 200:
            assert answer["stdout"] == f"{number}\n"
        else:
            assert (answer.status, answer["code"]) == (503, "overloaded")
            assert 1 <= int(answer.headers["Retry-After"]) <= 30
    codes = Counter(answer.status for answer in answers)
    assert codes[200] >= 100


def test_500_connections_with_room(begin: Callable[..., Invariants]) -> None:
    """With a line that is long enough all are served."""
    server = begin(POOL_SIZE="4", QUEUE_SIZE="500", QUEUE_TIMEOUT="60").server
    answers = at_once(400, lambda number: server.execute("echo $1", args=[str(number)]))
    assert [answer["stdout"] for answer in answers] == [f"{number}\n" for number in range(400)]


def test_few_descriptors(begin: Callable[..., Invariants]) -> None:
    """200 connections on 64 descriptors: those that there is room for are served, and nothing is broken after them."""
    watched = begin(twistd=["prlimit", "--nofile=64:64", *TWISTD], POOL_SIZE="2")
    server = watched.server
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(200)]
        time.sleep(0.5)
        for client in clients:
            try:
                client.sendall(request("echo hi"))
            except OSError:
                continue
        served = sum(b'"hi\\n"' in received(client) for client in clients)
    assert served >= 8
    assert held(server).descriptors <= 64


def received(client: socket.socket) -> bytes:
    """One answer, or nothing where the connection was closed."""
    try:
        return client.recv(65536)
    except OSError:
        return b""


def test_slow_bodies_hold_no_place(begin: Callable[..., Invariants]) -> None:
    """Requests whose bodies do not come take nothing from those that are complete."""
    server = begin(POOL_SIZE="1", QUEUE_SIZE="1").server
    with ExitStack() as stack:
        for _ in range(50):
            client = stack.enter_context(connected(server))
            client.sendall(HEAD + b'Content-Length: 1000\r\n\r\n{"script": ')
        assert server.output("echo hi") == "hi\n"


def test_no_room_is_told_before_the_body(begin: Callable[..., Invariants]) -> None:
    """When the line is full a client need not send its body to be told."""
    server = begin(POOL_SIZE="1", QUEUE_SIZE="1").server
    with (
        closing(connected(server)) as running,
        closing(connected(server)) as waiting,
        closing(connected(server)) as late,
    ):
        running.sendall(request("sleep 3; echo one"))
        wait_until(lambda: server.pool()["busy_containers"] == 1, "it runs")
        waiting.sendall(request("echo two"))
        wait_until(lambda: server.pool()["waiting_requests"] == 1, "it waits")
        late.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
        answer = late.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: " in answer
        assert b'"one\\n"' in running.recv(65536)
        assert b'"two\\n"' in waiting.recv(65536)


def test_pipelining(begin: Callable[..., Invariants]) -> None:
    """Requests that are sent without waiting for answers get them in order."""
    server = begin().server
    with closing(connected(server)) as client:
        client.sendall(b"".join(request(f"sleep 0.{3 - n}; echo {n}") for n in range(3)))
        text = b""
        while text.count(b"HTTP/1.1 200") < 3 or not text.endswith(b"}"):
            text += client.recv(65536)
    assert [text.count(b'"stdout":"%d' % n) for n in range(3)] == [1, 1, 1]
    assert sorted(range(3), key=lambda n: text.index(b'"stdout":"%d' % n)) == [0, 1, 2]


def test_half_close(begin: Callable[..., Invariants]) -> None:
    """A client that closes its side has left, as one that dies looks the same: its run ends."""
    server = begin(POOL_SIZE="1").server
    with closing(connected(server)) as client:
        client.sendall(request("sleep 30"))
        wait_until(lambda: server.pool()["busy_containers"] == 1, "it runs")
        client.shutdown(socket.SHUT_WR)
        wait_until(lambda: server.pool()["busy_containers"] == 0, "its run has ended", 5)


def test_clients_that_hang_up(begin: Callable[..., Invariants]) -> None:
    """However a client goes, its run ends and its container is used again."""
    server = begin(POOL_SIZE="4").server
    for cut in (10, len(HEAD), len(HEAD) + 30, None):
        with ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(connected(server)).sendall(request("sleep 30")[:cut])
            time.sleep(0.2)
    assert server.output("echo hi") == "hi\n"


@pytest.mark.parametrize("stream", ["stdout", pytest.param("stderr", marks=pytest.mark.long)])
def test_endless_output(begin: Callable[..., Invariants], stream: str) -> None:
    """64 runs that print without end do not make the server large."""
    watched = begin(POOL_SIZE="4", QUEUE_SIZE="100", QUEUE_TIMEOUT="120", CONTAINER_MAX_USES="1000")
    server = watched.server
    script = "yes" if stream == "stdout" else "yes >&2"
    with ThreadPoolExecutor(64) as threads:
        answers = [threads.submit(server.execute, script) for _ in range(64)]
        most = 0
        while not all(answer.done() for answer in answers):
            most = max(most, held(server).memory)
            time.sleep(0.02)
    assert {answer.result()["status"] for answer in answers} == {"output_limit"}
    assert most < watched.before.memory + 80 * MIB


def test_slow_readers(begin: Callable[..., Invariants]) -> None:
    """Clients that ask for much and read nothing are refused when the others' answers hold MAX_WAITING_BYTES."""
    watched = begin(POOL_SIZE="4", MAX_OUTPUT_BYTES="8m", MAX_WAITING_BYTES="64m", memory=100 * MIB)
    server = watched.server
    with ExitStack() as stack:
        heads = []
        for _ in range(64):
            client = stack.enter_context(connected(server))
            client.sendall(request("head -c 8000000 /dev/zero | tr '\\0' x"))
            heads.append(client.recv(len("HTTP/1.1 200")))
        assert set(heads) == {b"HTTP/1.1 200", b"HTTP/1.1 503"}
        assert heads.count(b"HTTP/1.1 200") < 64 / 4
        assert held(server).memory < watched.before.memory + 200 * MIB
        assert server.get("/health").status == 200


def test_many_in_a_row(begin: Callable[..., Invariants]) -> None:
    """Hundreds of runs, of two tenants, and not one error."""
    many_in_a_row(begin(POOL_SIZE="4").server, 300)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_10_000_in_a_row(begin: Callable[..., Invariants]) -> None:
    """Nor in ten thousand."""
    many_in_a_row(begin(POOL_SIZE="4").server, 10_000)


def many_in_a_row(server: ServerProcess, count: int) -> None:
    def work(number: int) -> None:
        answer = server.execute("echo $1", args=[str(number)], tenant=f"t{number % 2}")
        assert answer.status == 200, answer
        assert answer["stdout"] == f"{number}\n"

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(count)))


@pytest.mark.long
def test_a_byte_a_second(begin: Callable[..., Invariants]) -> None:
    """A request that comes so slowly is refused by its deadline, not kept for ever."""
    server = begin().server
    with closing(connected(server)) as client:
        began = time.monotonic()
        for byte in request("echo hi")[:60]:
            client.sendall(bytes([byte]))
            client.settimeout(1)
            try:
                answer = client.recv(65536)
                break
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert time.monotonic() - began < 20
