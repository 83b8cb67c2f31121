"""A root of files for agents: static busybox, the agent, and the programs of this folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.harness import Agent
from twisted_executor import agent

HERE = Path(__file__).parent
SOURCE = Path(agent.__file__).parent
BUSYBOX = Path("/bin/busybox")


def compiled(source: Path, target: Path) -> None:
    """Compile a program of this folder, static, as the agent is."""
    kernel = ["-idirafter", "/usr/include", "-idirafter", f"/usr/include/{os.uname().machine}-linux-gnu"]
    subprocess.run(
        ["musl-gcc", "-std=gnu11", "-static", "-Os", "-Wall", *kernel, "-o", target, source], check=True, timeout=60
    )


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that agents share; each mounts what it writes to."""
    newest = max(path.stat().st_mtime for path in SOURCE.glob("*.[ch]"))
    for binary in (SOURCE / "bin").glob("agent-*"):
        assert binary.stat().st_mtime >= newest, f"{binary.name} is older than its source: pip install -e ."
    place = tmp_path_factory.mktemp("root")
    place.chmod(0o755)
    for name in ("bin", "proc", "sys", "dev", "tmp", ".script", "data", "etc"):
        (place / name).mkdir(mode=0o755)
    shutil.copy(BUSYBOX, place / "bin/busybox")
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True, timeout=10).stdout
    for name in applets.split():
        if name != "busybox":
            (place / "bin" / name).symlink_to("busybox")
    (place / "etc/precious").write_text("precious\n")
    (place / "bin/agent").write_bytes(agent.agent_binary(os.uname().machine))
    (place / "bin/agent").chmod(0o755)
    for name in ("confine", "probe"):
        compiled(HERE / f"{name}.c", place / "bin" / name)
    return place


@pytest.fixture
def box(root: Path) -> Iterator[Agent]:
    """An agent that has greeted."""
    with Agent(root) as one:
        one.hello()
        yield one
