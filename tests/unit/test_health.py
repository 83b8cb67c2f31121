"""What /health says, from what is known."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import fail, succeed
from zope.interface.verify import verifyObject

from twisted_executor.boundaries import CanaryStats, Demand, ExecutorStats, HealthReport, IHealth, PoolStats
from twisted_executor.errors import EngineUnreachable
from twisted_executor.health import EngineWatch, Health
from twisted_executor.testing import pool_stats


class Engine:
    """As much of an engine as can be asked whether it is there."""

    down = False

    def info(self) -> Any:
        return fail(EngineUnreachable("There is no Docker engine.")) if self.down else succeed(None)


def pool(
    image: str, idle: int = 1, failure: str | None = None, temporary: bool = False, creating: int = 0, created: int = 0
) -> PoolStats:
    return PoolStats(image, 0 if temporary else 1, idle, 0, creating, 0, 0, 0, created, 0, {}, failure, temporary)


def health(
    *pools: PoolStats,
    draining: bool = False,
    down: bool = False,
    concessions: tuple[str, ...] = (),
    canaries: tuple[CanaryStats, ...] = (),
) -> Health:
    engine = Engine()
    engine.down = down
    watch = EngineWatch(engine)  # type: ignore[arg-type]
    watch.look()
    return Health(lambda: ExecutorStats(pools, 0, 0, draining), watch, lambda: concessions, lambda: canaries)


def canary(image: str, problem: str | None = None) -> CanaryStats:
    return CanaryStats(image, "failed" if problem else "ok", problem, 0.002, 1.0, None, {})


HANGS = "The last check of py failed."
DEFAULT, OTHER, TEMPORARY = pool("base"), pool("py"), pool("temporary", 0, temporary=True)


def test_interface() -> None:
    """It provides what the web edge asks of it."""
    assert verifyObject(IHealth, health(DEFAULT))


def test_healthy() -> None:
    """With a warm container for every image all is well; temporary ones need none."""
    report = health(DEFAULT, OTHER, TEMPORARY).report()
    assert (report.status, report.reasons, report.ready) == ("healthy", (), True)


def test_engine_not_asked_yet() -> None:
    """Before the engine has answered once the server is not ready."""
    watch = EngineWatch(Engine())  # type: ignore[arg-type]
    report = Health(lambda: ExecutorStats((DEFAULT,), 0, 0, False), watch, lambda: ()).report()
    assert (report.status, report.ready) == ("unhealthy", False)


def test_all_being_replaced() -> None:
    """A moment in which every container is being replaced takes no server out of service."""
    report = health(pool("base", idle=0, creating=1, created=7), OTHER).report()
    assert (report.status, report.reasons, report.ready) == ("healthy", (), True)


@pytest.mark.parametrize(
    ("subject", "word"),
    [
        (health(DEFAULT, down=True), "no Docker engine"),
        (health(pool("base", idle=0, creating=1), OTHER), "base"),
        (health(pool("base", idle=0, creating=1, created=7, failure="The disk is full.")), "disk is full"),
        (health(pool("base", idle=0), OTHER), "base"),
        (health(pool("base", idle=0, failure="The disk is full."), OTHER), "disk is full"),
        (health(DEFAULT, draining=True), "stopping"),
        (health(DEFAULT, OTHER, canaries=(canary("base", HANGS), canary("py"))), HANGS),
    ],
)
def test_unhealthy(subject: Health, word: str) -> None:
    """When the default image cannot be served the server is unhealthy, and says why."""
    report = subject.report()
    assert (report.status, report.ready) == ("unhealthy", False)
    assert word in " ".join(report.reasons)


@pytest.mark.parametrize(
    ("subject", "word", "ready"),
    [
        (health(DEFAULT, pool("py", idle=0)), "py", False),
        (health(DEFAULT, pool("py", idle=0, failure="No such image.")), "No such image", True),
        (health(pool("base", failure="The disk is full.")), "disk is full", True),
        (health(DEFAULT, concessions=("The swap limit does not hold.",)), "swap", True),
        (health(DEFAULT, OTHER, canaries=(canary("base"), canary("py", HANGS))), HANGS, True),
    ],
)
def test_degraded(subject: Health, word: str, ready: bool) -> None:
    """When something less is wrong the server is degraded, and says what."""
    report = subject.report()
    assert (report.status, report.ready) == ("degraded", ready)
    assert word in " ".join(report.reasons)


def test_engine_comes_back() -> None:
    """The watch forgets a problem when the engine answers again."""
    engine = Engine()
    watch = EngineWatch(engine)  # type: ignore[arg-type]
    engine.down = True
    watch.look()
    assert watch.problem == "There is no Docker engine."
    engine.down = False
    watch.look()
    assert watch.problem is None


def test_figures() -> None:
    """The report has the figures of the standing pools, and the canary of the default one."""
    report = health(DEFAULT, OTHER, TEMPORARY, canaries=(canary("base"), canary("py"))).report()
    assert report.pools == (DEFAULT, OTHER)
    assert report.canary == canary("base")
    assert health(DEFAULT).report().canary is None


def test_canary_beside_others() -> None:
    """A failing canary hides no other reason, and is told once."""
    report = health(DEFAULT, down=True, canaries=(canary("base", HANGS),)).report()
    assert report.reasons == ("There is no Docker engine.", HANGS)


def asked(image: str, share: float, size: int | None) -> PoolStats:
    """A pool of four that was asked for so."""
    return pool_stats(image, target=4, idle=4, demand=Demand(880.0, 100, share, 0.25, 2.0, size))


@pytest.mark.parametrize(("share", "size"), [(0.05, 9), (0.0, 2), (0.3, 4), (0.3, 2), (0.3, None)])
def test_no_advice(share: float, size: int | None) -> None:
    """Nothing is advised where hardly anybody waits, where a larger pool would not help, and where nobody can tell."""
    assert health(asked("base", share, size)).report().advice == ()


def test_advice() -> None:
    """A pool that is too small is told with its setting, and is no reason to be anything but healthy."""
    report = health(asked("base", 0.3, 9), asked("py", 0.0512, 5), OTHER).report()
    assert report == HealthReport(
        "healthy", (), True,
        (
            "30% of the requests for base waited in the last 15 min, 0.25 s on average; set POOL_SIZE=9 (now 4).",
            "5% of the requests for py waited in the last 15 min, 0.25 s on average; set in CUSTOM_POOLS py=5 (now 4).",
        ),
        report.pools, None,
    )  # fmt: skip
