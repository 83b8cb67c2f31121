"""The engine, and a way to it that fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.conftest import engine as engine
from tests.robustness.proxy import Proxy


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    """Passes on all that it gets, until a test arms it."""
    between = Proxy(tmp_path / "engine.sock")
    yield between
    between.close()
