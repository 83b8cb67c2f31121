"""Compiles the agent, for every architecture, with what is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "twisted_executor" / "agent"
BINARIES = SOURCE / "bin"

# The kernel's headers of the build machine come after musl's own.
_KERNEL = ["-idirafter", "/usr/include", "-idirafter", f"/usr/include/{sys.implementation._multiarch}"]
ARCHITECTURES = ("x86_64", "aarch64")
_FLAGS = ["-std=c11", "-Os", "-static", "-s", "-Wall", "-Wextra", "-Werror", "-ffunction-sections", "-fdata-sections",
          "-Wl,--gc-sections"]  # fmt: skip


def compilers(architecture: str, machine: str) -> list[list[str]]:
    """The commands that can compile for this architecture on a machine of that one, the best first."""
    own = [["musl-gcc", *_KERNEL]] if machine == architecture else []  # it compiles for no other
    return [*own, [f"{architecture}-linux-musl-gcc"], [f"{architecture}-linux-gnu-gcc"]]


def compiler(architecture: str) -> list[str] | None:
    """The first of these commands that this machine has, or None."""
    return next((found for found in compilers(architecture, os.uname().machine) if shutil.which(found[0])), None)


def requirements() -> list[str]:
    """What pip must bring for the build: a compiler for all architectures, where one is missing."""
    return [] if all(map(compiler, ARCHITECTURES)) else ["ziglang>=0.13"]


def build() -> None:
    """Compile what is older than its source."""
    BINARIES.mkdir(exist_ok=True)
    newest = max(path.stat().st_mtime for path in SOURCE.glob("*.[ch]"))
    for architecture in ARCHITECTURES:
        target = BINARIES / f"agent-{architecture}"
        if not target.exists() or target.stat().st_mtime < newest:
            compile(architecture, target)


def compile(architecture: str, target: Path, *options: str) -> None:
    """Compile one binary.  @param options: more of them for the compiler."""
    command = compiler(architecture)
    if command is None:
        if find_spec("ziglang") is None:
            raise SystemExit(
                f"No C compiler for {architecture}: install musl-tools and gcc-aarch64-linux-gnu, or ziglang."
            )
        command = [sys.executable, "-m", "ziglang", "cc", "-target", f"{architecture}-linux-musl"]
    unfinished = target.with_suffix(".new")
    subprocess.run(
        [*command, *_FLAGS, *options, "-o", str(unfinished), *map(str, sorted(SOURCE.glob("*.c")))], check=True
    )
    unfinished.chmod(0o755)
    unfinished.replace(target)
