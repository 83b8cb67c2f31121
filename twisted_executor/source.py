"""Makes sandboxes on an engine, and removes what should not be there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, TimeoutError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from twisted_executor.attach import Attachment, attach
from twisted_executor.boundaries import (
    ContainerSpec,
    Created,
    EngineInfo,
    IEngine,
    IImageStore,
    ImageInfo,
    ISandbox,
    ISandboxSource,
)
from twisted_executor.confinement import Confinement, tmpfs_sizes, uid_range
from twisted_executor.errors import (
    AgentMissing,
    EngineError,
    EngineTimeout,
    EngineUnavailable,
    EngineUnreachable,
    ImageUnavailable,
    SandboxLost,
    Unavailable,
)
from twisted_executor.run import RunPolicy
from twisted_executor.sandbox import Sandbox
from twisted_executor.services import ended, shielded, uninterrupted

LABEL = "twisted-executor"  # on everything of ours; its value is "sandbox", "filler" or "agent"
INSTANCE_LABEL = "twisted-executor.instance"
MQUEUE = "/dev/mqueue"  # the engine mounts it for a private IPC namespace; the agent empties it
ATTACH_LIMIT = 15.0  # seconds
PARALLEL = 4  # creations at once; more only makes each of them slower
ABANDONED = 600.0  # seconds after which a container that never started is removed, whoever made it


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """@ivar instance: this server's own id; no other server on the engine has it.

    @ivar fillers: references of configured images, from which the agent's volume may be filled.
    @ivar tmp: bytes of /tmp.  @ivar rest: bytes that all other writable places share.
    """

    instance: str
    fillers: tuple[str, ...]
    tmp: int
    rest: int
    confinement: Confinement
    run: RunPolicy


@implementer(ISandboxSource)
class EngineSource:
    """Creates, attaches, starts, greets and checks containers.

    @ivar concessions: sentences on limits that do not hold though nobody requires them.
    @ivar leaks: containers that the sweep has found and removed.
    """

    log = Logger()

    def __init__(
        self,
        engine: IEngine,
        endpoint: IStreamClientEndpoint,
        images: IImageStore,
        agent: Callable[[str], tuple[str, bytes]],
        policy: SourcePolicy,
        clock: IReactorTime,
        random_below: Callable[[int], int],
    ) -> None:
        """@param endpoint: of the engine.  @param agent: from an architecture to the agent's volume and binary."""
        self.concessions: tuple[str, ...] = ()
        self.leaks = 0
        self._streams: set[str] = set()  # names of the containers that are attached
        self._engine = engine
        self._endpoint = endpoint
        self._images = images
        self._agent = agent
        self._policy = policy
        self._clock = clock
        self._random_below = random_below
        self._info: EngineInfo | None = None
        self._known: set[str] = set()
        self._creating = DeferredSemaphore(PARALLEL)

    def create(self, image: str) -> Deferred[ISandbox]:
        """Make one sandbox."""
        return Deferred.fromCoroutine(self._create(image))

    async def _create(self, reference: str) -> ISandbox:
        image = await self._images.resolve(reference)
        await self._creating.acquire()
        try:
            info = await self._engine_info()
            volume, binary = self._agent(info.architecture)
            try:
                return await self._make(image, info, volume)
            except AgentMissing:
                await self._fill(volume, binary)
                return await self._make(image, info, volume)
        except EngineError as error:
            self._info = None  # the engine may come back as another
            raise _explained(image, error) from error
        except SandboxLost as error:
            raise ImageUnavailable(f"No container of {reference} can be warmed: {error}", retry_after=5.0) from error
        finally:
            self._creating.release()

    async def _engine_info(self) -> EngineInfo:
        if self._info is None:
            self._info = await self._engine.info()
        return self._info

    async def _make(self, image: ImageInfo, info: EngineInfo, volume: str) -> Sandbox:
        policy = self._policy
        name = f"twisted-executor-{policy.instance}-{self._random_below(1 << 48):012x}"
        tmpfs = tmpfs_sizes(policy.tmp, policy.rest, image.volumes)
        sandbox = Sandbox(name, self._engine, self._clock, policy.run, self._random_below, self._known.discard)
        self._known.add(name)
        creation = self._engine.create(ContainerSpec(name, image, volume, self._labels("sandbox"), tmpfs))
        try:
            created = await shielded(creation)
            stream = await self._attached(created.id, info.api_version, sandbox)
            sandbox.attached(stream)
            await self._engine.start(created.id)
            hello = await sandbox.greeted
            conceded = policy.confinement.check(hello.facts, (*tmpfs, MQUEUE), created.warnings)
            sandbox.uids = uid_range(hello.facts)
        except BaseException:
            await uninterrupted(_discard(creation, sandbox))
            raise
        self.concessions = tuple(conceded)
        return sandbox

    @property
    def streams(self) -> int:
        """How many streams to containers are open."""
        return len(self._streams)

    async def _attached(self, container: str, api_version: str, sandbox: Sandbox) -> Attachment:
        def closed(reason: str) -> None:
            self._streams.discard(sandbox.name)
            sandbox.closed(reason)

        attaching = attach(self._endpoint, container, api_version, sandbox.received, closed)
        try:
            stream = await Deferred.fromCoroutine(attaching).addTimeout(ATTACH_LIMIT, self._clock)
        except TimeoutError:
            raise EngineTimeout(f"The engine did not attach within {ATTACH_LIMIT:g} seconds.") from None
        self._streams.add(sandbox.name)
        return stream

    def _labels(self, kind: str) -> Mapping[str, str]:
        return {LABEL: kind, INSTANCE_LABEL: self._policy.instance}

    async def _fill(self, volume: str, binary: bytes) -> None:
        """From the first configured image that the engine has; never from one that only a request named."""
        error: Exception = EngineError("No configured image is on the engine.")
        for reference in self._policy.fillers:
            try:
                image = await self._images.resolve(reference)
                await self._fill_from(image, volume, binary)
                self.log.info("the agent is now in the volume {volume}", volume=volume)
                return
            except CancelledError:
                raise
            except Exception as failure:
                error = failure
        raise EngineError(f"The agent could not be brought to the engine: {error}")

    async def _fill_from(self, image: ImageInfo, volume: str, binary: bytes) -> None:
        """What is left of an attempt that failed, or was not waited for, is removed by its name."""
        name = f"twisted-executor-{self._policy.instance}-filler-{self._random_below(1 << 48):012x}"
        filling = self._engine.fill_volume(volume, image.id, name, self._labels("filler"), binary)
        self._known.add(name)
        try:
            await shielded(filling)
        except BaseException:
            await uninterrupted(self._remove_filler(filling, name))
            raise
        finally:
            self._known.discard(name)

    async def _remove_filler(self, filling: Deferred[None], name: str) -> None:
        await ended(filling)
        await self._engine.remove(name)

    def sweep(self) -> Deferred[None]:
        """Remove containers of this server that it does not know, and old ones of any server that never started."""
        return Deferred.fromCoroutine(self._sweep())

    async def _sweep(self) -> None:
        known = set(self._known)
        try:
            found = await self._engine.containers({LABEL: ""})
            now = await self._engine.now() if any(c.state == "created" for c in found) else 0.0
            for container in found:
                ours = container.labels.get(INSTANCE_LABEL) == self._policy.instance
                forgotten = ours and container.name not in known | self._known
                abandoned = container.state == "created" and now - container.created > ABANDONED
                if forgotten or abandoned:
                    self.log.warn("removing {name}, which should not be there", name=container.name)
                    await self._engine.remove(container.id)
                    self.leaks += 1
        except EngineError as error:
            self.log.debug("no sweep: {error}", error=str(error))


async def _discard(creation: Deferred[Created], sandbox: Sandbox) -> None:
    """What is not there yet cannot be removed, so the call that makes it comes to its end first."""
    await ended(creation)
    sandbox.greeted.addErrback(lambda _: None)
    await sandbox.destroy()


def _explained(image: ImageInfo, error: EngineError) -> Unavailable:
    if isinstance(error, (EngineUnreachable, EngineTimeout)):
        return EngineUnavailable(str(error), retry_after=2.0)
    return ImageUnavailable(f"No container of {image.reference} can be made: {error}", retry_after=5.0)
