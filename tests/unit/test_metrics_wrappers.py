"""What is put around the parts of the server counts, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from tests.unit.web_client import Server
from twisted_executor.boundaries import Execution, IEngine, IExecutor, IPool, ISandboxSource, Job, Tenant
from twisted_executor.errors import EngineTimeout, ImageUnavailable, Overloaded, SandboxLost
from twisted_executor.metrics.wrappers import MeteredEngine, MeteredExecutor, MeteredPool, MeteredSource
from twisted_executor.planning import Capacity
from twisted_executor.pool import PoolPolicy, WarmPool
from twisted_executor.testing import MemoryExecutor, MemorySource

JOB = Job(script=b"id", timeout=30.0, request_id="id-1")


def result_of(deferred: Deferred[Any]) -> list[Any]:
    """What it has fired with, in a list; a failure as its exception."""
    came: list[Any] = []
    deferred.addBoth(lambda result: came.append(getattr(result, "value", result)))
    return came


class Bench:
    """An executor, a source and a pool in memory, and what the wrappers have told."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[tuple[Any, ...]] = []
        self.executor = MemoryExecutor()
        self.source = MemorySource(hold=True)
        source = MeteredSource(self.source, self.tell, self.clock)
        policy = PoolPolicy("alpine", Capacity(1, "alpine"), 1, 10.0, 100, 1000.0)
        self.pool = WarmPool(source, policy, self.clock, lambda: 0.5)
        self.metered_source = source
        self.metered_pool = MeteredPool(self.pool, self.tell, self.clock)
        self.metered_executor = MeteredExecutor(self.executor, self.tell)

    def tell(self, *figures: Any) -> None:
        self.told.append(figures)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_interfaces(bench: Bench) -> None:
    """They are what they are put around."""
    verifyObject(IExecutor, bench.metered_executor)
    verifyObject(ISandboxSource, bench.metered_source)
    verifyObject(IPool, bench.metered_pool)
    verifyObject(IEngine, MeteredEngine(Engine(), bench.tell, bench.clock))


def test_executor(bench: Bench) -> None:
    """Runs that come to an end are told; refusals and failures pass through."""
    came = result_of(bench.metered_executor.execute(JOB))
    bench.executor.finish()
    ((run, key),) = bench.told
    assert isinstance(run, Execution)
    assert (came, key) == ([run], "")
    lost = result_of(bench.metered_executor.execute(JOB))
    bench.executor.fail(SandboxLost("It died."))
    assert isinstance(lost[0], SandboxLost)
    bench.metered_executor.check_room()
    bench.executor.refuses = Overloaded("Too many wait.")
    with pytest.raises(Overloaded):
        bench.metered_executor.check_room()
    assert len(bench.told) == 1
    assert bench.metered_executor.stats() is bench.executor.figures


def test_cancelled_run(bench: Bench) -> None:
    """A cancel goes through to the executor."""
    running = bench.metered_executor.execute(JOB)
    came = result_of(running)
    running.cancel()
    assert bench.executor.cancelled == [JOB]
    assert isinstance(came[0], CancelledError)
    assert bench.told == []


def test_source(bench: Bench) -> None:
    """The time of a creation is told when it succeeds, and a failure passes through."""
    made, failed = (result_of(bench.metered_source.create("alpine")) for _ in range(2))
    bench.clock.advance(0.07)
    bench.source.fail(ImageUnavailable("No."))
    bench.source.arrive()
    assert made == [bench.source.made[0]]
    assert isinstance(failed[0], ImageUnavailable)
    assert bench.told == [(pytest.approx(0.07),)]


def test_pool(bench: Bench) -> None:
    """A loan is told with its time: cold for who waited for the container, warm for the next; not what was given up."""
    bench.pool.startService()
    tenant = Tenant()
    cold = result_of(bench.metered_pool.take("alpine", tenant))
    with pytest.raises(Overloaded):
        bench.metered_pool.check_room()
    full = result_of(bench.metered_pool.take("alpine", tenant))
    assert isinstance(full[0], Overloaded)
    bench.clock.advance(0.2)
    bench.source.arrive()
    made, cold_loan = bench.told
    assert made == (pytest.approx(0.2),)
    assert cold_loan == ("alpine", False, pytest.approx(0.2))
    assert bench.metered_pool.holds("alpine")
    assert bench.metered_pool.stats() == bench.pool.stats()
    waiting = bench.metered_pool.take("alpine", tenant)
    given_up = result_of(waiting)
    waiting.cancel()
    assert isinstance(given_up[0], CancelledError)
    bench.clock.advance(0.1)
    cold[0].release()
    result_of(bench.metered_pool.take("alpine", tenant))
    assert bench.told[2:] == [("alpine", True, 0.0)]


class Engine:
    """One whose every call waits for the test."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.answer: Deferred[Any] = Deferred()

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Deferred[Any]:
            self.calls.append((name, args))
            return self.answer

        return call


def calls() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each call of the interface, with arguments that can be told apart."""
    for name in IEngine:
        yield name, tuple(f"{name}-{number}" for number in range(len(IEngine[name].positional)))  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "arguments"), list(calls()))
def test_engine(name: str, arguments: tuple[str, ...], bench: Bench) -> None:
    """Every call reaches the engine as it is, and is told with its time and with what it failed with."""
    engine = Engine()
    metered = MeteredEngine(engine, bench.tell, bench.clock)  # type: ignore[arg-type]
    came = result_of(getattr(metered, name)(*arguments))
    assert engine.calls == [(name, arguments)]
    bench.clock.advance(1.5)
    assert bench.told == []
    engine.answer.callback("fine")
    assert came == ["fine"]
    engine.answer = Deferred()
    failed = result_of(getattr(metered, name)(*arguments))
    error = EngineTimeout("It hangs.")
    engine.answer.errback(error)
    assert failed == [error]
    assert bench.told == [(name, 1.5, None), (name, 0.0, error)]


def test_all_requests_are_counted() -> None:
    """On both ports, whatever came of them, and under the code of their refusal."""
    server = Server()
    server.execute({"script": ""})
    server.request("GET", "/metrics")
    connection = server.connect()
    connection.post({"script": "sleep 9"})
    connection.leave()
    server.executor.refuses = Overloaded("Too many wait.")
    server.execute({"script": "true"})
    counters = server.metrics.counters
    assert dict(counters.requests.items()) == {
        ("/execute", "POST", "400"): 1, ("/metrics", "GET", "200"): 1, ("/execute", "POST", "499"): 1,
        ("/execute", "POST", "503"): 1,
    }  # fmt: skip
    assert counters.refused.by("code") == {"invalid_request": 1, "cancelled": 1, "overloaded": 1}
