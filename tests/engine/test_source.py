"""The real source, in this process, on the real engine: the contract, and what only an engine can show."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import docker
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.engine.in_process import Made, make
from tests.engine.server_process import BUSYBOX, free_port
from tests.source_contract import CONTRACT, Subject
from twisted_executor.errors import ImageNotFound, ImageUnavailable
from twisted_executor.services import Threads, ended
from twisted_executor.source import INSTANCE_LABEL


@pytest_twisted.async_yield_fixture
async def made() -> AsyncIterator[Made]:
    """A source of its own for each test; nothing of it may be left."""
    from twisted.internet import reactor  # noqa: TID251

    lanes = {name: Threads(name, 2, reactor) for name in ("control", "removal", "pulls")}  # type: ignore[arg-type]
    for lane in lanes.values():
        lane.startService()
    subject = make(reactor, lanes)
    yield subject
    for _ in range(100):
        left = await subject.engine.containers({INSTANCE_LABEL: subject.instance})
        if not left:
            break
        await deferLater(reactor, 0.1)  # type: ignore[arg-type]
    for lane in lanes.values():
        lane.stopService()
    assert not left


@pytest.mark.parametrize("clause", CONTRACT, ids=lambda clause: clause.__name__)
@pytest_twisted.ensureDeferred
async def test_contract(made: Made, clause: Callable[[Subject], Awaitable[None]]) -> None:
    """The real source keeps the contract."""

    async def alive() -> int:
        return len(await made.engine.containers({INSTANCE_LABEL: made.instance}))

    subject = Subject(made.source, BUSYBOX, f"127.0.0.1:{free_port()}/no/such:1", alive)
    if clause.__name__ == "missing_image":
        # Without a registry to ask nobody can say that an image does not exist.
        with pytest.raises((ImageNotFound, ImageUnavailable)):
            await made.source.create(subject.missing)
    else:
        await clause(subject)


@pytest.mark.parametrize("seconds", [0.001, 0.02, 0.05, 0.1])
@pytest_twisted.ensureDeferred
async def test_cancelled_creation(made: Made, seconds: float) -> None:
    """A creation that is given up at any moment leaves no container, though its calls go on in their threads."""
    creation: Deferred[Any] = made.source.create(BUSYBOX)
    creation.addErrback(lambda _: None)
    await deferLater(made.reactor, seconds)
    creation.cancel()
    await ended(creation)
    assert not await made.engine.containers({INSTANCE_LABEL: made.instance})


@pytest_twisted.ensureDeferred
async def test_sweep(made: Made, engine: docker.APIClient) -> None:
    """A sweep removes what carries our instance and is not known, and leaves what is."""
    known = await made.source.create(BUSYBOX)
    host = engine.create_host_config(network_mode="none")
    stray = engine.create_container(
        BUSYBOX, ["sleep", "1"], labels={"twisted-executor": "sandbox", INSTANCE_LABEL: made.instance}, host_config=host
    )["Id"]
    await made.source.sweep()
    left = await made.engine.containers({INSTANCE_LABEL: made.instance})
    assert [container.name for container in left] == [known.name]
    assert stray not in {container.id for container in left}
    await known.destroy()
