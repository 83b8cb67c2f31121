"""Finding and pulling images."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from twisted_executor.boundaries import IImageStore, ImageInfo
from twisted_executor.errors import (
    EngineUnavailable,
    EngineUnreachable,
    ImageNotFound,
    ImageUnavailable,
    NotFound,
    PullFailed,
)
from twisted_executor.image_store import ImageStore, PullPolicy


class Images:
    """As much of an engine as has images: those `present`, and pulls that end when the test says so."""

    def __init__(self, *present: str) -> None:
        self.present = set(present)
        self.local: set[str] = set()
        self.image_id = "sha256:1"
        self.pulling: list[tuple[str, Deferred[None]]] = []
        self.down = False

    def image(self, reference: str) -> Deferred[ImageInfo]:
        if self.down:
            return fail(EngineUnreachable("no engine"))
        if reference not in self.present:
            return fail(NotFound("no such image"))
        return succeed(ImageInfo(reference, self.image_id, "amd64", (), reference not in self.local))

    def pull(self, reference: str) -> Deferred[None]:
        pull: Deferred[None] = Deferred()
        self.pulling.append((reference, pull))
        return pull

    def succeed(self) -> None:
        reference, pull = self.pulling.pop(0)
        self.present.add(reference)
        pull.callback(None)

    def fail(self, permanent: bool = False) -> None:
        self.pulling.pop(0)[1].errback(PullFailed("registry says no", permanent))


def store(images: Images, clock: Clock | None = None, **policy: Any) -> ImageStore:
    values: dict[str, Any] = {"registry": "", "retries": 2, "plain": frozenset({"base"})} | policy
    return ImageStore(images, PullPolicy(**values), clock or Clock(), lambda: 0.5)  # type: ignore[arg-type]


def result(deferred: Deferred[Any]) -> Any:
    """What it fired with, an exception too; None when it has not."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    return getattr(found[0], "value", found[0]) if found else None


def test_interface() -> None:
    """The store provides what the source asks of it."""
    assert verifyObject(IImageStore, store(Images()))


def test_present() -> None:
    """An image that the engine has is not pulled."""
    images = Images("x")
    assert result(store(images).resolve("x")).reference == "x"
    assert not images.pulling


def test_one_pull_for_all() -> None:
    """However many wait, the image is pulled once; one that leaves does not end it."""
    images = Images()
    finder = store(images)
    first, second, third = (finder.resolve("x") for _ in range(3))
    first.addErrback(lambda _: None)
    first.cancel()
    assert len(images.pulling) == 1
    images.succeed()
    assert [result(d).reference for d in (second, third)] == ["x", "x"]


def test_retries() -> None:
    """What can pass is tried again, later each time, so often as the policy says."""
    images, clock = Images(), Clock()
    waiting = store(images, clock).resolve("x")
    images.fail()
    assert not images.pulling
    clock.advance(1.0)
    images.fail()
    clock.advance(1.9)
    assert not images.pulling
    clock.advance(0.1)
    images.fail()
    error = result(waiting)
    assert isinstance(error, ImageUnavailable)
    assert "registry says no" in str(error)
    assert "look at the registry" in str(error)


def test_permanent_is_not_retried() -> None:
    """What cannot pass is told at once."""
    images = Images()
    waiting = store(images).resolve("x")
    images.fail(permanent=True)
    error = result(waiting)
    assert isinstance(error, ImageNotFound)
    assert "Correct its name, or build or load it on the engine." in str(error)


def test_failure_is_remembered() -> None:
    """A failed pull is not tried again for a minute."""
    images, clock = Images(), Clock()
    finder = store(images, clock)
    waiting = finder.resolve("x")
    images.fail(permanent=True)
    result(waiting)
    assert isinstance(result(finder.resolve("x")), ImageNotFound)
    assert not images.pulling
    clock.advance(60)
    assert result(finder.resolve("x")) is None
    assert len(images.pulling) == 1


def test_built_after_a_failure() -> None:
    """An image that has come to the engine by another way is found in spite of a remembered failure."""
    images = Images()
    finder = store(images)
    waiting = finder.resolve("x")
    images.fail(permanent=True)
    result(waiting)
    images.present.add("x")
    assert result(finder.resolve("x")).reference == "x"


@pytest.mark.parametrize(
    ("reference", "present", "expected"),
    [
        ("x", ("x",), "x"),
        ("x", ("reg:5000/x",), "reg:5000/x"),
        ("x", ("x", "reg:5000/x"), "x"),
        ("base", ("reg:5000/base",), None),
        ("other.io/x", ("reg:5000/x",), None),
    ],
)
def test_registry(reference: str, present: tuple[str, ...], expected: str | None) -> None:
    """The plain name wins; the registry is for names without one, and not for the base image."""
    images = Images(*present)
    found = result(store(images, registry="reg:5000").resolve(reference))
    assert (found.reference if found else None) == expected
    assert [name for name, _ in images.pulling] == ([] if expected else [reference])


def test_pull_goes_to_the_registry() -> None:
    """An image that is nowhere is pulled from the configured registry."""
    images = Images()
    store(images, registry="reg:5000").resolve("x")
    assert [name for name, _ in images.pulling] == ["reg:5000/x"]


def test_engine_down() -> None:
    """Without an engine the answer says so and nothing is remembered."""
    images = Images("x")
    finder = store(images)
    images.down = True
    assert isinstance(result(finder.resolve("x")), EngineUnavailable)
    images.down = False
    assert result(finder.resolve("x")).reference == "x"


@pytest.mark.parametrize("present", ["x", "reg:5000/x"])
def test_refresh(present: str) -> None:
    """What is there is pulled again, under the name by which it was found, and looked at after that."""
    images = Images(present)
    refreshed = store(images, registry="reg:5000").refresh("x")
    assert [name for name, _ in images.pulling] == [present]
    images.image_id = "sha256:2"
    images.succeed()
    found = result(refreshed)
    assert (found.reference, found.id) == (present, "sha256:2")


def test_refresh_of_a_local_image() -> None:
    """An image that never came from a registry is looked at, and nobody is asked for its name."""
    images = Images("x")
    images.local = {"x"}
    assert result(store(images).refresh("x")).id == "sha256:1"
    assert not images.pulling


def test_refresh_of_nothing() -> None:
    """An image that is not there is not pulled for a refresh."""
    images = Images()
    refreshed: list[object] = []
    store(images).refresh("x").addCallback(refreshed.append)
    assert (refreshed, images.pulling) == ([None], [])


def test_refresh_fails() -> None:
    """A refresh is tried as often as another pull; that it failed does not keep anybody from the image."""
    images, clock = Images("x"), Clock()
    finder = store(images, clock)
    refreshed = finder.refresh("x")
    for _ in range(2):
        images.fail()
        clock.advance(2.0)
    images.fail()
    error = result(refreshed)
    assert isinstance(error, ImageUnavailable)
    assert str(error).startswith("The image x cannot be pulled again now: registry says no. ")
    assert result(finder.resolve("x")).id == "sha256:1"
    refreshed = finder.refresh("x")
    images.fail(permanent=True)
    assert str(result(refreshed)).startswith("The image x cannot be pulled again: registry says no. ")
    images.present.clear()
    finder.resolve("x").addErrback(lambda _: None)
    assert len(images.pulling) == 1


def test_refresh_without_an_engine() -> None:
    """That is no failure of the image."""
    images = Images("x")
    images.down = True
    assert isinstance(result(store(images).refresh("x")), EngineUnavailable)


def test_memory_of_failures_is_bounded() -> None:
    """Failures that are over are forgotten, however many names were tried."""
    images, clock = Images(), Clock()
    finder = store(images, clock)
    for number in range(50):
        waiting = finder.resolve(f"x{number}")
        images.fail(permanent=True)
        result(waiting)
        clock.advance(30)
    assert len(finder._failed) <= 2


def test_each_gets_an_error_of_its_own() -> None:
    """A failure that is remembered does not grow by the frames of each request that it is told."""
    images = Images()
    finder = store(images)
    waiting = finder.resolve("x")
    images.fail(permanent=True)
    told = [waiting.result.value]  # type: ignore[attr-defined]
    waiting.addErrback(lambda _: None)
    told += [result(finder.resolve("x")) for _ in range(3)]
    assert len({id(error) for error in told}) == 4
    assert {str(error) for error in told} == {str(told[0])}
