"""The real pool under made-up traffic, on a clock that jumps from event to event."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from twisted_executor.boundaries import Demand, ISandbox, ISandboxSource, Job, Tenant
from twisted_executor.demand import Creations, WatchedExecutor, WatchedPool
from twisted_executor.errors import ExecutorError, Overloaded
from twisted_executor.executor import Executor
from twisted_executor.metrics.wrappers import MeteredSource
from twisted_executor.planning import Capacity
from twisted_executor.pool import PoolPolicy, WarmPool
from twisted_executor.testing import HELLO, MemorySource

IMAGE = "img"
NOBODY = Tenant()
QUARTER = 900.0  # seconds: what a journal remembers


@dataclass(frozen=True)
class Request:
    """@ivar hold: seconds for which it needs a container."""

    time: float
    hold: float
    tenant: Tenant = NOBODY


def poisson(
    rate: float, hold: Callable[[random.Random], float], seconds: float = QUARTER, seed: int = 1, tenants: int = 1
) -> Iterator[Request]:
    """Requests that know nothing of each other, from now on."""
    chance = random.Random(seed)
    now = 0.0
    while (now := now + chance.expovariate(rate)) < seconds:
        yield Request(now, hold(chance), Tenant("", str(chance.randrange(tenants))))


def bursts(count: int, every: float, hold: float, seconds: float = QUARTER) -> Iterator[Request]:
    """So many at once, again and again."""
    for number in range(1, int(seconds / every)):
        yield from [Request(number * every, hold)] * count


@implementer(ISandboxSource)
class SlowSource:
    """Takes its time for each container."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._source = MemorySource(hold=True)

    def create(self, image: str) -> Deferred[ISandbox]:
        self._clock.callLater(self._seconds, self._source.arrive)
        return self._source.create(image)


class Simulation:
    """A pool that is watched, and full."""

    def __init__(self, size: int, create: float = 0.4, queue_size: int = 100, max_uses: int = 1_000_000) -> None:
        self.clock = Clock()
        creations = Creations()
        source = MeteredSource(SlowSource(self.clock, create), creations.made, self.clock)
        policy = PoolPolicy(IMAGE, Capacity(size, IMAGE), queue_size, 30.0, max_uses, 1e9)
        pool = WarmPool(source, policy, self.clock, lambda: 0.5)
        pool.startService()
        self.until(10.0)
        self.pool = WatchedPool(pool, creations, self.clock)
        nowhere: Any = None
        executor = Executor(IMAGE, {IMAGE: self.pool}, self.pool, nowhere, self.clock, 1, 1.0)
        self.executor = WatchedExecutor(executor, [self.pool.journal], self.clock)

    def until(self, time: float) -> None:
        """Let all happen up to then, each at its own time: Clock.advance alone would do all of it at the last."""
        while (calls := self.clock.getDelayedCalls()) and calls[0].getTime() <= time:
            self.clock.rightNow = max(self.clock.rightNow, calls[0].getTime())
            self.clock.advance(0)
        self.clock.rightNow = time

    def play(self, requests: Iterable[Request]) -> Demand:
        """Send them, and look at the end of the last."""
        began = self.clock.seconds()
        for request in requests:
            self.until(began + request.time)
            self._send(request)
        return self.demand

    def _send(self, request: Request) -> None:
        try:
            self.executor.check_room()
        except Overloaded:
            return
        self.pool.take(IMAGE, request.tenant).addCallbacks(
            self._run, lambda failure: failure.trap(ExecutorError) and None, callbackArgs=(request,)
        )

    def _run(self, lease: Any, request: Request) -> None:
        lease.sandbox.run(Job(b"x", 1.0, "r"))
        self.clock.callLater(request.hold, self._end, lease)

    def _end(self, lease: Any) -> None:
        lease.sandbox.finish(HELLO)
        lease.release()
        lease.sandbox.settle(None)

    @property
    def demand(self) -> Demand:
        found = self.pool.stats().demand
        assert found is not None
        return found
