"""What every ISandboxSource does: the suite for the one in memory and for the one on the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError
from zope.interface.verify import verifyObject

from twisted_executor.boundaries import ISandbox, ISandboxSource, Job, Status
from twisted_executor.errors import ImageNotFound, SandboxLost

HI = Job(b"echo hi", 10.0, "contract-1")
ENDLESS = Job(b"while :; do sleep 1; done", 60.0, "contract-2")


class Subject:
    """One source to be tested.

    @ivar image: one that it can make sandboxes of.  @ivar missing: one that nobody has.
    @ivar alive: how many of its containers live.
    """

    def __init__(self, source: Any, image: str, missing: str, alive: Callable[[], Awaitable[int]]) -> None:
        self.source = source
        self.image = image
        self.missing = missing
        self.alive = alive


async def interfaces(subject: Subject) -> None:
    """A source makes sandboxes."""
    assert verifyObject(ISandboxSource, subject.source)
    sandbox = await subject.source.create(subject.image)
    assert verifyObject(ISandbox, sandbox)
    await sandbox.destroy()


async def runs_and_is_used_again(subject: Subject) -> None:
    """A sandbox runs one job after the other, and says after each that it may."""
    sandbox = await subject.source.create(subject.image)
    for _ in range(3):
        outcome = await sandbox.run(HI)
        assert (outcome.status, outcome.stdout, outcome.exit_code) == (Status.OK, b"hi\n", 0)
        assert await sandbox.settled() is None
    await sandbox.destroy()


async def image_of_a_sandbox(subject: Subject) -> None:
    """Each says of which image it was made; those of one image say the same."""
    first, second = [await subject.source.create(subject.image) for _ in range(2)]
    assert first.image_id.startswith("sha256:")
    assert first.image_id == second.image_id
    await first.destroy()
    await second.destroy()


async def one_job_at_a_time(subject: Subject) -> None:
    """A busy sandbox takes no second job."""
    sandbox = await subject.source.create(subject.image)
    running = sandbox.run(ENDLESS)
    with pytest.raises(SandboxLost):
        sandbox.run(HI)
    running.addErrback(lambda _: None)
    await sandbox.destroy()


async def destroyed(subject: Subject) -> None:
    """A destroyed sandbox is gone, says so once, and runs nothing; destroying again is harmless."""
    sandbox = await subject.source.create(subject.image)
    lost: list[str] = []
    sandbox.lost.addCallback(lost.append)
    await sandbox.destroy()
    await sandbox.destroy()
    assert len(lost) == 1
    assert await subject.alive() == 0
    with pytest.raises(SandboxLost):
        sandbox.run(HI)


async def destroyed_in_mid_run(subject: Subject) -> None:
    """Who waits for a run of a destroyed sandbox is told, and it does not settle as usable."""
    sandbox = await subject.source.create(subject.image)
    running, settled = sandbox.run(ENDLESS), sandbox.settled()
    await sandbox.destroy()
    with pytest.raises(SandboxLost):
        await running
    assert await settled == "lost"


async def cancelled_run(subject: Subject) -> None:
    """A cancelled run ends, and the sandbox serves on."""
    sandbox = await subject.source.create(subject.image)
    running = sandbox.run(ENDLESS)
    settled = sandbox.settled()
    running.cancel()
    with pytest.raises(CancelledError):
        await running
    assert await settled is None
    assert (await sandbox.run(HI)).status is Status.OK
    await sandbox.destroy()


async def missing_image(subject: Subject) -> None:
    """An image that nobody has is told as such, and leaves nothing."""
    with pytest.raises(ImageNotFound):
        await subject.source.create(subject.missing)
    assert await subject.alive() == 0


CONTRACT = [
    interfaces,
    runs_and_is_used_again,
    image_of_a_sandbox,
    one_job_at_a_time,
    destroyed,
    destroyed_in_mid_run,
    cancelled_run,
    missing_image,
]
