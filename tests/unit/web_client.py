"""A client in memory: bytes through a connection of the server, on a clock that the test moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from twisted_executor.boundaries import Answered, Outcome
from twisted_executor.errors import ExecutorError
from twisted_executor.keys import Keys
from twisted_executor.metrics.collectors import Watched
from twisted_executor.metrics.registry import Metrics
from twisted_executor.metrics.wrappers import MeteredExecutor
from twisted_executor.status import StatusBoard
from twisted_executor.testing import MemoryExecutor, MemoryHealth
from twisted_executor.web import API, WebRules

MOST = 1000


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which has to be JSON and be said to be."""
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.body)


def parse(data: bytes, heads: int = 0) -> list[Answer]:
    """All answers in these bytes; a leftover is a failure.  @param heads: how many of the first have no body."""
    answers = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        assert separator, head
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, words = first.split(" ", 2)
        assert version in ("HTTP/1.1", "HTTP/1.0")
        assert words == HTTPStatus(int(status)).phrase
        pairs = [line.split(": ", 1) for line in lines]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs), f"a header is there twice: {pairs}"
        if status == "100":
            continue
        length = 0 if heads > len(answers) else int(headers["content-length"])
        assert len(data) >= length
        answers.append(Answer(int(status), headers, data[:length]))
        data = data[length:]
    return answers


def error_kinds(kind: type[ExecutorError] = ExecutorError) -> Iterator[type[ExecutorError]]:
    """All errors that a client can be told of."""
    yield kind
    for special in kind.__subclasses__():
        yield from error_kinds(special)


class Connection:
    """One connection to the server."""

    def __init__(self, site: Any, peer: str = "192.0.2.1") -> None:
        self.transport = StringTransport()
        self.protocol = site.buildProtocol(IPv4Address("TCP", peer, 50000))
        self.protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """Bytes arrive, unless the server has closed."""
        if not self.closed:
            self.protocol.dataReceived(data)

    def request(
        self, method: str, path: str, *headers: str, body: bytes = b"", host: str | None = "localhost:8080"
    ) -> Answer:
        """Send a whole request; the only answer to it."""
        length = (f"Content-Length: {len(body)}",) if body else ()
        hosts = () if host is None else (f"Host: {host}",)
        lines = (f"{method} {path} HTTP/1.1", *hosts, *headers, *length, "", "")
        self.transport.clear()
        self.send("\r\n".join(lines).encode("latin-1") + body)
        (answer,) = self.answers(heads=method == "HEAD")
        return answer

    def post(self, body: object, *headers: str) -> None:
        """Send a script's request; its answer may come later."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = (
            "POST /execute HTTP/1.1", "Host: localhost:8080", "Content-Type: application/json",
            f"Content-Length: {len(raw)}", *headers, "", "",
        )  # fmt: skip
        self.send("\r\n".join(head).encode() + raw)

    def answers(self, heads: int = 0) -> list[Answer]:
        """What has come back."""
        return parse(self.transport.value(), heads)

    @property
    def closed(self) -> bool:
        """The server has closed it."""
        return self.transport.disconnecting or self.transport.disconnected

    def leave(self) -> None:
        """The client goes."""
        self.protocol.connectionLost(Failure(ConnectionDone()))


class Server:
    """The server without ports and sandboxes."""

    def __init__(
        self,
        answer: Outcome | None = None,
        keys: Keys | None = None,
        hosts: tuple[str, ...] = (),
        allowed: tuple[str, ...] = (),
        canonical: frozenset[str] = frozenset(),
        waiting: int = 10 * MOST,
        connections: int = 1000,
        console: bool = False,
    ) -> None:
        self.clock = Clock()
        self.executor = MemoryExecutor(answer)
        self.health = MemoryHealth()
        watched = Watched(self.executor.stats)
        self.metrics = Metrics(CollectorRegistry(), self.clock, watched, ("alpine:latest", "python:3.11"))
        rules = WebRules(30.0, MOST, waiting, connections, hosts, keys, allowed, canonical, console)
        numbers = count(1)
        metered = MeteredExecutor(self.executor, self.metrics.counters.ran)
        board = StatusBoard(self.clock, self.executor.stats, self.health, "1.2.3")
        self.api = API(metered, self.health, self.metrics, board, rules, lambda: f"fresh-{next(numbers)}")
        self.answered: list[Answered] = []
        listeners = (self.metrics.counters.answered, self.answered.append, board.answered)
        self.site = self.api.site(self.clock, *listeners)
        self.figures = self.api.figures_site(self.clock, self.metrics.counters.answered)

    def connect(self, peer: str = "192.0.2.1") -> Connection:
        """A new connection."""
        return Connection(self.site, peer)

    def request(self, method: str, path: str, *headers: str, **more: Any) -> Answer:
        """One request on a connection of its own."""
        return self.connect().request(method, path, *headers, **more)

    def execute(self, body: object, *headers: str) -> Answer:
        """One script whose end is known already."""
        connection = self.connect()
        connection.post(body, *headers)
        (answer,) = connection.answers()
        return answer
