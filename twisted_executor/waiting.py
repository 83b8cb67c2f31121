"""The line in which requests wait for a container: bounded, in order, each with a deadline."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_executor.boundaries import ILease, Tenant
from twisted_executor.errors import ExecutorError, Overloaded
from twisted_executor.turns import Turns, in_turns


class Waiter:
    """One request that waits; `lease` fires with what it waits for."""

    __slots__ = ("arrived", "image", "key_turn", "lease", "tenant", "tenant_turn", "timeout")

    def __init__(
        self, image: str, tenant: Tenant, turn: tuple[int, int], arrived: float, lease: Deferred[ILease]
    ) -> None:
        self.image = image
        self.tenant = tenant
        self.key_turn, self.tenant_turn = turn
        self.arrived = arrived
        self.lease = lease
        self.timeout: IDelayedCall | None = None


class WaitingLine:
    """Requests, in the order in which they are served.  One whose Deferred is cancelled leaves by itself."""

    def __init__(self, clock: IReactorTime, size: int, timeout: float) -> None:
        """@param timeout: seconds that one may wait."""
        self._clock = clock
        self._size = size
        self._timeout = timeout
        self._waiters: list[Waiter] = []  # oldest first
        self._turns = Turns()
        self._since = clock.seconds()  # when the first of those came who wait now
        self._served = 0  # since then
        self.reason: ExecutorError | None = None  # what to say instead of "overloaded" to those who waited in vain

    def __iter__(self) -> Iterator[Waiter]:
        return iter(in_turns(self._waiters))

    def __len__(self) -> int:
        return len(self._waiters)

    def check_room(self) -> None:
        """Raise L{Overloaded} when it is full."""
        if len(self._waiters) >= self._size:
            raise Overloaded(
                f"{len(self._waiters)} requests wait already, which is all that may (QUEUE_SIZE).", self._drain_time()
            )

    def join(self, image: str, tenant: Tenant) -> Waiter:
        """Stand at the end."""
        if not self._waiters:
            self._since, self._served = self._clock.seconds(), 0
        turn = self._turns.draw(tenant)
        waiter = Waiter(image, tenant, turn, self._clock.seconds(), Deferred(lambda _: self.leave(waiter)))
        self._waiters.append(waiter)
        return waiter

    def set_deadline(self, waiter: Waiter) -> None:
        """Let it wait no longer than the timeout, if it still does: most leave as soon as they have joined."""
        if waiter in self._waiters:
            waiter.timeout = self._clock.callLater(self._timeout, self._expire, waiter)

    def serve(self, waiter: Waiter) -> None:
        """Its turn has come: it leaves, and the lease is the pool's to give."""
        self._served += 1
        self._turns.serve(waiter, self._waiters)
        self.leave(waiter)

    def leave(self, waiter: Waiter) -> None:
        """No longer wait; harmless when it does not."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            if waiter.timeout is not None and waiter.timeout.active():
                waiter.timeout.cancel()

    def refuse(self, waiter: Waiter, error: ExecutorError) -> None:
        """Tell it that nothing will come."""
        self.leave(waiter)
        waiter.lease.errback(error)

    def _expire(self, waiter: Waiter) -> None:
        sentence = f"No container became free within {self._timeout:g} seconds (QUEUE_TIMEOUT)."
        error = self.reason or Overloaded(sentence, self._drain_time())
        self.refuse(waiter, error.again())

    def _drain_time(self) -> float:
        """Seconds in which those who wait will be served, at the rate since the line stands; one to the timeout."""
        each = (self._clock.seconds() - self._since) / max(1, self._served)
        return max(1.0, min(self._timeout, len(self._waiters) * each))
