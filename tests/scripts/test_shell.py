"""The shell scripts, as their checker sees them."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
HIDDEN = {".git", ".venv", ".run"}


def is_script(path: Path) -> bool:
    """Whether the shell runs it; what has no such first line is read by another and checked there."""
    with path.open("rb") as file:
        return file.readline().rstrip() in (b"#!/bin/sh", b"#!/bin/bash")


def test_shellcheck() -> None:
    """It finds nothing, in scripts and in what they read."""
    names = [*ROOT.rglob("*.sh"), ROOT / ".ci/run"]
    scripts = [path for path in names if HIDDEN.isdisjoint(path.relative_to(ROOT).parts) and is_script(path)]
    assert ROOT / "deploy.sh" in scripts
    done = subprocess.run(
        ["shellcheck", "--external-sources", "--check-sourced", *scripts], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
