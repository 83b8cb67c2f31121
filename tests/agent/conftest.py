"""A root of files for agents, and an agent in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.files import fill
from tests.agent.harness import Agent
from twisted_executor import agent

SOURCE = Path(agent.__file__).parent


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that agents share, with the agent as its source is now."""
    newest = max(path.stat().st_mtime for path in SOURCE.glob("*.[ch]"))
    for binary in (SOURCE / "bin").glob("agent-*"):
        assert binary.stat().st_mtime >= newest, f"{binary.name} is older than its source: pip install -e ."
    place = tmp_path_factory.mktemp("root")
    fill(place)
    return place


@pytest.fixture
def box(root: Path) -> Iterator[Agent]:
    """An agent that has greeted."""
    with Agent(root) as one:
        one.hello()
        yield one
