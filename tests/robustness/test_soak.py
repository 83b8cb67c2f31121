"""The soak finds nothing in a sound server, and would find what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from tests.engine.server_process import Answer, ServerProcess
from tests.robustness.mix import RIGHT, Client, Wrong
from tests.robustness.soak import Findings, soak

LONG = 600.0  # seconds


def sound(found: Findings, availability: float) -> None:
    """Every answer was right or an honest refusal, and refusals had their reasons."""
    assert not found.wrong, found.table()
    assert found.codes[RIGHT] > 0
    assert found.availability >= availability, found.table()


def test_short() -> None:
    """Twenty seconds with a fault."""
    found = soak(20, seed=1, fault_every=8)
    assert found.faults.total() >= 1
    sound(found, 0.99)


@pytest.mark.long
@pytest.mark.timeout(LONG + 300)
def test_long() -> None:
    """Ten minutes."""
    sound(soak(LONG, seed=2, fault_every=60), 0.999)


class Liar(ServerProcess):
    """Gives the same answer to everything."""

    def __init__(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self._answer = Answer(status, headers or {}, body)

    def execute(self, script: str, **fields: Any) -> Answer:
        return self._answer


OTHER_NONCE = b'{"status": "ok", "stdout": "9-9\\n"}'


@pytest.mark.parametrize(
    "server",
    [
        Liar(200, OTHER_NONCE),
        Liar(200, b'{"status": "timeout", "stdout": ""}'),
        Liar(500, b'{"code": "internal_error"}'),
        Liar(503, b'{"code": "overloaded"}'),
        Liar(200, b""),
    ],
    ids=["another's nonce", "another status", "a fault", "a refusal without Retry-After", "nothing"],
)
def test_wrong(server: Liar) -> None:
    """What is not the truth is told as wrong."""
    with pytest.raises((Wrong, ValueError)):
        Client(cast(ServerProcess, server), 1).nothing()


def test_refusal() -> None:
    """One that says when to come back is honest."""
    refusing = Liar(503, b'{"code": "overloaded"}', {"Retry-After": "1"})
    assert Client(cast(ServerProcess, refusing), 1).nothing() == "overloaded"
