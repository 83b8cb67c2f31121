"""Compiles the fuzz targets, and says how they are started.

python -m tests.fuzz.build TARGET FOLDER puts a target there, and the corpus to begin with in FOLDER/seeds.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.fuzz import seeds

HERE = Path(__file__).parent
AGENT = HERE.parents[1] / "twisted_executor" / "agent"
CORPUS = HERE / "corpus"
SANITIZERS = ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")

# The files of ours that a target has.
TARGETS = {
    "parser": ("parser.c", "harness.c", "input.c"),
    "session": ("session.c", "server.c", "harness.c", "input.c"),
}
# The files of the agent's that session.c includes, or has its own for: what they do would hit this machine.
_NOT_LINKED = {"frames.c", "main.c", "spawn.c", "wipe.c", "facts.c", "filter.c"}
_FLAGS = ("-std=c11", "-D_GNU_SOURCE=", "-O1", "-g", "-Wall", "-Wextra", "-Werror")


def build(target: str, binary: Path, agent: Path = AGENT, options: tuple[str, ...] = SANITIZERS) -> Path:
    """Compile a target with clang.  @param agent: the folder with the agent's source.  @return: the binary."""
    clang = ["clang", *_FLAGS, *options, f"-I{HERE}", f"-I{agent}"]
    objects = binary.with_suffix(".o")
    objects.mkdir(parents=True, exist_ok=True)
    linked = [path for path in sorted(agent.glob("*.c")) if path.name not in _NOT_LINKED]
    sources = {HERE / name: () for name in TARGETS[target]}
    if target == "session":
        sources |= dict.fromkeys(linked, ("-include", "syscalls.h"))
    for source, replaced in sources.items():
        subprocess.run([*clang, *replaced, "-c", "-o", objects / f"{source.stem}.o", source], check=True)
    subprocess.run([*clang, "-o", binary, *(objects / f"{source.stem}.o" for source in sources)], check=True)
    return binary


def command(binary: Path, *arguments: str | Path) -> list[str | Path]:
    """How a target is started: alone with its processes, as what it tests kills every process that it sees."""
    return ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", binary, *arguments]


if __name__ == "__main__":
    _, name, folder = sys.argv
    seeds.write(Path(folder) / "seeds")
    build(name, Path(folder) / name)
