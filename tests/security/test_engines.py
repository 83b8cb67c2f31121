"""The same on other engines: one with user namespaces, and one on cgroup version 2 that is reached by TCP.

That rows fail without what closes them is only shown on the usual engine: user namespaces are one wall more.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.engine.own_engine import OwnEngine
from tests.engine.server_process import PROJECT
from tests.security.machine import machine

LIMIT = 1800  # seconds
pytestmark = [pytest.mark.long, pytest.mark.timeout(LIMIT)]
HERE = Path(__file__).parent
SELECTED = "holds or ends or (not_ready and not network)"  # these engines have no bridge


def checked(host: str) -> None:
    """Run the tests of this folder on another engine."""
    environ = os.environ | {"DOCKER_HOST": host}
    subprocess.run([PROJECT / "tests/images/build.sh", "busybox", "attacks"], env=environ, check=True)
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not long", "-k", SELECTED, HERE]
    done = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-10000:]
    assert " passed" in done.stdout


@contextmanager
def remapped(folder: Path) -> Iterator[str]:
    """A second engine on this machine, with user namespaces."""
    engine = OwnEngine(folder, "--userns-remap=default")
    try:
        yield engine.start().host
    finally:
        engine.discard()


def test_user_namespaces() -> None:
    """Root in a container is nobody on the host."""
    with TemporaryDirectory() as folder, remapped(Path(folder)) as host:
        checked(host)


def test_cgroup_2() -> None:
    """Limits are in other files, and there is one hierarchy."""
    with TemporaryDirectory() as folder, machine(Path(folder)) as host:
        checked(host)
