"""Messages that wait for syslog, and what brings them there."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Iterator
from socket import AF_INET, AF_UNIX
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from twisted_executor.logs.backlog import Backlog
from twisted_executor.logs.carriers import FLUSH_LIMIT, STEADY, Carrier, DatagramCarrier, StreamCarrier


def notice(lost: int) -> bytes:
    return b"lost %d" % lost


class BacklogMachine(RuleBasedStateMachine):
    """Beside a list that knows everything."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog(5, 100, notice)
        self.waiting: deque[bytes] = deque()
        self.lost = self.untold = 0

    @rule(message=st.binary(max_size=120))
    def put(self, message: bytes) -> None:
        fits = len(self.waiting) < 5 and sum(map(len, self.waiting)) + len(message) <= 100 and not self.untold
        assert self.backlog.put(message) == fits
        if fits:
            self.waiting.append(message)
        else:
            self.lost += 1
            self.untold += 1

    @rule()
    def missed(self) -> None:
        self.backlog.missed()
        self.lost += 1
        self.untold += 1

    @precondition(lambda self: self.waiting)
    @rule(count=st.integers(1, 6))
    def sent(self, count: int) -> None:
        first = self.backlog.first(count)
        assert first == list(self.waiting)[:count]
        self.backlog.sent(len(first))
        for _ in first:
            self.waiting.popleft()
        if self.untold:
            self.waiting.append(notice(self.untold))
            self.untold = 0

    @invariant()
    def agrees(self) -> None:
        assert (len(self.backlog), self.backlog.lost) == (len(self.waiting), self.lost)
        assert self.backlog.size == sum(map(len, self.waiting))
        assert len(self.backlog) <= 5


TestBacklog = BacklogMachine.TestCase


class Socket:
    """@ivar sent: what it took.  @ivar trouble: the errors of the next calls."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.trouble: list[int] = []
        self.closed = False
        self.family = AF_UNIX

    def send(self, data: bytes) -> int:
        assert not self.closed
        if self.trouble:
            raise OSError(self.trouble.pop(0), "trouble")
        self.sent.append(data)
        return len(data)

    def close(self) -> None:
        self.closed = True


class Bench:
    """A carrier of datagrams with sockets of ours."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.backlog = Backlog(10, 1000, notice)
        self.sockets: list[Socket] = []
        self.answers: list[Any] = []
        self.carrier = DatagramCarrier(self.backlog, self.connect, self.clock, lambda: 0.5)

    def connect(self) -> Deferred[Any]:
        if self.answers:
            return self.answers.pop(0)  # type: ignore[no-any-return]
        self.sockets.append(Socket())
        return succeed(self.sockets[-1])

    def log(self, *messages: bytes) -> None:
        for message in messages:
            self.backlog.put(message)
        self.carrier.wake()

    @property
    def sent(self) -> list[bytes]:
        return [message for one in self.sockets for message in one.sent]


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """What a carrier logs of itself."""
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def names(events: list[Any]) -> list[str]:
    return [event["event"] for event in events if "event" in event]


def test_before_the_start() -> None:
    """Events wait until there is a socket."""
    bench = Bench()
    bench.log(b"1", b"2")
    assert bench.sent == []
    bench.carrier.startService()
    assert bench.sent == [b"1", b"2"]
    bench.log(b"3")
    assert bench.sent[-1] == b"3"


def test_full_socket() -> None:
    """It is asked again soon; nothing is lost, nothing overtakes."""
    bench = Bench()
    bench.carrier.startService()
    bench.sockets[0].trouble = [errno.EAGAIN, errno.ENOBUFS]
    bench.log(b"1")
    bench.log(b"2")
    assert bench.sent == []
    bench.clock.pump([0.05, 0.05])
    assert bench.sent == [b"1", b"2"]
    assert len(bench.sockets) == 1
    assert bench.backlog.lost == 0


def test_socket_that_stays_full(logged: list[Any]) -> None:
    """It is asked twenty times a second at last; that it takes nothing is told, and that it does again."""
    bench = Bench()
    bench.carrier.startService()
    bench.clock.advance(1000.0)
    bench.sockets[0].trouble = [errno.EAGAIN] * 1000
    bench.log(b"1", b"2", b"3")
    bench.clock.pump([0.01] * 100)
    assert 20 < 1000 - len(bench.sockets[0].trouble) < 40
    assert names(logged) == []
    bench.clock.pump([0.05] * 200)
    bench.log(b"4")
    assert names(logged) == ["syslog_unreachable"]
    bench.sockets[0].trouble.clear()
    bench.clock.pump([0.05] * 100)
    assert bench.sent == [b"1", b"2", b"3", b"4"]
    assert names(logged) == ["syslog_unreachable"]
    bench.clock.advance(10.0)
    assert names(logged) == ["syslog_unreachable", "syslog_reached"]


def test_server_that_is_gone(logged: list[Any]) -> None:
    """A new socket is made, with growing pauses; the trouble and its end are told once each."""
    bench = Bench()
    bench.carrier.startService()
    bench.answers = [fail(OSError(errno.ENOENT, "No such file")) for _ in range(3)]
    bench.sockets[0].trouble = [errno.ECONNREFUSED]
    bench.log(b"1")
    assert bench.sockets[0].closed
    pauses = [call.getTime() for call in bench.clock.getDelayedCalls()]
    assert pauses == [0.2]
    bench.clock.pump([0.2, 0.4, 0.8])
    assert bench.sent == []
    bench.clock.advance(1.6)
    assert bench.sent == [b"1"]
    assert names(logged) == ["syslog_unreachable"]
    bench.clock.advance(STEADY)
    assert names(logged) == ["syslog_unreachable", "syslog_reached"]
    assert bench.backlog.lost == 0


def test_server_that_comes_and_goes(logged: list[Any]) -> None:
    """One that never lasts is told of once, and asked ever more slowly."""
    bench = Bench()
    bench.carrier.startService()
    for _ in range(8):
        bench.sockets[-1].trouble = [errno.ECONNREFUSED]
        bench.log(b"x")
        bench.clock.advance(5.0)
    assert names(logged) == ["syslog_unreachable"]
    assert len(bench.sockets) <= 9


def test_udp_that_says_so_later() -> None:
    """The error is of a message before; that one is lost, and told."""
    bench = Bench()
    bench.carrier.startService()
    bench.sockets[0].family = AF_INET
    bench.log(b"1")
    bench.sockets[0].trouble = [errno.ECONNREFUSED]
    bench.log(b"2")
    assert bench.backlog.lost == 1
    bench.clock.advance(0.2)
    assert bench.sent == [b"1", b"2", b"lost 1"]


def test_message_that_is_too_long() -> None:
    """What the system will never take does not hold the others."""
    bench = Bench()
    bench.carrier.startService()
    bench.sockets[0].trouble = [errno.EMSGSIZE]
    bench.log(b"1", b"2")
    assert bench.sent == [b"2", b"lost 1"]


def test_flush() -> None:
    """A stop waits for what is still to be sent, a second at most, and then closes."""
    for comes in (True, False):
        bench = Bench()
        bench.carrier.startService()
        bench.sockets[0].trouble = [errno.EAGAIN] * (1 if comes else 1000)
        bench.log(b"1")
        stopped = bench.carrier.stopService()
        assert not stopped.called
        bench.clock.pump([0.05] * (1 if comes else 20))
        assert stopped.called
        assert bench.sockets[0].closed
        assert bench.sent == ([b"1"] if comes else [])
        assert bench.clock.getDelayedCalls() == []
        bench.log(b"2")  # nobody sends it any more


def test_stop_while_connecting() -> None:
    """What is being opened is given up."""
    bench = Bench()
    cancelled = []
    bench.answers = [Deferred(cancelled.append)]
    bench.carrier.startService()
    assert bench.carrier.stopService().called
    assert len(cancelled) == 1
    assert bench.clock.getDelayedCalls() == []


class Endpoint:
    """@ivar refuses: the next connection is."""

    def __init__(self) -> None:
        self.protocols: list[Any] = []
        self.refuses = False

    def connect(self, factory: Any) -> Deferred[Any]:
        if self.refuses:
            return fail(ConnectionRefusedError())
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(StringTransport())
        self.protocols.append(protocol)
        return succeed(protocol)

    @property
    def transport(self) -> Any:
        return self.protocols[-1].transport

    def take(self) -> bytes:
        """What was written; the transport's buffer is empty then."""
        data: bytes = self.transport.value()
        self.transport.clear()
        self.transport.producer.resumeProducing()
        return data

    def lose(self) -> None:
        self.protocols[-1].connectionLost(Failure(ConnectionDone()))


def stream() -> tuple[Clock, Backlog, Endpoint, Carrier]:
    clock, backlog, endpoint = Clock(), Backlog(1000, 10_000, notice), Endpoint()
    carrier = StreamCarrier(backlog, endpoint, clock, lambda: 0.5)  # type: ignore[arg-type]
    return clock, backlog, endpoint, carrier


def put(backlog: Backlog, carrier: Carrier, *messages: bytes) -> None:
    for message in messages:
        backlog.put(message)
    carrier.wake()


def test_stream() -> None:
    """Frames with their lengths; the next ones go when these have gone."""
    _, backlog, endpoint, carrier = stream()
    put(backlog, carrier, b"before")
    carrier.startService()
    put(backlog, carrier, b"a")
    assert endpoint.take() == b"6 before"
    assert endpoint.take() == b"1 a"
    assert endpoint.take() == b""
    put(backlog, carrier, b"\xc3\xa9")
    assert endpoint.take() == b"2 \xc3\xa9"
    assert len(backlog) == 0


def test_stream_that_ends() -> None:
    """What was not on its way is sent again on the next connection, in order."""
    clock, backlog, endpoint, carrier = stream()
    carrier.startService()
    put(backlog, carrier, b"1")
    endpoint.take()
    put(backlog, carrier, b"2", b"3")
    endpoint.refuses = True
    endpoint.lose()
    put(backlog, carrier, b"4")
    clock.advance(0.2)
    endpoint.refuses = False
    clock.advance(0.4)
    assert len(endpoint.protocols) == 2
    assert endpoint.take() == b"1 21 31 4"


def test_stream_that_does_not_read() -> None:
    """Events wait, then they are lost and counted; what was lost is told when it reads again."""
    _, backlog, endpoint, carrier = stream()
    carrier.startService()
    put(backlog, carrier, *[b"x"] * 1005)
    assert backlog.lost == 5
    taken = b"".join(endpoint.take() for _ in range(20))
    assert taken == b"1 x" * 1000 + b"6 lost 5"


def test_stream_that_does_not_read_is_told_of(logged: list[Any]) -> None:
    """A server that is there and takes nothing is no better than one that is not."""
    clock, backlog, endpoint, carrier = stream()
    carrier.startService()
    clock.advance(1000.0)
    put(backlog, carrier, b"1", b"2")
    clock.advance(9.0)
    put(backlog, carrier, b"3")
    assert names(logged) == []
    clock.advance(1.0)
    put(backlog, carrier, b"4")
    assert names(logged) == ["syslog_unreachable"]
    while endpoint.take():
        pass
    clock.advance(10.0)
    assert names(logged) == ["syslog_unreachable", "syslog_reached"]


def test_stream_flush() -> None:
    """A stop waits until all has gone, then closes; it is no trouble."""
    clock, backlog, endpoint, carrier = stream()
    carrier.startService()
    put(backlog, carrier, b"1")
    stopped: Deferred[None] = carrier.stopService()
    assert not stopped.called
    assert endpoint.take() == b"1 1"
    assert stopped.called
    assert endpoint.transport.disconnecting
    endpoint.lose()
    assert clock.getDelayedCalls() == []


def test_stream_that_is_never_there() -> None:
    """A stop waits for it no longer than a second."""
    clock, backlog, endpoint, carrier = stream()
    endpoint.refuses = True
    carrier.startService()
    put(backlog, carrier, b"1")
    stopped: Deferred[None] = carrier.stopService()
    clock.pump([FLUSH_LIMIT / 4] * 4)
    assert stopped.called
    assert clock.getDelayedCalls() == []
