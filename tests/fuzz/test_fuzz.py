"""The agent's parser and its loop, with whatever a fuzzer sends them, under sanitizers."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fuzz import seeds
from tests.fuzz.build import AGENT, TARGETS, build, command

INPUTS = {"parser": 10_000, "session": 10_000}  # a few seconds each
LONG = 300  # seconds

# What the agent can say of itself where it gives up, but for what happens before its loop or around it.
_ELSEWHERE = {"facts.c", "wipe.c", "filter.c", "spawn.c"}
_AT_START = {"a writable place cannot be opened", "the filter cannot be installed"}
_UNHEARD = {"the server does not read"}


@dataclass(frozen=True)
class Ran:
    """How a target ended.  @ivar reached: what the agent did at least once."""

    code: int
    text: str

    @property
    def reached(self) -> set[str]:
        return set(re.findall(r"^reached: (.*)$", self.text, re.MULTILINE))


def ran(binary: Path, *arguments: str | Path) -> Ran:
    """Run a target to its end, in a folder of its own, as it leaves what it has found."""
    done = subprocess.run(command(binary, *arguments), cwd=binary.parent, capture_output=True, text=True, check=False)
    return Ran(done.returncode, done.stdout + done.stderr)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inputs to begin with."""
    folder = tmp_path_factory.mktemp("seeds")
    seeds.write(folder)
    return folder


@pytest.fixture(scope="session", params=TARGETS)
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target that is built."""
    name: str = request.param
    return build(name, tmp_path_factory.mktemp(name) / name)


def faults() -> set[str]:
    """All sentences with which the loop and the parser give up."""
    sources = [path.read_text() for path in AGENT.glob("*.c") if path.name not in _ELSEWHERE]
    return set(re.findall(r'fault\("([^"]*)"\)', "".join(sources))) - _AT_START - _UNHEARD


def test_seeds(target: Path, corpus: Path) -> None:
    """The corpus runs clean, and brings the agent to each of its answers."""
    done = ran(target, "-runs=0", corpus)
    assert done.code == 0, done.text
    if target.name == "session":
        assert faults() | {"a run", "END", "WIPED clean", "WIPED dirty", "CREDIT"} <= done.reached


def test_many(target: Path, corpus: Path, tmp_path: Path) -> None:
    """Thousands of inputs that the fuzzer makes of them find nothing."""
    done = ran(target, f"-runs={INPUTS[target.name]}", "-seed=1", tmp_path, corpus)
    assert done.code == 0, done.text


@pytest.mark.long
@pytest.mark.timeout(LONG + 120)
def test_long(target: Path, corpus: Path, tmp_path: Path) -> None:
    """Nor do those of minutes."""
    done = ran(target, f"-max_total_time={LONG}", tmp_path, corpus)
    assert done.code == 0, done.text


# A check of the agent's, and what it is without it.
BUGS = {
    "the length of a START": ("start.c", "frame->length < FIXED", "0"),
    "the room for a frame": ("frames.c", "frame->length > sizeof small &&", "0 &&"),
    "the room for output": ("frames.c", "queue_end + HEADER + size + RESERVE > QUEUE ? NULL", "0 ? NULL"),
    "the end of a START": ("run.c", "start_free(&run.start);", ""),
}


@pytest.mark.parametrize("name", BUGS)
def test_finds(name: str, corpus: Path, tmp_path: Path) -> None:
    """A check that is missing in the agent is found at once."""
    file, check, without = BUGS[name]
    agent = tmp_path / "agent"
    shutil.copytree(AGENT, agent, ignore=shutil.ignore_patterns("bin"))
    text = (agent / file).read_text()
    assert text.count(check) == 1
    (agent / file).write_text(text.replace(check, without))
    done = ran(build("session", tmp_path / "session", agent), "-runs=10000", "-seed=1", corpus)
    assert done.code != 0
    assert "SUMMARY: " in done.text or "broken: " in done.text, done.text
