"""The server with an engine that has no root: dockerd of an ordinary user, by rootlesskit."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.server_process import ServerProcess, make_images, wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
USER = "script-executor-test"
# In the machine's own network, which an engine without networks leaves alone.
ROOTLESSKIT = ["rootlesskit", "--net=host", "--copy-up=/etc", "--copy-up=/run"]
DOCKERD = ["dockerd", "--rootless", "--bridge=none", "--iptables=false", "--ip6tables=false"]


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """Where it listens."""
    subprocess.run(["userdel", "--force", USER], capture_output=True, check=False)
    subprocess.run(["useradd", "--system", "--add-subids-for-system", USER], check=True)
    folder = Path(tempfile.mkdtemp(prefix="rootless-", dir="/var/tmp"))
    shutil.chown(folder, USER, USER)
    environ = {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    address = f"unix://{folder}/docker.sock"
    places = [f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid", "-H", address]
    as_user = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups"]
    # rm: links to the machine's own, as in dockerd-rootless.sh.
    inside = ["sh", "-c", 'rm -f /run/docker /run/containerd /run/xtables.lock; exec "$@"', "sh", *DOCKERD, *places]
    try:
        with (folder / "log").open("wb") as log, subprocess.Popen(
            [*as_user, *ROOTLESSKIT, f"--state-dir={folder}/rootlesskit", *inside], env=environ, cwd=folder,
            stdout=log, stderr=log,
        ) as process:  # fmt: skip
            ping = ["docker", "-H", address, "version"]
            try:
                wait_until(
                    lambda: subprocess.run(ping, capture_output=True, check=False).returncode == 0, "an engine", 30
                )
                make_images("busybox", "volumes", DOCKER_HOST=address)
                yield address
            except AssertionError as error:
                raise AssertionError(f"{error}\n{(folder / 'log').read_text()}") from error
            finally:
                process.terminate()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["userdel", "--force", USER], capture_output=True, check=False)


def test_runs(host: str) -> None:
    """Scripts run as users of those that the engine has; what does not hold is told; nothing is left."""
    server = ServerProcess(DOCKER_HOST=host, REQUIRE_LIMITS="none").ready()
    try:
        assert 1000 <= int(server.output("id -u")) < 65534
        assert server.output("echo left >/tmp/left; echo hi", image="script-executor-test:volumes") == "hi\n"
        assert server.output("ls /tmp", image="script-executor-test:volumes") == ""
        assert server.execute("sleep 9", timeout=0.3)["status"] == "timeout"
        health = server.get("/health")
        assert health["status"] == "degraded"
        assert all("REQUIRE_LIMITS leaves it out" in reason for reason in health["reasons"])
    finally:
        server.discard()
    left = subprocess.run(["docker", "-H", host, "ps", "-aq"], capture_output=True, text=True, check=True)
    assert left.stdout == ""


def test_limits(host: str) -> None:
    """By default it is not ready, and says which limits this engine does not hold."""
    server = ServerProcess(DOCKER_HOST=host)
    try:
        wait_until(
            lambda: server.listening() and "REQUIRE_LIMITS" in server.get("/health").body.decode(), "it says", 30
        )
        assert server.get("/health/ready").status == 503
    finally:
        server.discard()
