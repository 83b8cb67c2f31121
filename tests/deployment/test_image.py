"""The server's image on the Debian that it is built on by default, which is newer than that of most machines."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.engine.server_process import PROJECT

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]
BASE, SERVER = "script-executor-test:trixie", "script-executor-test:server-on-trixie"
MAKE_BASE = '. deploy/root-filesystems.sh && debian_root "$1/root" && import_root "$1/root" "$2"'


def told(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_default_base(tmp_path: Path) -> None:
    """It is built there, with the docker command, and understands its settings; compose takes it by default."""
    assert "SERVER_BASE_IMAGE:-debian:trixie-slim" in (PROJECT / "docker-compose.yml").read_text()
    told("bash", "-ec", f"export SUITE=trixie; {MAKE_BASE}", "bash", tmp_path, BASE)
    try:
        for certificate in Path("/usr/local/share/ca-certificates").glob("*.crt"):
            (PROJECT / "deploy/ca-certificates" / certificate.name).write_bytes(certificate.read_bytes())
        told("docker", "build", "-t", SERVER, "--build-arg", f"BASE={BASE}", "--build-arg", "DOCKER_CLI=1", ".")
        assert told("docker", "run", "--rm", SERVER, "--check-config") == "The configuration is fine.\n"
        assert "Docker version" in told("docker", "run", "--rm", "--entrypoint", "docker", SERVER, "--version")
    finally:
        subprocess.run(["docker", "image", "rm", SERVER, BASE], capture_output=True, check=False)
