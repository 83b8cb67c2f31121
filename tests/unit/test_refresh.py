"""Looking whether the images of pools have changed."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogPublisher

from twisted_executor.boundaries import ExecutorStats, ImageInfo
from twisted_executor.errors import ImageNotFound, ImageUnavailable
from twisted_executor.refresh import ImageRefresh
from twisted_executor.testing import pool_stats


class Images:
    """Refreshes that end when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, Deferred[ImageInfo | None]]] = []

    def refresh(self, reference: str) -> Deferred[ImageInfo | None]:
        self.waiting.append((reference, Deferred()))
        return self.waiting[-1][1]

    def answer(self, image_id: str | None) -> None:
        reference, waiting = self.waiting.pop(0)
        waiting.callback(ImageInfo(reference, image_id, "amd64", ()) if image_id else None)

    def fail(self, error: Exception) -> None:
        self.waiting.pop(0)[1].errback(error)


class Pool:
    """What it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def set_image(self, image_id: str) -> None:
        self.told.append(image_id)


class Subject:
    """A refresh of two pools, `a` and `b`, and what it logs."""

    def __init__(self) -> None:
        self.images = Images()
        self.a, self.b = Pool(), Pool()
        pools: Any = {"a": self.a, "b:1": self.b, "c@sha256:" + "0" * 64: Pool()}
        self.refresh = ImageRefresh(self.images, pools)  # type: ignore[arg-type]
        self.events: list[Any] = []

    def round(self, *results: str | Exception | None) -> None:
        """One look, that ends so for each pool."""
        done: list[object] = []
        self.refresh.look().addBoth(done.append)
        for result in results:
            if isinstance(result, Exception):
                self.images.fail(result)
            else:
                self.images.answer(result)
        assert done == [None]

    def logged(self, word: str) -> int:
        return sum(word in event["log_format"] for event in self.events)

    def failure(self) -> str | None:
        pools = (pool_stats("a"), pool_stats("b:1"))
        return self.refresh.noted(ExecutorStats(pools, 0, 0, draining=False)).pools[0].refresh_failure


@pytest.fixture
def subject() -> Any:
    found = Subject()
    globalLogPublisher.addObserver(found.events.append)
    yield found
    globalLogPublisher.removeObserver(found.events.append)


def test_one_after_another(subject: Subject) -> None:
    """One pull at a time; an image with a digest is not asked for."""
    subject.refresh.look()
    assert [reference for reference, _ in subject.images.waiting] == ["a"]
    subject.images.answer("sha256:1")
    assert [reference for reference, _ in subject.images.waiting] == ["b:1"]


def test_pools_are_told(subject: Subject) -> None:
    """Each pool is told its image; a change is logged, the first look is none."""
    subject.round("sha256:1", "sha256:7")
    subject.round("sha256:2", "sha256:7")
    assert (subject.a.told, subject.b.told) == (["sha256:1", "sha256:2"], ["sha256:7", "sha256:7"])
    assert subject.logged("containers are replaced") == 1


def test_image_that_is_not_there(subject: Subject) -> None:
    """A pool whose image the engine does not have is told nothing."""
    subject.round(None, "sha256:7")
    assert (subject.a.told, subject.b.told) == ([], ["sha256:7"])
    assert subject.failure() is None


def test_failure(subject: Subject) -> None:
    """A failure changes nothing for its pool nor for others; it is noted, and logged when the reason changes."""
    subject.round("sha256:1", "sha256:7")
    for port in (40001, 40002):
        subject.round(ImageUnavailable(f"read tcp 127.0.0.1:{port}: reset."), "sha256:7")
    assert subject.a.told == ["sha256:1"]
    assert subject.b.told == ["sha256:7"] * 3
    assert subject.failure() == "read tcp 127.0.0.1:40002: reset."
    assert subject.logged("cannot be refreshed") == 1
    subject.round(ImageNotFound("manifest unknown."), "sha256:7")
    assert subject.logged("cannot be refreshed") == 2
    subject.round("sha256:1", "sha256:7")
    assert subject.failure() is None
    assert subject.logged("again") == 1
    subject.round(ImageNotFound("manifest unknown."), "sha256:7")
    assert subject.logged("cannot be refreshed") == 3


def test_fault(subject: Subject) -> None:
    """A fault with one image is logged, keeps no other from being looked at, and begins nothing again."""
    done: list[Any] = []
    subject.refresh.look().addCallback(done.append)
    subject.images.fail(RuntimeError("a fault"))
    subject.images.answer("sha256:1")
    assert done == [None]
    assert (subject.a.told, subject.b.told) == ([], ["sha256:1"])
    noted = subject.refresh.noted(ExecutorStats((pool_stats("a"), pool_stats("b")), 0, 0, draining=False))
    assert [pool.refresh_failure for pool in noted.pools] == ["The server's log has the fault.", None]


def test_stop(subject: Subject) -> None:
    """A stop is a cancellation, and ends it."""
    came: list[Any] = []
    subject.refresh.look().addErrback(lambda failure: came.append(failure.type))
    subject.images.fail(CancelledError())
    assert came == [CancelledError]


def test_figures_as_they_are(subject: Subject) -> None:
    """Without a failure the figures are passed on."""
    stats = ExecutorStats((pool_stats("a"),), 0, 0, draining=False)
    assert subject.refresh.noted(stats) is stats
