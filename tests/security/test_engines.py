"""The same on other engines: one with user namespaces, and one on cgroup version 2 that is reached by TCP.

That rows fail without what closes them is only shown on the usual engine: user namespaces are one wall more.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.engine.own_engine import own_engine
from tests.engine.server_process import PROJECT, make_images
from tests.security.machine import machine

LIMIT = 1800  # seconds
pytestmark = [pytest.mark.long, pytest.mark.timeout(LIMIT)]
HERE = Path(__file__).parent
SELECTED = "holds or ends or (not_ready and not network)"  # the machine's has no bridge


def checked(host: str) -> None:
    """Run the tests of this folder on another engine."""
    environ = os.environ | {"DOCKER_HOST": host}
    make_images("busybox", "attacks", DOCKER_HOST=host)
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not long", "-k", SELECTED, HERE]
    done = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-10000:]
    assert " passed" in done.stdout


def test_user_namespaces() -> None:
    """Root in a container is nobody on the host."""
    with own_engine("--userns-remap=default", images=("busybox", "attacks")) as engine:
        checked(engine.host)


def test_cgroup_2() -> None:
    """Limits are in other files, and there is one hierarchy."""
    with TemporaryDirectory() as folder, machine(Path(folder)) as host:
        checked(host)
