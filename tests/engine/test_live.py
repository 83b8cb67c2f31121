"""The checks of a running server, tests/live, as their users run them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.server_process import BUSYBOX, PROJECT, ServerProcess, free_port, make_images
from tests.engine.weakened import weakened

LIVE = PROJECT / "tests/live"
SCRIPTS = ("test_server.py", "test_comprehensive.py", "test_multi_pools.py")
VOLUMES = "script-executor-test:volumes"
PYTHON = "script-executor-test:python"
KEY = "0123456789abcdef"
# What takes longer is not a check but the machine: a missing image is looked for in a registry, three times again.
SECONDS = 110

pytestmark = pytest.mark.timeout(300)


def run(*command: str | Path, url: str, **environ: str) -> tuple[int, str]:
    """Exit status and output of a command that has only these variables."""
    done = subprocess.run(
        command, env={"PATH": os.environ["PATH"], "SCRIPT_EXECUTOR_URL": url} | environ, cwd="/", text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def url_of(server: ServerProcess) -> str:
    return f"http://127.0.0.1:{server.port}"


def lines(output: str, verdict: str) -> list[str]:
    """Those of the checks that ended so."""
    return [line for line in output.splitlines() if line.startswith(verdict)]


@pytest.fixture(scope="module")
def two_pools() -> Iterator[ServerProcess]:
    """A server with two pools and all other settings as they are by default."""
    make_images("busybox", "volumes", "python")
    running = ServerProcess(CUSTOM_POOLS=f"{VOLUMES}=2")
    try:
        yield running.ready()
    finally:
        running.discard()


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(two_pools: ServerProcess, name: str) -> None:
    """Each is a program by itself, and finds nothing wrong."""
    environ = {"BASE_IMAGE": BUSYBOX, "CUSTOM_POOLS": f"{VOLUMES}:2", "TEMPORARY_IMAGE": PYTHON}
    status, output = run(LIVE / name, url=url_of(two_pools), **environ)
    assert status == 0, output
    assert len(lines(output, "ok ")) >= 7
    assert [line.split()[-3:] for line in lines(output, "skipped")] in ([], [["is", "not", "set."]]), output
    assert " 0 failed, " in output.splitlines()[-1]


@pytest.mark.parametrize("name", ["test_server.py", pytest.param("", marks=pytest.mark.long)], ids=["one", "all"])
def test_pytest(two_pools: ServerProcess, name: str) -> None:
    """pytest runs them too."""
    files = LIVE / name
    command = (sys.executable, "-m", "pytest", "-q", "--rootdir", PROJECT, "-c", PROJECT / "pyproject.toml", files)
    status, output = run(*command, url=url_of(two_pools))
    assert status == 0, output
    assert " passed" in output.splitlines()[-1]


def test_not_by_themselves() -> None:
    """A run of all tests leaves them out, one that names them does not."""
    environ = {name: value for name, value in os.environ.items() if name != "SCRIPT_EXECUTOR_URL"}
    found = []
    for place in ("tests", "tests/live", "tests/live/test_server.py::test_hello"):
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", place]
        done = subprocess.run(command, env=environ, cwd=PROJECT, capture_output=True, text=True, check=True)
        found.append(done.stdout.count("tests/live/test_server.py::"))
    assert (found[0], found[1] > 5, found[2]) == (0, True, 1)


def test_key(start: Callable[..., ServerProcess], tmp_path: Path) -> None:
    """With a key they are that client; without it they say what is missing."""
    (keys := tmp_path / "keys").write_text(f"alice: {KEY}\n")
    url = url_of(start(API_KEYS_FILE=str(keys)).ready())
    status, output = run(LIVE / "test_server.py", url=url, SCRIPT_EXECUTOR_KEY=KEY)
    assert status == 0, output
    for name in SCRIPTS:
        status, output = run(LIVE / name, url=url)
        assert (status, output) == (2, f"The server at {url} needs a key: set SCRIPT_EXECUTOR_KEY.\n")


@pytest.mark.long
def test_other_limits(start: Callable[..., ServerProcess]) -> None:
    """Limits are learnt, not assumed."""
    limits = {"TIMEOUT": "5", "MAX_OUTPUT_BYTES": "10k", "MAX_REQUEST_BYTES": "200k", "PIDS_LIMIT": "20"}
    server = start(**limits, MEMORY_LIMIT="64m", CONTAINER_MAX_USES="1", ALLOWED_IMAGES=VOLUMES).ready()
    status, output = run(LIVE / "test_comprehensive.py", url=url_of(server))
    assert status == 0, output


def test_weakened() -> None:
    """Each protection that a server lacks is a line, and the checks of the others hold."""
    host = {"ReadonlyRootfs": False, "PidsLimit": -1, "NetworkMode": "bridge"}
    server = ServerProcess(twistd=weakened(host=host, probe=False), REQUIRE_LIMITS="memory,swap,cpu")
    try:
        status, output = run(LIVE / "test_container.py", url=url_of(server.ready()))
    finally:
        server.discard()
    assert status == 1, output
    reasons = ("the network interfaces are", "'overlay', '/'", "the container has no limit")
    found = lines(output, "FAILED")
    assert [reason in line for reason, line in zip(reasons, found, strict=True)] == [True] * 3, output


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_server(name: str) -> None:
    """Where nobody answers they say so and have another exit status."""
    url = f"http://127.0.0.1:{free_port()}"
    sentence = f"No script execution server answers at {url}: [Errno 111] Connection refused."
    assert run(LIVE / name, url=url) == (2, f"{sentence}\n")
    # Python alone: no packages, no folder of the caller's or the script's on its path.
    assert run(sys.executable, "-I", "-S", LIVE / name, url=url) == (2, f"{sentence}\n")
    command = (sys.executable, "-m", "pytest", "-q", "-c", PROJECT / "pyproject.toml", LIVE / name)
    status, output = run(*command, url=url)
    assert (status, sentence in output, " passed" in output) == (1, True, False), output


@pytest.mark.parametrize(
    ("pools", "reason"),
    [
        (f"{VOLUMES}=2,{PYTHON}:3", f"CUSTOM_POOLS names {PYTHON}=3, and the server's pools are"),
        (f"{VOLUMES}:3", f"CUSTOM_POOLS names {VOLUMES}=3, and the server's pools are {BUSYBOX}=2, {VOLUMES}=2."),
        ("nothing", "CUSTOM_POOLS has 'nothing', which"),
    ],
)
def test_missing_pool(two_pools: ServerProcess, pools: str, reason: str) -> None:
    """A pool that is not there, or of another size, is one line and exit status 1."""
    status, output = run(LIVE / "test_multi_pools.py", url=url_of(two_pools), CUSTOM_POOLS=pools)
    (line,) = lines(output, "FAILED")
    assert (status, reason in line) == (1, True), output


def test_other_base_image(two_pools: ServerProcess) -> None:
    """A default pool of another image is one line and exit status 1."""
    status, output = run(LIVE / "test_server.py", url=url_of(two_pools), BASE_IMAGE="python-scientific-executor")
    (line,) = lines(output, "FAILED")
    assert (status, f"Scripts run in {BUSYBOX}" in line) == (1, True), output
