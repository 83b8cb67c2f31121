"""The files of a container without an engine: static busybox, the agent, and the programs of this folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from twisted_executor import agent

HERE = Path(__file__).parent
BUSYBOX = Path("/bin/busybox")


def compiled(source: Path, target: Path) -> None:
    """Compile a program of this folder, static, as the agent is."""
    kernel = ["-idirafter", "/usr/include", "-idirafter", f"/usr/include/{os.uname().machine}-linux-gnu"]
    subprocess.run(
        ["musl-gcc", "-std=gnu11", "-static", "-Os", "-Wall", *kernel, "-o", target, source], check=True, timeout=60
    )


def fill(place: Path) -> None:
    """Put them into an empty folder, which agents can share: each mounts what it writes to."""
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
