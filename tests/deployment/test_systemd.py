"""The unit, as systemd sees it."""

from __future__ import annotations

import subprocess
from configparser import ConfigParser
from pathlib import Path

from tests.engine.server_process import PROJECT
from twisted_executor.config import VARIABLES

UNIT = PROJECT / "deploy/script-executor.service"
PROGRAM = "/opt/script-executor/bin/twistd"


def test_verify(tmp_path: Path) -> None:
    """systemd finds nothing to say, with a program that is there."""
    text = UNIT.read_text()
    assert PROGRAM in text
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace(PROGRAM, "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_time_to_stop() -> None:
    """It has the time that a stop takes at most: its drain and 25 seconds."""
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT)
    drain = sum(float(variable.default) for variable in VARIABLES["Stopping"])
    assert int(unit["Service"]["TimeoutStopSec"]) >= drain + 25
