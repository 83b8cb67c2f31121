"""The pool, driven step by step and by a state machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from twisted_executor.boundaries import ILease, IPool, Job, Tenant
from twisted_executor.errors import Draining, EngineUnavailable, ImageNotFound, Overloaded
from twisted_executor.lease import Lives, oldest
from twisted_executor.planning import Capacity
from twisted_executor.pool import PoolPolicy, WarmPool
from twisted_executor.testing import HELLO, MemorySandbox, MemorySource

IMAGE = "img"
A, B, C = Tenant("", "a"), Tenant("", "b"), Tenant("", "c")


def make_pool(
    source: MemorySource, clock: Clock, size: int = 2, standing: str | None = IMAGE, **policy: Any
) -> WarmPool:
    """A pool of `size`, started."""
    values: dict[str, Any] = {"queue_size": 3, "queue_timeout": 30.0, "max_uses": 100, "max_age": 3600.0} | policy
    pool = WarmPool(source, PoolPolicy(IMAGE, Capacity(size, standing), **values), clock, lambda: 0.5)
    pool.startService()
    return pool


class Taken:
    """What became of a `take`."""

    image: str
    tenant: Tenant | None

    def __init__(self, deferred: Deferred[ILease]) -> None:
        self.deferred = deferred
        self.lease: Any = None
        self.error: Any = None
        deferred.addCallbacks(self._got, self._failed)

    def _got(self, lease: ILease) -> None:
        self.lease = lease

    def _failed(self, failure: Any) -> None:
        self.error = failure.value

    @property
    def waiting(self) -> bool:
        return self.lease is None and self.error is None


def use(lease: Any, unfit: str | None = None) -> None:
    """Run a job to its end and give the container back."""
    lease.sandbox.run(Job(b"x", 1.0, "r"))
    lease.sandbox.finish(HELLO)
    lease.release()
    lease.sandbox.settle(unfit)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_interface(clock: Clock) -> None:
    """A pool provides what the executor asks of it."""
    assert verifyObject(IPool, make_pool(MemorySource(), clock))


def test_fills_itself(clock: Clock) -> None:
    """A pool makes as many containers as its size, unasked."""
    source = MemorySource()
    pool = make_pool(source, clock, size=3)
    assert (len(source.made), pool.stats().idle) == (3, 3)


def test_longest_rested_first(clock: Clock) -> None:
    """Of several idle containers the one that has rested longest is lent."""
    source = MemorySource()
    pool = make_pool(source, clock, size=2)
    names = []
    for _ in range(4):
        taken = Taken(pool.take(IMAGE, A))
        names.append(taken.lease.sandbox.name)
        clock.advance(0.01)
        use(taken.lease)
    assert names == ["sandbox-0", "sandbox-1", "sandbox-0", "sandbox-1"]


def test_waits_until_wiped(clock: Clock) -> None:
    """A container that is given back is lent again only when it has settled."""
    source = MemorySource()
    pool = make_pool(source, clock, size=1)
    first, second = Taken(pool.take(IMAGE, A)), Taken(pool.take(IMAGE, A))
    sandbox = first.lease.sandbox
    sandbox.run(Job(b"x", 1.0, "r"))
    sandbox.finish(HELLO)
    first.lease.release()
    assert second.waiting
    sandbox.settle(None)
    assert second.lease.sandbox is sandbox


@pytest.mark.parametrize("reason", ["dirty", "timeout", "lost"])
def test_unfit_is_replaced(clock: Clock, reason: str) -> None:
    """A container that cannot serve another run is removed and replaced."""
    source = MemorySource()
    pool = make_pool(source, clock, size=1)
    use(Taken(pool.take(IMAGE, A)).lease, reason)
    assert [s.dead for s in source.made] == [True, False]
    assert pool.stats().retired == {reason: 1}


def test_good_ones_stay_when_an_old_one_is_busy(clock: Clock) -> None:
    """While an old container is busy its successor stands beside the pool, and no good one goes for it."""
    source = MemorySource()
    pool = make_pool(source, clock, size=2, max_uses=1)
    taken = Taken(pool.take(IMAGE, A))
    for _ in range(30):
        clock.advance(1)
    assert len(source.made) == 3
    assert pool.stats().retired == {}
    use(taken.lease)
    assert pool.stats().retired == {"used_up": 1}
    assert (len(source.made), pool.stats().idle) == (3, 2)


def test_failure_of_another_image(clock: Clock) -> None:
    """Where images differ, a request that waited in vain is not told why another's container could not be made."""
    source = MemorySource(hold=True)
    pool = make_pool(source, clock, size=1, standing=None)
    first = Taken(pool.take("secret", A))
    second = Taken(pool.take("other", B))
    source.fail(ImageNotFound("There is no image secret."))
    assert isinstance(first.error, ImageNotFound)
    clock.advance(31)
    assert isinstance(second.error, Overloaded)


def test_each_gets_an_error_of_its_own(clock: Clock) -> None:
    """An error that is told again and again does not grow by the frames of each time."""
    source = MemorySource(hold=True)
    pool = make_pool(source, clock, size=1)
    source.fail(EngineUnavailable("No engine.", retry_after=7.0))
    told = [Taken(pool.take(IMAGE, A)).error for _ in range(3)]
    assert [(str(error), error.retry_after) for error in told] == [("No engine.", 7.0)] * 3
    assert len({id(error) for error in told}) == 3


def test_dead_idle_is_replaced(clock: Clock) -> None:
    """A container that dies while idle is replaced."""
    source = MemorySource()
    pool = make_pool(source, clock, size=2)
    source.made[0].die()
    assert (pool.stats().idle, len(source.made)) == (2, 3)


def test_tenants_do_not_share(clock: Clock) -> None:
    """A used container of another tenant is retired and a new one made, rather than shared."""
    source = MemorySource()
    pool = make_pool(source, clock, size=1)
    use(Taken(pool.take(IMAGE, A)).lease)
    other = Taken(pool.take(IMAGE, B))
    assert other.lease.sandbox is source.made[1]
    assert source.made[0].dead
    assert not other.lease.warm


def test_own_container_before_an_unused_one(clock: Clock) -> None:
    """A tenant gets its own container, once its CPU quota has recovered, though an unused one has rested longer."""
    source = MemorySource()
    pool = make_pool(source, clock, size=2)
    use(Taken(pool.take(IMAGE, A)).lease)
    clock.advance(1)
    assert Taken(pool.take(IMAGE, A)).lease.sandbox is source.made[0]


def test_patience(clock: Clock) -> None:
    """A tenant that comes back all the time cannot keep another waiting for ever."""
    source = MemorySource()
    pool = make_pool(source, clock, size=1)
    busy = Taken(pool.take(IMAGE, A))
    other = Taken(pool.take(IMAGE, B))
    for _ in range(10):
        again = Taken(pool.take(IMAGE, A))
        clock.advance(0.1)
        use(busy.lease)
        if other.lease:
            break
        busy = again
    assert other.lease is not None


def test_queue_is_bounded(clock: Clock) -> None:
    """Beyond the queue a request is refused at once, with a time to come back."""
    pool = make_pool(MemorySource(), clock, size=1, queue_size=1)
    Taken(pool.take(IMAGE, A))
    assert Taken(pool.take(IMAGE, A)).waiting
    refused = Taken(pool.take(IMAGE, A))
    assert isinstance(refused.error, Overloaded)
    assert refused.error.retry_after >= 1
    with pytest.raises(Overloaded):
        pool.check_room()


def test_time_to_come_back(clock: Clock) -> None:
    """It is what those who wait will take, at the rate since they began to wait, and at most the queue's timeout."""
    pool = make_pool(MemorySource(), clock, size=1, queue_size=5)
    running = [Taken(pool.take(IMAGE, A)) for _ in range(6)]
    for taken in running[:2]:
        clock.advance(3)
        use(taken.lease)
        Taken(pool.take(IMAGE, A))
    refused = Taken(pool.take(IMAGE, A))
    assert refused.error.retry_after == pytest.approx(5 * 3)
    clock.advance(20)
    assert Taken(pool.take(IMAGE, A)).error.retry_after <= 30


def test_queue_deadline(clock: Clock) -> None:
    """A request that waits too long is refused, and its place is free again."""
    pool = make_pool(MemorySource(), clock, size=1)
    Taken(pool.take(IMAGE, A))
    late = Taken(pool.take(IMAGE, A))
    clock.advance(30)
    assert isinstance(late.error, Overloaded)
    assert pool.stats().waiting == 0


def test_leaving_the_queue(clock: Clock) -> None:
    """A request whose client went away gives up its place and takes no container."""
    pool = make_pool(MemorySource(), clock, size=1)
    busy = Taken(pool.take(IMAGE, A))
    gone = Taken(pool.take(IMAGE, A))
    gone.deferred.cancel()
    use(busy.lease)
    assert pool.stats().waiting == 0
    assert pool.stats().idle == 1


def test_max_uses(clock: Clock) -> None:
    """A container is replaced after its last run; the successor is begun when the last run begins."""
    source = MemorySource()
    pool = make_pool(source, clock, size=1, max_uses=2)
    use(Taken(pool.take(IMAGE, A)).lease)
    last = Taken(pool.take(IMAGE, A))
    assert len(source.made) == 2
    use(last.lease)
    assert (source.made[0].dead, pool.stats().idle, len(source.made)) == (True, 1, 2)


def test_max_age(clock: Clock) -> None:
    """An old container goes when its successor has come, not before."""
    source = MemorySource()
    make_pool(source, clock, size=1, max_age=100.0)
    source.hold = True
    clock.pump([1.0] * 101)
    assert (len(source.pending), source.made[0].dead) == (1, False)
    source.arrive()
    assert [s.dead for s in source.made] == [True, False]


def test_image_changed(clock: Clock) -> None:
    """Containers of an older image are replaced one by one, each when its successor has come."""
    source = MemorySource()
    pool = make_pool(source, clock, size=3)
    source.image_id = "sha256:2"
    pool.set_image("sha256:2")
    old = []
    for _ in range(4):
        clock.advance(1)
        old.append(sum(sandbox.image_id == "sha256:1" for sandbox in source.alive))
        assert pool.stats().idle == 3
    assert old == [2, 1, 0, 0]
    assert pool.stats().retired == {"image": 3}
    assert len(source.made) == 6


def test_image_changed_under_a_run(clock: Clock) -> None:
    """A run on an older image comes to its end, and its container goes after it."""
    source = MemorySource()
    pool = make_pool(source, clock, size=1)
    taken = Taken(pool.take(IMAGE, A))
    source.image_id = "sha256:2"
    pool.set_image("sha256:2")
    clock.pump([1.0] * 10)
    assert [sandbox.dead for sandbox in source.made] == [False, False]
    use(taken.lease)
    assert [sandbox.dead for sandbox in source.made] == [True, False]
    assert pool.stats().retired == {"image": 1}
    assert Taken(pool.take(IMAGE, A)).lease.sandbox.image_id == "sha256:2"


def test_image_changed_and_cannot_be_used(clock: Clock) -> None:
    """Where no container of the newer image can be made, those of the older one serve on."""
    source = MemorySource(hold=True)
    pool = make_pool(source, clock, size=1)
    source.arrive()
    source.image_id = "sha256:2"
    pool.set_image("sha256:2")
    for _ in range(5):
        clock.pump([1.0] * 10)
        source.fail(EngineUnavailable("The image has no agent."))
    assert pool.stats().failure == "The image has no agent."
    for _ in range(3):
        use(Taken(pool.take(IMAGE, A)).lease)
    assert [sandbox.dead for sandbox in source.made] == [False]


def test_image_as_it_was(clock: Clock) -> None:
    """To be told the same image again and again changes nothing."""
    source = MemorySource()
    pool = make_pool(source, clock, size=2)
    for _ in range(5):
        pool.set_image("sha256:1")
        clock.advance(1)
    assert (len(source.made), pool.stats().retired) == (2, {})


def test_image_built_on_the_engine(clock: Clock) -> None:
    """A container that shows a newer image than one was told of is right, and the others are replaced, once."""
    source = MemorySource()
    pool = make_pool(source, clock, size=2)
    pool.set_image("sha256:1")
    source.image_id = "sha256:2"
    source.made[0].die()
    clock.pump([1.0] * 10)
    assert [sandbox.image_id for sandbox in source.alive] == ["sha256:2"] * 2
    assert (len(source.made), pool.stats().retired) == (4, {"lost": 1, "image": 1})


def test_image_as_it_was_before(clock: Clock) -> None:
    """Where a successor comes and its predecessor is right again, one goes: the pool keeps its size."""
    source = MemorySource(hold=True)
    pool = make_pool(source, clock, size=1)
    source.arrive()
    pool.set_image("sha256:2")
    clock.advance(1)
    pool.set_image("sha256:1")
    source.arrive()
    clock.advance(1)
    assert (pool.stats().idle, pool.stats().retired) == (1, {"surplus": 1})


def test_outdated_before_worn() -> None:
    """Of an outdated one and one that is older than any, the outdated one goes first."""
    lives = Lives(max_age=1.0, max_uses=10, random=lambda: 0.5)
    outdated, worn = (lives.begin(MemorySandbox(name, IMAGE, name, {}), IMAGE, 0.0, 0) for name in ("one", "two"))
    lives.told("two")
    assert oldest([worn, outdated], 1e6) is outdated


def test_late_container_of_the_older_image(clock: Clock) -> None:
    """A creation that began before the change brings a container that is replaced like the others."""
    source = MemorySource(hold=True)
    pool = make_pool(source, clock, size=1)
    source.image_id = "sha256:2"
    pool.set_image("sha256:2")
    source.arrive()
    clock.advance(1)
    source.arrive()
    assert [(sandbox.image_id, sandbox.dead) for sandbox in source.made] == [("sha256:1", True), ("sha256:2", False)]


def test_backoff(clock: Clock) -> None:
    """Failures are tried again later and later, and success ends that."""
    source = MemorySource(images=frozenset())
    pool = make_pool(source, clock, size=1)
    attempts = []
    for _ in range(100):
        clock.advance(0.1)
        attempts.append(pool.stats().create_failures)
    assert 4 <= attempts[-1] <= 8
    assert attempts[4] > attempts[0] - 1
    source._images = None
    clock.advance(10)
    assert (pool.stats().idle, pool.stats().failure) == (1, None)


def test_dead_pool_answers_at_once(clock: Clock) -> None:
    """While nothing lives and creation fails, requests get the reason and do not wait."""
    source = MemorySource(hold=True)
    pool = make_pool(source, clock, size=1)
    waiting = Taken(pool.take(IMAGE, A))
    source.fail(EngineUnavailable("no engine"))
    assert isinstance(waiting.error, EngineUnavailable)
    assert isinstance(Taken(pool.take(IMAGE, A)).error, EngineUnavailable)


def test_tenants_take_turns(clock: Clock) -> None:
    """A tenant with one request is not served after all of another that came first with many."""
    source = MemorySource()
    pool = make_pool(source, clock, size=1, queue_size=9)
    first = Taken(pool.take(IMAGE, A))
    many, one = [Taken(pool.take(IMAGE, A)) for _ in range(5)], Taken(pool.take(IMAGE, B))
    clock.advance(1)
    use(first.lease)
    use(many[0].lease)
    assert one.lease is not None
    use(one.lease)
    assert [taken.waiting for taken in many] == [False, False, True, True, True]


def test_temporary(clock: Clock) -> None:
    """Without a standing image containers are made on demand, kept for a while, and bounded in all."""
    source = MemorySource()
    pool = make_pool(source, clock, size=2, standing=None, idle_ttl=60.0)
    assert not source.made
    first = Taken(pool.take("x", A))
    assert not first.lease.warm
    use(first.lease)
    clock.advance(1)
    again = Taken(pool.take("x", A))
    assert again.lease.warm
    use(again.lease)
    use(Taken(pool.take("y", A)).lease)
    clock.advance(1)
    use(Taken(pool.take("z", A)).lease)
    assert sorted(s.image for s in source.alive) == ["y", "z"]
    clock.pump([1.0] * 61)
    assert not source.alive


def test_temporary_failure_reaches_its_request(clock: Clock) -> None:
    """Who asked for an image that cannot be had is told."""
    pool = make_pool(MemorySource(images=frozenset()), clock, size=2, standing=None)
    assert isinstance(Taken(pool.take("x", A)).error, ImageNotFound)


def test_stop_waits_for_everything(clock: Clock) -> None:
    """Stopping refuses the waiting, ends creations and fires only when every removal has ended."""
    source = MemorySource()
    pool = make_pool(source, clock, size=1)
    held: Deferred[None] = Deferred()
    source.made[0].held_removal = held
    Taken(pool.take(IMAGE, A))
    waiting = Taken(pool.take(IMAGE, A))
    stopped: list[object] = []
    pool.stopService().addCallback(stopped.append)
    assert isinstance(waiting.error, Draining)
    assert not stopped
    held.callback(None)
    assert stopped
    assert not clock.getDelayedCalls()


class PoolMachine(RuleBasedStateMachine):
    """Anything may happen to a pool in any order."""

    standing: str | None = IMAGE
    images = (IMAGE,)
    size = 3

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.source = MemorySource(hold=True)
        self.pool = make_pool(
            self.source, self.clock, self.size, self.standing, queue_size=4, max_uses=4, max_age=60.0,
            idle_ttl=None if self.standing else 20.0,
        )  # fmt: skip
        self.taken: list[Taken] = []
        self.tenants: dict[str, Tenant] = {}
        self.killed: set[str] = set()
        self.retired: Counter[str] = Counter()
        self.stopped: list[object] = []

    def borrowed(self) -> list[Taken]:
        return [t for t in self.taken if t.lease is not None]

    @rule(tenant=st.sampled_from([A, B, C]), image=st.integers(0, 2))
    def take(self, tenant: Tenant, image: int) -> None:
        wanted = self.images[image % len(self.images)]
        taken = Taken(self.pool.take(wanted, tenant))
        taken.image, taken.tenant = wanted, tenant
        self.taken.append(taken)

    @rule(last=st.booleans())
    def spare(self, last: bool) -> None:
        """The server's own check borrows one."""
        waiting, idle = any(t.waiting for t in self.taken), self.pool.stats().idle
        lease = self.pool.spare(last)
        if lease is None:
            return
        assert not waiting
        assert idle >= (1 if last else 2)
        taken = Taken(succeed(lease))
        taken.tenant = None
        self.taken.append(taken)

    @precondition(lambda self: self.borrowed())
    @rule(which=st.integers(0, 9), unfit=st.sampled_from([None, None, None, "dirty"]))
    def give_back(self, which: int, unfit: str | None) -> None:
        taken = self.borrowed()[which % len(self.borrowed())]
        self.taken.remove(taken)
        if taken.lease.sandbox.dead:
            taken.lease.release()
        else:
            use(taken.lease, unfit)

    @precondition(lambda self: any(t.waiting for t in self.taken))
    @rule(which=st.integers(0, 9))
    def leave(self, which: int) -> None:
        waiting = [t for t in self.taken if t.waiting]
        waiting[which % len(waiting)].deferred.cancel()

    @precondition(lambda self: self.source.pending)
    @rule()
    def arrive(self) -> None:
        self.source.arrive()

    @precondition(lambda self: self.source.pending)
    @rule()
    def fail(self) -> None:
        self.source.fail(EngineUnavailable("no"))

    @precondition(lambda self: self.source.alive)
    @rule(which=st.integers(0, 9))
    def die(self, which: int) -> None:
        alive = self.source.alive
        sandbox = alive[which % len(alive)]
        self.killed.add(sandbox.name)
        sandbox.die()

    @rule()
    def change_image(self) -> None:
        """The tag means another image from now on, and the pool is told later."""
        self.source.image_id = f"sha256:{int(self.source.image_id[7:]) + 1}"

    @precondition(lambda self: self.standing)
    @rule()
    def tell_image(self) -> None:
        self.pool.set_image(self.source.image_id)

    @rule(seconds=st.floats(0.01, 40.0))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: not self.stopped)
    @rule(odds=st.integers(0, 20))
    def stop(self, odds: int) -> None:
        if odds == 0:
            self.pool.stopService().addCallback(self.stopped.append)

    @invariant()
    def bounded(self) -> None:
        """Never more than the size, but for one successor."""
        alive = len(self.source.alive) + len(self.source.pending)
        dead_but_borrowed = sum(t.lease.sandbox.dead for t in self.borrowed())
        assert alive + dead_but_borrowed <= self.size + (1 if self.standing else 0)

    @invariant()
    def no_run_is_cut(self) -> None:
        if not self.stopped:
            assert all(t.lease.sandbox.name in self.killed for t in self.borrowed() if t.lease.sandbox.dead)

    @invariant()
    def outdated_ones_go_last(self) -> None:
        """What goes for its image leaves the whole size behind, but for what went in the same step for its tenant."""
        stats = self.pool.stats()
        new = Counter(stats.retired) - self.retired
        if new["image"]:
            assert stats.idle + stats.busy + new["tenant"] >= self.size
        self.retired = Counter(stats.retired)

    @invariant()
    def none_lost(self) -> None:
        """Every living container is known to the pool."""
        if not self.stopped:
            stats = self.pool.stats()
            dead_but_borrowed = sum(t.lease.sandbox.dead for t in self.borrowed())
            assert stats.idle + stats.busy == len(self.source.alive) + dead_but_borrowed
            assert stats.creating == len(self.source.pending)

    @invariant()
    def nobody_waits_beside_a_usable_one(self) -> None:
        for taken in self.taken:
            if taken.waiting:
                usable = [s for s in self.pool._idle if s.tenant in (None, taken.tenant) and s.image == taken.image]
                assert not usable

    @invariant()
    def one_tenant_each(self) -> None:
        for taken in self.borrowed():
            name = taken.lease.sandbox.name
            if taken.tenant is None:
                continue  # the server's own check is nobody's
            assert self.tenants.setdefault(name, taken.tenant) == taken.tenant

    @invariant()
    def lent_once(self) -> None:
        names = [t.lease.sandbox.name for t in self.borrowed()]
        assert len(names) == len(set(names))

    @invariant()
    def nothing_after_stop(self) -> None:
        if self.stopped:
            assert not self.source.alive
            assert not self.source.pending
            assert not self.clock.getDelayedCalls()
            assert not any(t.waiting for t in self.taken)

    def end_outdated(self) -> None:
        """When nothing fails any more and what is borrowed comes back, the whole pool is of the newest image."""
        self.source.hold = False
        self.tell_image()
        for _ in range(15):
            while self.source.pending:
                self.source.arrive()
            for taken in self.borrowed():
                self.taken.remove(taken)
                taken.lease.release() if taken.lease.sandbox.dead else use(taken.lease)
            self.clock.advance(1.5)  # soon, or they would go for their age
        assert {sandbox.image_id for sandbox in self.source.alive} == {self.source.image_id}
        assert self.pool.stats().idle == self.size

    def teardown(self) -> None:
        if self.standing and not self.stopped:
            self.end_outdated()
        if not self.stopped:
            self.pool.stopService().addCallback(self.stopped.append)
        assert self.stopped
        self.nothing_after_stop()


class TemporaryMachine(PoolMachine):
    """The same for images without a pool."""

    standing = None
    images = ("x", "y", "z")


TestPool: Callable[[], Any] = PoolMachine.TestCase
TestPool.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)  # type: ignore[attr-defined]
TestTemporary: Callable[[], Any] = TemporaryMachine.TestCase
TestTemporary.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)  # type: ignore[attr-defined]
