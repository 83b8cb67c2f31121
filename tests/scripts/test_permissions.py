"""fix-docker-permissions.sh, in copies of this folder; the socket is a test's own."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripts.folder import Folder, copy_to, real

GROUP = 4321
ENGINE = 'echo "28.0.1"'
BSD_STAT = f"""[ "$1 $2" = "-L -f" ] || {{ echo "stat: illegal option -- c" >&2; exit 1; }}
case $3 in %g) exec {real("stat")} -L -c %g "$4" ;; %Lp) exec {real("stat")} -L -c %a "$4" ;; esac
exit 1"""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A copy with an engine that answers."""
    made = copy_to(tmp_path / "project")
    made.stand_in("docker", ENGINE)
    return made


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A socket of the group `GROUP`."""
    found = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(found))
        os.chown(found, 0, GROUP)
        found.chmod(0o660)
        yield found


def run(folder: Folder, path: Path | str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [folder.path / "fix-docker-permissions.sh", *arguments], cwd="/", capture_output=True, text=True, timeout=60,
        env=folder.environ(DOCKER_SOCKET=str(path)) | environ, check=False,
    )  # fmt: skip


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Its one sentence."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("fix-docker-permissions.sh: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_check_and_fix(folder: Folder, path: Path) -> None:
    """What does not fit is said with its cure, and after it all is well; .env need not be there."""
    said = refusal(run(folder, path, "--check"))
    assert f"DOCKER_GID in .env is not set, which means 999, but the group is {GROUP}" in said
    assert "run: ./fix-docker-permissions.sh --fix" in said
    assert not (folder.path / ".env").exists()
    fixed = run(folder, path, "--fix")
    assert (fixed.returncode, (folder.path / ".env").read_text()) == (0, f"DOCKER_GID={GROUP}\n")
    assert "docker-compose up -d" in fixed.stdout
    checked = run(folder, path, "--check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert f"in group {GROUP}: all is well" in checked.stdout


def test_another_number(folder: Folder, path: Path) -> None:
    """--gid wins over what is there, and needs neither socket nor engine."""
    assert run(folder, path, "--fix", "--gid", "998").returncode == 0
    assert "DOCKER_GID in .env is 998, but the group is 4321" in refusal(run(folder, path, "--check"))
    folder.stand_in("docker", "exit 1")
    for arguments in (["--fix", "--gid=0"], ["--gid", "0", "--fix"]):
        assert run(folder, "/nowhere", *arguments).returncode == 0
        assert (folder.path / ".env").read_text() == "DOCKER_GID=0\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "DOCKER_GID=4321\n"),
        ("A=1\nDOCKER_GID=5\n# DOCKER_GID=6\nB='x y'\n", "A=1\n# DOCKER_GID=6\nB='x y'\nDOCKER_GID=4321\n"),
        ("DOCKER_GID=5\nDOCKER_GID=4321\n", "DOCKER_GID=5\nDOCKER_GID=4321\n"),
        ("A=no end", "A=no end\nDOCKER_GID=4321\n"),
        ("A=1\r\nDOCKER_GID=5\r\n", "A=1\r\nDOCKER_GID=4321\n"),
        ("DOCKER_GID_OF_OTHERS=5\n\n\n", "DOCKER_GID_OF_OTHERS=5\n\n\nDOCKER_GID=4321\n"),
    ],
)
def test_nothing_is_lost(folder: Folder, path: Path, before: str, after: str) -> None:
    """All other lines stay, byte by byte, and so do mode and links; a second time changes nothing."""
    elsewhere = folder.path.parent / "settings"
    for place in (folder.path / ".env", elsewhere):
        place.write_bytes(before.encode())
        place.chmod(0o600)
        if place is elsewhere:
            (folder.path / ".env").unlink()
            (folder.path / ".env").symlink_to(elsewhere)
        for _ in range(2):
            assert run(folder, path, "--fix").returncode == 0
            assert place.read_bytes() == after.encode()
            assert place.stat().st_mode & 0o777 == 0o600
    assert (folder.path / ".env").is_symlink()
    assert not list(folder.path.glob(".env.*[!e]"))


def test_full_disk(folder: Folder) -> None:
    """Where nothing can be written, what was there stays."""
    script = """cd "$1" && mkdir disk && mount -t tmpfs -o size=1m tmpfs disk
        cp -r deploy fix-docker-permissions.sh disk && cd disk && echo A=1 >.env
        head -c 3000000 /dev/zero >filler 2>/dev/null || true
        ./fix-docker-permissions.sh --fix --gid 7 || echo "status $?"; cat .env; ls -A"""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", script, "sh", folder.path],
        capture_output=True, text=True, timeout=60, check=False, env=folder.environ(),
    )  # fmt: skip
    assert done.stdout.split() == ["status", "1", "A=1", ".env", "deploy", "filler", "fix-docker-permissions.sh"]
    assert ".env cannot be written" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--fix", "--gid", "docker"], "number of a group"), (["--fix", "--gid"], "number of a group"),
     (["--fix", "--gid=-1"], "number of a group")],
)  # fmt: skip
def test_no_number(folder: Folder, path: Path, arguments: list[str], words: str) -> None:
    assert words in refusal(run(folder, path, *arguments))
    assert not (folder.path / ".env").exists()


@pytest.mark.parametrize("arguments", [[], ["--gid", "7"], ["--wrong"], ["check"]])
def test_usage(folder: Folder, path: Path, arguments: list[str]) -> None:
    done = run(folder, path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--check" in done.stderr


def test_help(folder: Folder, path: Path) -> None:
    done = run(folder, path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--fix --gid 998" in done.stdout


@pytest.mark.parametrize(
    ("kind", "words"),
    [("nothing", "there is no"), ("folder", "is a folder"), ("file", "is no socket"), ("closed", "lets no group")],
)
def test_sockets(folder: Folder, path: Path, tmp_path: Path, kind: str, words: str) -> None:
    """What is in the socket's place is told."""
    place = tmp_path / kind
    if kind == "folder":
        place.mkdir()
    elif kind == "file":
        place.touch()
    elif kind == "closed":
        path.chmod(0o600)
        place.symlink_to(path)
        words = "its group may not write"
    said = refusal(run(folder, place, "--check"))
    assert words in said
    assert str(place) in said


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ('echo "permission denied while trying to connect" >&2; exit 1', "sudo usermod -aG docker $USER"),
        ('echo "Cannot connect to the Docker daemon." >&2; exit 1', "no engine answers: Cannot connect"),
    ],
)
def test_engine_that_does_not_answer(folder: Folder, path: Path, program: str, words: str) -> None:
    folder.stand_in("docker", program)
    assert words in refusal(run(folder, path, "--check"))


@pytest.mark.parametrize(("system", "group"), [("Darwin", 0), ("FreeBSD", GROUP)])
def test_other_systems(folder: Folder, path: Path, system: str, group: int) -> None:
    """With BSD's stat; on macOS the engine is in a virtual machine, and its socket there is root's."""
    folder.stand_in("stat", BSD_STAT)
    folder.stand_in("uname", f"echo {system}")
    assert run(folder, path, "--fix").returncode == 0
    assert (folder.path / ".env").read_text() == f"DOCKER_GID={group}\n"
    assert run(folder, path, "--check").returncode == 0


def test_docker_host(folder: Folder, path: Path) -> None:
    """DOCKER_HOST says where the socket is when DOCKER_SOCKET does not."""
    done = run(folder, "", "--check", DOCKER_HOST=f"unix://{path}")
    assert f"{path} belongs to group {GROUP} and has the mode 660" in done.stdout
