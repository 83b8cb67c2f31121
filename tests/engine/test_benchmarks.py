"""The benchmarks run and find what they promise to measure.  How fast it was is not asked here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from benchmarks.sections import SECTIONS
from tests.engine.server_process import PROJECT


def measured(folder: Path, *sections: str) -> tuple[str, dict[str, list[dict[str, object]]]]:
    """What it prints, and its figures."""
    figures = folder / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--rounds", "1", "--seconds", "0.5", "--only", *sections]
    done = subprocess.run(
        [*command, "--json", figures, "--plot", folder / "plot.svg"],
        cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "<svg" in (folder / "plot.svg").read_text()
    return done.stdout, json.loads(figures.read_text())


def test_echo(tmp_path: Path) -> None:
    """The first section, as it is run every day."""
    text, found = measured(tmp_path, "echo")
    names = {str(row["name"]) for row in found["rows"]}
    assert {"subprocess, one at a time", "ours, connections: 64", "docker run --rm, one at a time"} <= names
    assert all(value > 0 for row in found["rows"] for value in row["figures"].values())  # type: ignore[attr-defined]
    assert len(found["claims"]) == 4
    assert "What is promised" in text


@pytest.mark.long
def test_all(tmp_path: Path, engine: docker.APIClient) -> None:
    """All of them, which leave nothing on the engine but the agent's own volume."""
    before = {volume["Name"] for volume in engine.volumes()["Volumes"] or ()}
    _, found = measured(tmp_path, *SECTIONS)
    assert len({row["section"] for row in found["rows"]}) >= len(SECTIONS)
    assert len({volume["Name"] for volume in engine.volumes()["Volumes"] or ()} - before) <= 1
