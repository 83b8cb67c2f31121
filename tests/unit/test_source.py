"""The source over an engine in memory, for what a real one does rarely."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from twisted_executor.boundaries import ContainerSummary, Created, EngineInfo, ImageInfo
from twisted_executor.confinement import Confinement
from twisted_executor.errors import AgentMissing, EngineError, EngineTimeout, EngineUnavailable, ImageUnavailable
from twisted_executor.run import RunPolicy
from twisted_executor.source import ATTACH_LIMIT, INSTANCE_LABEL, PARALLEL, EngineSource, SourcePolicy

MIB = 1 << 20


class Engine:
    """One that does everything at once, but for removals, which end when the test says so.

    @ivar start_error: what start fails with.  @ivar filling: that of the volume, which ends when the test says so.
    """

    def __init__(self) -> None:
        self.created: list[str] = []
        self.removing: list[Deferred[None]] = []
        self.start_error: Exception | None = None
        self.filling: Deferred[None] = Deferred()
        self.removed: list[str] = []
        self.found: tuple[ContainerSummary, ...] = ()

    def containers(self, labels: Any) -> Deferred[tuple[ContainerSummary, ...]]:
        return succeed(self.found)

    def fill_volume(self, volume: str, image: str, name: str, labels: Any, agent: bytes) -> Deferred[None]:
        self.created.append(name)
        return self.filling

    def info(self) -> Deferred[EngineInfo]:
        return succeed(EngineInfo("20", "1.41", "x86_64", "1", frozenset()))

    def create(self, spec: Any) -> Deferred[Created]:
        self.created.append(spec.name)
        return succeed(Created(spec.name, ()))

    def start(self, container: str) -> Deferred[None]:
        return succeed(None) if self.start_error is None else fail(self.start_error)

    def remove(self, container: str) -> Deferred[None]:
        self.removed.append(container)
        self.removing.append(Deferred())
        return self.removing[-1]

    def remove_all(self) -> None:
        """End what is under way."""
        for removal in self.removing:
            if not removal.called:
                removal.callback(None)


class Endpoint:
    """Connections that are made at once, with nobody at the other end."""

    def __init__(self) -> None:
        self.made: list[Protocol] = []

    def connect(self, factory: Any) -> Deferred[Any]:
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(StringTransport())
        self.made.append(protocol)
        return succeed(protocol)


class Images:
    """Any image is there."""

    def resolve(self, reference: str) -> Deferred[ImageInfo]:
        return succeed(ImageInfo(reference, "id", "x86_64", ()))


class Bench:
    """A source and what it is made of."""

    def __init__(self) -> None:
        self.clock, self.engine, self.endpoint = Clock(), Engine(), Endpoint()
        numbers = count(4)
        confinement = Confinement(64 * MIB, 1.0, 10, frozenset())
        policy = SourcePolicy("instance", ("img",), MIB, MIB, confinement, RunPolicy(MIB))
        self.source = EngineSource(
            self.engine, self.endpoint, Images(), lambda architecture: ("volume", b"agent"), policy, self.clock,
            lambda below: next(numbers),
        )  # type: ignore[arg-type]  # fmt: skip

    def create(self) -> list[Any]:
        """Begin a creation; what came of it will be in the list."""
        came: list[Any] = []
        self.source.create("img").addBoth(lambda result: came.append(getattr(result, "value", result)))
        return came


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_mute_engine(bench: Bench) -> None:
    """An engine that accepts connections and says nothing keeps no creation, and lets in those that wait."""
    first = [bench.create() for _ in range(PARALLEL)]
    later = bench.create()
    bench.clock.advance(ATTACH_LIMIT + 1)
    bench.engine.remove_all()
    assert all(isinstance(came[0], EngineUnavailable) for came in first)
    assert len(bench.engine.created) == PARALLEL + 1
    bench.clock.advance(ATTACH_LIMIT + 1)
    bench.engine.remove_all()
    assert "did not attach within 15 seconds" in str(later[0])


def test_cancelled_while_it_cleans_up(bench: Bench) -> None:
    """A creation that is given up has ended only when its container is gone, also when that is under way already."""
    bench.engine.start_error = EngineError("It does not start.")
    came: list[Any] = []
    creation = bench.source.create("img")
    creation.addBoth(came.append)
    bench.endpoint.made[0].dataReceived(b"HTTP/1.1 101 UPGRADED\r\n\r\n")
    assert len(bench.engine.removing) == 1
    creation.cancel()
    assert not came
    bench.engine.remove_all()
    assert len(came) == 1


def without_agent(bench: Bench) -> tuple[Deferred[Any], list[Any]]:
    """A creation that finds the volume empty, and has begun to fill it."""
    bench.engine.start_error = AgentMissing("no such file or directory")
    came: list[Any] = []
    creation = bench.source.create("img")
    creation.addBoth(lambda result: came.append(getattr(result, "value", result)))
    bench.endpoint.made[0].dataReceived(b"HTTP/1.1 101 UPGRADED\r\n\r\n")
    bench.engine.remove_all()
    assert bench.engine.created[-1].startswith("twisted-executor-instance-filler-")
    return creation, came


def test_volume_that_cannot_be_filled(bench: Bench) -> None:
    """The container for it is removed by its name, as the answer to its creation may be what was lost."""
    _, came = without_agent(bench)
    bench.engine.filling.errback(EngineTimeout("The engine did not answer."))
    assert bench.engine.removed[-1] == bench.engine.created[-1]
    bench.engine.remove_all()
    assert isinstance(came[0], ImageUnavailable)


def test_cancelled_while_it_fills(bench: Bench) -> None:
    """A creation that is given up waits for the end of the filling, which cannot be stopped, and cleans up."""
    creation, came = without_agent(bench)
    creation.cancel()
    assert bench.engine.removed[-1] != bench.engine.created[-1]
    bench.engine.filling.callback(None)
    assert bench.engine.removed[-1] == bench.engine.created[-1]
    assert not came
    bench.engine.remove_all()
    assert isinstance(came[0], CancelledError)


def test_streams_are_counted(bench: Bench) -> None:
    """From the engine's answer until the stream has ended, however it ends."""
    creations = [bench.source.create("img").addErrback(lambda _: None) for _ in range(3)]
    assert bench.source.streams == 0
    one, two, refused = bench.endpoint.made
    for stream in (one, two):
        stream.dataReceived(b"HTTP/1.1 101 UPGRADED\r\n\r\n")
    assert bench.source.streams == 2
    one.connectionLost(Failure(ConnectionDone()))
    assert bench.source.streams == 1
    refused.dataReceived(b"HTTP/1.1 500 No\r\n\r\n")
    refused.connectionLost(Failure(ConnectionDone()))
    assert bench.source.streams == 1
    creations[1].cancel()
    bench.engine.remove_all()
    two.connectionLost(Failure(ConnectionDone()))
    assert bench.source.streams == 0
    assert all(creation.called for creation in creations)


def test_leaks_are_counted(bench: Bench) -> None:
    """Containers that the sweep has found and that are gone; not those that it could not remove."""
    ours = {INSTANCE_LABEL: "instance"}
    bench.engine.found = tuple(ContainerSummary(name, name, "running", 0.0, ours) for name in ("one", "two"))
    bench.source.sweep()
    assert (bench.engine.removed, bench.source.leaks) == (["one"], 0)
    bench.engine.removing[0].callback(None)
    assert (bench.engine.removed, bench.source.leaks) == (["one", "two"], 1)
    bench.engine.removing[1].errback(EngineError("It cannot be removed."))
    assert bench.source.leaks == 1
