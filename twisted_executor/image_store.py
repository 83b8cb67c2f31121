"""The images that the engine has or can get: looked up, pulled once for all that wait, and failures remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from twisted_executor.boundaries import IEngine, IImageStore, ImageInfo
from twisted_executor.errors import (
    EngineError,
    EngineUnavailable,
    ExecutorError,
    ImageNotFound,
    ImageUnavailable,
    NotFound,
    PullFailed,
)
from twisted_executor.images import names_registry, with_registry

REMEMBER = 60.0  # seconds for which a failed pull is not tried again
BACKOFF_FIRST = 1.0  # seconds before the second attempt, doubled for each, halved to 1.5 times by the jitter
BACKOFF_MOST = 30.0


@dataclass(frozen=True, slots=True)
class PullPolicy:
    """@ivar registry: put before references that name none; empty: none.

    @ivar retries: attempts after the first.
    @ivar plain: references that are taken as they are, without the registry.
    """

    registry: str
    retries: int
    plain: frozenset[str]


@implementer(IImageStore)
class ImageStore:
    """Finds images."""

    log = Logger()

    def __init__(self, engine: IEngine, policy: PullPolicy, clock: IReactorTime, random: Callable[[], float]) -> None:
        """@param random: numbers in [0, 1)."""
        self._engine = engine
        self._policy = policy
        self._clock = clock
        self._random = random
        self._pulls: dict[str, list[Deferred[None]]] = {}
        self._failed: dict[str, tuple[float, ExecutorError]] = {}

    def resolve(self, reference: str) -> Deferred[ImageInfo]:
        """Find the image under its plain name, then under the registry's; then pull it."""
        return Deferred.fromCoroutine(self._resolve(reference))

    async def _resolve(self, reference: str) -> ImageInfo:
        try:
            if (found := await self._found(reference)) is not None:
                return found
            wanted = self._candidates(reference)[-1]
            await self._pulled(wanted)
            return await self._engine.image(wanted)
        except EngineError as error:
            raise EngineUnavailable(str(error), retry_after=2.0) from error

    def refresh(self, reference: str) -> Deferred[ImageInfo | None]:
        """Pull it again under the name by which it was found; one that was made here is only looked at."""
        return Deferred.fromCoroutine(self._refresh(reference))

    async def _refresh(self, reference: str) -> ImageInfo | None:
        try:
            found = await self._found(reference)
            if found is None or not found.from_registry:
                return found
            try:
                await self._attempts(found.reference)
            except EngineError as error:
                raise _explained(
                    found.reference, error, "cannot be pulled again", "cannot be pulled again now"
                ) from error
            return await self._look(found.reference)
        except EngineError as error:
            raise EngineUnavailable(str(error), retry_after=2.0) from error

    def _candidates(self, reference: str) -> list[str]:
        policy = self._policy
        if policy.registry and reference not in policy.plain and not names_registry(reference):
            return [reference, with_registry(reference, policy.registry)]
        return [reference]

    async def _found(self, reference: str) -> ImageInfo | None:
        for candidate in self._candidates(reference):
            if (found := await self._look(candidate)) is not None:
                return found
        return None

    async def _look(self, reference: str) -> ImageInfo | None:
        try:
            return await self._engine.image(reference)
        except NotFound:
            return None

    def _pulled(self, reference: str) -> Deferred[None]:
        """Fires when the pull that all share has ended; one that stops waiting does not end it."""
        until, error = self._failed.get(reference, (0.0, None))
        if error is not None and self._clock.seconds() < until:
            raise error.again()
        waiting = self._pulls.get(reference)
        first = waiting is None
        if waiting is None:
            waiting = self._pulls[reference] = []
        waiter: Deferred[None] = Deferred(waiting.remove)
        waiting.append(waiter)
        if first:
            Deferred.fromCoroutine(self._pull(reference)).addBoth(self._end_pull, reference)
        return waiter

    def _end_pull(self, result: Any, reference: str) -> None:
        for waiter in self._pulls.pop(reference):
            waiter.callback(result)  # a Failure makes it an errback

    async def _pull(self, reference: str) -> None:
        self.log.info("pulling {image}", event="pulling", image=reference)
        try:
            await self._attempts(reference)
        except EngineError as error:
            self.log.warn("pulling {image} failed: {reason}", event="pull_failed", image=reference, reason=str(error))
            known = _explained(reference, error, "is not on the engine and cannot be pulled", "cannot be pulled now")
            self._remember(reference, known)
            raise known from error
        self.log.info("pulled {image}", event="pulled", image=reference)

    async def _attempts(self, reference: str) -> None:
        attempts = AsyncRetrying(
            sleep=lambda seconds: deferLater(self._clock, seconds),
            wait=self._pause,
            stop=stop_after_attempt(self._policy.retries + 1),
            retry=retry_if_exception(_may_pass),
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                await self._engine.pull(reference)

    def _remember(self, reference: str, error: ExecutorError) -> None:
        """For a minute; what is over is forgotten, or anybody could fill the memory with names."""
        now = self._clock.seconds()
        self._failed = {name: entry for name, entry in self._failed.items() if entry[0] > now}
        self._failed[reference] = (now + REMEMBER, error)

    def _pause(self, state: RetryCallState) -> float:
        return min(BACKOFF_MOST, BACKOFF_FIRST * 2.0 ** (state.attempt_number - 1)) * (0.5 + self._random())


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, EngineError) and not (isinstance(error, PullFailed) and error.permanent)


def _explained(reference: str, error: EngineError, permanent: str, passing: str) -> ExecutorError:
    reason = str(error).rstrip(".")
    if isinstance(error, PullFailed) and error.permanent:
        return ImageNotFound(
            f"The image {reference} {permanent}: {reason}. Correct its name, or build or load it on the engine."
        )
    return ImageUnavailable(
        f"The image {reference} {passing}: {reason}. It is tried again; look at the registry and the network, or load "
        "the image on the engine.",
        retry_after=REMEMBER,
    )
