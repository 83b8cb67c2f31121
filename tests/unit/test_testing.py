"""The sandboxes in memory keep the contract of the real ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from twisted.internet.defer import Deferred

from tests.source_contract import CONTRACT, HI, Subject
from twisted_executor.testing import HELLO, MemorySource


@pytest.mark.parametrize("clause", CONTRACT, ids=lambda clause: clause.__name__)
def test_contract(clause: Callable[[Subject], Awaitable[None]]) -> None:
    """What holds on an engine holds in memory, at once."""
    source = MemorySource(images=frozenset({"here"}), answers={HI.script: HELLO})

    async def alive() -> int:
        return len(source.alive)

    done: list[object] = []
    Deferred.fromCoroutine(clause(Subject(source, "here", "missing", alive))).addBoth(done.append)  # type: ignore[arg-type]
    assert done == [None]
