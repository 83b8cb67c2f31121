"""A pool of warm sandboxes: it owns them from creation to removal, a request only borrows.

What is given to whom is decided in L{twisted_executor.planning}; this is the service that acts on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_executor.boundaries import ILease, IPool, IRenewable, ISandbox, ISandboxSource, ISpares, PoolStats, Tenant
from twisted_executor.errors import Draining, ExecutorError, Overloaded, Unavailable
from twisted_executor.lease import Lease, Lives, Slot, oldest
from twisted_executor.planning import Capacity, plan
from twisted_executor.services import Backoff, ended
from twisted_executor.waiting import WaitingLine

UPKEEP = 1.0  # seconds between looks at the age of the containers


@dataclass(frozen=True, slots=True)
class PoolPolicy:
    """What an operator can choose.  Times in seconds.

    @ivar label: the image as the operator wrote it, for figures and logs.
    @ivar max_uses: runs that one container serves, at least 1.
    @ivar idle_ttl: an idle container is retired after it; None: never.
    """

    label: str
    capacity: Capacity
    queue_size: int
    queue_timeout: float
    max_uses: int
    max_age: float
    idle_ttl: float | None = None


@implementer(IPool, IRenewable, ISpares)
class WarmPool(Service):
    """Keeps sandboxes warm and lends them."""

    log = Logger()

    def __init__(
        self, source: ISandboxSource, policy: PoolPolicy, clock: IReactorTime, random: Callable[[], float]
    ) -> None:
        """@param random: numbers in [0, 1)."""
        self.setName(f"pool {policy.label}")
        self._source = source
        self._policy = policy
        self._capacity = policy.capacity
        self._clock = clock
        self._lives = Lives(policy.max_age, policy.max_uses, random)
        self._line = WaitingLine(clock, policy.queue_size, policy.queue_timeout)
        self._idle: list[Slot] = []
        self._busy: set[Slot] = set()
        self._creating: dict[Deferred[Any], str] = {}
        self._renewing: Deferred[Any] | None = None
        self._removing: set[Deferred[Any]] = set()
        self._upkeep: IDelayedCall | None = None
        self._backoff = Backoff(clock, random, self._act)
        self._failure: ExecutorError | None = None
        self._executions = self._created = self._create_failures = 0
        self._retired: Counter[str] = Counter()
        self._acting = self._again = False

    # The service

    def startService(self) -> None:
        """Begin to make containers."""
        super().startService()
        self._upkeep = self._clock.callLater(UPKEEP, self._look_after)
        self._act()

    def stopService(self) -> Deferred[None]:
        """Refuse the waiting, remove every container; fires when none is left.

        A container that is borrowed is removed too, and its run ends as lost.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._empty())

    async def _empty(self) -> None:
        self._backoff.stop()
        if self._upkeep is not None:
            self._upkeep.cancel()
        for waiter in list(self._line):
            self._line.refuse(waiter, Draining("The server is stopping.", retry_after=5.0))
        for creation in list(self._creating):
            creation.cancel()
        for slot in [*self._idle, *self._busy]:
            self._retire(slot, "stopped")
        while self._creating or self._removing:
            await DeferredList([ended(d) for d in (*self._creating, *self._removing)])

    # Lending

    def check_room(self) -> None:
        """Raise L{Overloaded} when the line is full and nothing is idle; else nothing."""
        if not self._idle:
            self._line.check_room()

    def take(self, image: str, tenant: Tenant) -> Deferred[ILease]:
        """Borrow a container of that image for that tenant; a pool with a standing image has no other."""
        if not self.running:
            return fail(Draining("The server is stopping.", retry_after=5.0))
        if self._failure is not None and self._dead():
            return fail(self._failure.again())
        try:
            self.check_room()
        except Overloaded as full:
            return fail(full)
        waiter = self._line.join(self._capacity.standing or image, tenant)
        self._act()
        self._line.set_deadline(waiter)
        return waiter.lease

    def spare(self, last: bool) -> ILease | None:
        """Borrow the idle container that has rested longest; it stays its tenant's, and no execution is counted."""
        if not self.running or self._line or len(self._idle) < (1 if last else 2):
            return None
        slot = min(self._idle, key=lambda slot: slot.rested)
        if len(self._idle) == 1 and slot.uses + 1 >= slot.most_uses:
            return None
        self._borrow(slot)
        return Lease(slot, True, self._returned)

    def holds(self, image: str) -> bool:
        """Look for a container of that image."""
        return any(slot.image == image for slot in (*self._idle, *self._busy))

    def set_image(self, image_id: str) -> None:
        """Containers of any other image are old from now on."""
        self._lives.told(image_id)

    def stats(self) -> PoolStats:
        """Count."""
        return PoolStats(
            image=self._policy.label,
            target=self._capacity.size if self._capacity.standing is not None else 0,
            idle=len(self._idle),
            busy=len(self._busy),
            creating=len(self._creating),
            retiring=len(self._removing),
            waiting=len(self._line),
            executions=self._executions,
            created=self._created,
            create_failures=self._create_failures,
            retired=dict(self._retired),
            failure=str(self._failure) if self._failure is not None else None,
            temporary=self._capacity.standing is None,
        )

    def _returned(self, slot: Slot) -> None:
        slot.sandbox.settled().addCallback(self._settled, slot)

    def _settled(self, unfit: str | None, slot: Slot) -> None:
        if slot not in self._busy:
            return  # it was retired in the meantime
        unfit = unfit or slot.spent
        if unfit is None and self._surplus() > 0 and slot.is_old(self._clock.seconds()):
            unfit = slot.ends_as
        if unfit is not None:
            self._retire(slot, unfit)
        else:
            self._busy.remove(slot)
            slot.rested = self._clock.seconds()
            self._idle.append(slot)
        self._act()

    # Acting on the plan

    def _act(self) -> None:
        """Plan and act until there is nothing to do; what is done may bring the next request at once."""
        self._again = True
        if self._acting:
            return
        self._acting = True
        try:
            while self._again and self.running:
                self._again = False
                self._step()
        finally:
            self._acting = False

    def _step(self) -> None:
        if not self._line and len(self._idle) + len(self._busy) + len(self._creating) >= self._capacity.size:
            return  # after most runs there is nothing to plan
        creating = Counter(self._creating.values())
        decided = plan(self._idle, self._line, len(self._busy), creating, self._capacity, self._clock.seconds())
        for waiter, slot in decided.assign:
            self._line.serve(waiter)
            self._lend(slot, waiter.tenant)
        if not self._backoff.waiting:
            for slot in decided.retire:
                self._retire(slot, "tenant")
            for image in decided.create:
                self._create(image)
        for waiter, slot in decided.assign:
            waiter.lease.callback(Lease(slot, slot.born < waiter.arrived, self._returned))

    def _lend(self, slot: Slot, tenant: Tenant) -> None:
        self._executions += 1
        slot.tenant = tenant
        self._borrow(slot)

    def _borrow(self, slot: Slot) -> None:
        self._idle.remove(slot)
        self._busy.add(slot)
        slot.uses += 1
        if self._capacity.standing is not None and slot.is_old(self._clock.seconds()):
            self._renew(slot.image)

    # The life of a container

    def _create(self, image: str) -> Deferred[Any]:
        began = self._lives.moment()
        creation = self._source.create(image)
        self._creating[creation] = image
        creation.addCallbacks(
            self._arrived, self._not_made, callbackArgs=(creation, image, began), errbackArgs=(creation, image)
        )
        return creation

    def _arrived(self, sandbox: ISandbox, creation: Deferred[Any], image: str, began: int) -> None:
        self._made(creation)
        now = self._clock.seconds()
        self._idle.append(slot := self._lives.begin(sandbox, image, now, began))
        self._created += 1
        self.log.debug("{pool} has {name}", event="container_made", pool=self.name, name=sandbox.name)
        self._failure = self._line.reason = None
        self._backoff.succeeded()
        sandbox.lost.addCallback(self._lost, slot)
        if not self.running:
            self._retire(slot, "stopped")
        elif self._surplus() > 0 and (old := oldest(self._idle, now)) is not None:
            self._retire(old, old.ends_as)
        self._act()

    def _not_made(self, failure: Failure, creation: Deferred[Any], image: str) -> None:
        self._made(creation)
        if failure.check(CancelledError):
            return
        error = failure.value
        if not isinstance(error, ExecutorError):
            self.log.failure("{pool} could not make a container", failure, event="container_fault", pool=self.name)
            error = Unavailable("The container could not be made; the server's log says why.")
        elif str(error) != str(self._failure):
            sentence = "{pool} could not make a container: {reason}"
            self.log.error(sentence, event="container_not_made", pool=self.name, reason=str(error))
        self._failure = error
        self._create_failures += 1
        if self._capacity.standing is not None:
            self._line.reason = error
            if self.running:
                self._backoff.failed()
        self._tell_waiting(image, error)
        self._act()

    def _made(self, creation: Deferred[Any]) -> None:
        del self._creating[creation]
        if creation is self._renewing:
            self._renewing = None

    def _tell_waiting(self, image: str, error: ExecutorError) -> None:
        """Nobody waits for a container that will not come: all of a dead pool, else the oldest of the image."""
        waiting = [waiter for waiter in self._line if waiter.image == image]
        if self._capacity.standing is None:
            waiting = waiting[:1]
        elif not self._dead():
            waiting = []
        for waiter in waiting:
            self._line.refuse(waiter, error.again())

    def _dead(self) -> bool:
        return self._capacity.standing is not None and not (self._idle or self._busy or self._creating)

    def _surplus(self) -> int:
        return len(self._idle) + len(self._busy) - self._capacity.size

    def _renew(self, image: str) -> None:
        """Make the successor of a container that is about to go; one at a time, so at most one above the size."""
        if self._renewing is None and not self._backoff.waiting and self._surplus() + len(self._creating) <= 0:
            creation = self._create(image)
            if creation in self._creating:
                self._renewing = creation

    def _lost(self, reason: str, slot: Slot) -> None:
        if slot not in self._idle:
            return  # a borrowed one is dealt with when it is returned
        sentence = "{pool} lost the idle container {name}: {reason}"
        self.log.info(sentence, event="idle_container_lost", pool=self.name, name=slot.sandbox.name, reason=reason)
        self._retire(slot, "lost")
        self._act()

    def _retire(self, slot: Slot, reason: str) -> None:
        self._busy.discard(slot)
        if slot in self._idle:
            self._idle.remove(slot)
        self._retired[reason] += 1
        self.log.debug(
            "{pool} gives up {name}: {reason}",
            event="container_retired",
            pool=self.name,
            name=slot.sandbox.name,
            reason=reason,
        )
        removal = slot.sandbox.destroy()
        self._removing.add(removal)
        removal.addErrback(
            lambda failure: self.log.failure("a container was not removed", failure, event="removal_fault")
        )
        removal.addBoth(lambda _: self._removing.discard(removal))

    def _look_after(self) -> None:
        self._upkeep = self._clock.callLater(UPKEEP, self._look_after)
        now = self._clock.seconds()
        if self._policy.idle_ttl is not None:
            for slot in [s for s in self._idle if now - s.rested >= self._policy.idle_ttl or s.is_old(now)]:
                self._retire(slot, "idle")
        elif (old := oldest((*self._idle, *self._busy), now)) is not None:
            self._renew(old.image)
        elif self._surplus() > 0 and self._idle:
            # A successor whose predecessor has died, or is right again.
            self._retire(max(self._idle, key=lambda slot: slot.wear(now)), "surplus")
        self._act()
