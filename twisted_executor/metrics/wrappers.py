"""What is put around the parts of the server to count what they do; they are the same from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_executor.boundaries import (
    ContainerSpec,
    ContainerSummary,
    Created,
    EngineInfo,
    Execution,
    ExecutorStats,
    Fate,
    IEngine,
    IExecutor,
    ILease,
    ImageInfo,
    IPool,
    ISandbox,
    ISandboxSource,
    Job,
    PoolStats,
    Tenant,
)

T = TypeVar("T")


@implementer(IExecutor)
class MeteredExecutor:
    """An executor whose runs are counted."""

    def __init__(self, executor: IExecutor, ran: Callable[[Execution, str], None]) -> None:
        """@param ran: told each run that came to an end, and the name of its API key."""
        self._executor = executor
        self._ran = ran

    def check_room(self) -> None:
        """As the executor does."""
        self._executor.check_room()

    def execute(self, job: Job) -> Deferred[Execution]:
        """As the executor does, telling what comes of it."""
        return self._executor.execute(job).addCallback(self._tell, job.tenant.key)

    def stats(self) -> ExecutorStats:
        """The executor's."""
        return self._executor.stats()

    def _tell(self, execution: Execution, key: str) -> Execution:
        self._ran(execution, key)
        return execution


@implementer(ISandboxSource)
class MeteredSource:
    """A source whose creations are timed."""

    def __init__(self, source: ISandboxSource, made: Callable[[float], None], clock: IReactorTime) -> None:
        """@param made: told the seconds of each creation."""
        self._source = source
        self._made = made
        self._clock = clock

    def create(self, image: str) -> Deferred[ISandbox]:
        """As the source does, timing it."""
        began = self._clock.seconds()

        def came(sandbox: ISandbox) -> ISandbox:
            self._made(self._clock.seconds() - began)
            return sandbox

        return self._source.create(image).addCallback(came)


@implementer(IPool)
class MeteredPool:
    """A pool whose loans are timed."""

    def __init__(self, pool: IPool, taken: Callable[[str, bool, float], None], clock: IReactorTime) -> None:
        """@param taken: told each loan: its image, whether it was warm, and how many seconds it took to come."""
        self._pool = pool
        self._taken = taken
        self._clock = clock

    def take(self, image: str, tenant: Tenant) -> Deferred[ILease]:
        """As the pool does, timing it."""
        return self._pool.take(image, tenant).addCallback(self._came, image, self._clock.seconds())

    def check_room(self) -> None:
        """As the pool does."""
        self._pool.check_room()

    def holds(self, image: str) -> bool:
        """As the pool says."""
        return bool(self._pool.holds(image))

    def stats(self) -> PoolStats:
        """The pool's."""
        return self._pool.stats()

    def _came(self, lease: ILease, image: str, began: float) -> ILease:
        self._taken(image, lease.warm, self._clock.seconds() - began)
        return lease


@implementer(IEngine)
class MeteredEngine:
    """An engine whose calls are timed, and whose failures are counted."""

    def __init__(
        self, engine: IEngine, called: Callable[[str, float, BaseException | None], None], clock: IReactorTime
    ) -> None:
        """@param called: told each call that has ended: its name, its seconds, and what it failed with."""
        self._engine = engine
        self._called = called
        self._clock = clock

    def info(self) -> Deferred[EngineInfo]:
        """As the engine does."""
        return self._timed("info", self._engine.info)

    def now(self) -> Deferred[float]:
        """As the engine does."""
        return self._timed("now", self._engine.now)

    def create(self, spec: ContainerSpec) -> Deferred[Created]:
        """As the engine does."""
        return self._timed("create", self._engine.create, spec)

    def start(self, container: str) -> Deferred[None]:
        """As the engine does."""
        return self._timed("start", self._engine.start, container)

    def remove(self, container: str) -> Deferred[None]:
        """As the engine does."""
        return self._timed("remove", self._engine.remove, container)

    def containers(self, labels: Mapping[str, str]) -> Deferred[tuple[ContainerSummary, ...]]:
        """As the engine does."""
        return self._timed("containers", self._engine.containers, labels)

    def fate(self, container: str) -> Deferred[Fate]:
        """As the engine does."""
        return self._timed("fate", self._engine.fate, container)

    def image(self, reference: str) -> Deferred[ImageInfo]:
        """As the engine does."""
        return self._timed("image", self._engine.image, reference)

    def pull(self, reference: str) -> Deferred[None]:
        """As the engine does."""
        return self._timed("pull", self._engine.pull, reference)

    def fill_volume(
        self, volume: str, image: str, name: str, labels: Mapping[str, str], agent: bytes
    ) -> Deferred[None]:
        """As the engine does."""
        return self._timed("fill_volume", self._engine.fill_volume, volume, image, name, labels, agent)

    def _timed(self, call: str, method: Callable[..., Deferred[T]], *args: Any) -> Deferred[T]:
        began = self._clock.seconds()

        def ended(result: Any) -> Any:
            error = result.value if isinstance(result, Failure) else None
            self._called(call, self._clock.seconds() - began, error)
            return result

        return method(*args).addBoth(ended)
