"""A copy of the project in which its scripts are run as they are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.engine.server_process import PROJECT
from twisted_executor.config import VARIABLES

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".run", ".env", ".*_cache", ".hypothesis", "bin", "__pycache__", "*.egg-info", "dropin.cache"
)
SETTINGS = {variable.name for section in VARIABLES.values() for variable in section}
STEP = re.compile(r"\[ *\d+\.\d s\] \S.*")


@dataclass
class Folder:
    """A copy of the project."""

    path: Path

    def environ(self, **more: str) -> dict[str, str]:
        """Without what this test run and its machine have set, and with the folder's own programs first."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "VIRTUAL_ENV")) and name not in SETTINGS
        }
        return inherited | {"PATH": f"{self.path}/stand-ins:{os.environ['PATH']}"} | more

    def begin(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Run it, and do not wait."""
        return subprocess.Popen(
            [self.path / "deploy.sh", *arguments], env=self.environ(**environ), cwd="/", text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def run(self, *arguments: str, before: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        """Run it.  @param before: shell commands that make a world of its own for it, in its own mount namespace."""
        command: list[str | Path] = [self.path / "deploy.sh", *arguments]
        if before:
            command = ["unshare", "--mount", "sh", "-ec", f'{before}\nexec "$@"', "sh", *command]
        callers = os.open(self.path, os.O_RDONLY)
        try:
            return subprocess.run(
                command, env=self.environ(**environ), cwd=self.path if before else "/", capture_output=True, text=True,
                timeout=170, check=False, pass_fds=[callers],
            )  # fmt: skip
        finally:
            os.close(callers)

    def start(self, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run it for development."""
        return self.run("--env", "development", **environ)

    def stand_in(self, name: str, script: str) -> None:
        """Another program of this name."""
        path = self.path / "stand-ins" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def forget(self) -> None:
        """No stand-ins and no settings of a test any more."""
        shutil.rmtree(self.path / "stand-ins", ignore_errors=True)
        (self.path / ".env").unlink(missing_ok=True)

    @property
    def pid(self) -> int:
        """The server's."""
        return int((self.path / ".run/server.pid").read_text())


def copy_to(path: Path) -> Folder:
    """A copy without anything that is built."""
    return Folder(Path(shutil.copytree(PROJECT, path, ignore=LEFT_OUT)))


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """What a run that failed says at its end; nothing of the shell's own."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("deploy.sh: "), done.stderr
    assert "line " not in done.stderr.split(": ", 2)[1], done.stderr
    return done.stderr


def steps(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The steps of a run that succeeded."""
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.split("] ", 1)[1] for line in done.stdout.splitlines() if STEP.fullmatch(line)]


def curl(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """The answer to the line that it has printed, run as it is."""
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("  curl "))
    answer: dict[str, object] = json.loads(
        subprocess.run(["bash", "-c", line], capture_output=True, cwd="/", timeout=60, check=True).stdout
    )
    return answer


def real(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is missing"
    return found
