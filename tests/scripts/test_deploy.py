"""deploy.sh, run as it is in copies of this folder: on the real engine, and where something is missing.

What must fail is a program of that name first on PATH, a socket, a small disk; the script itself knows nothing of it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from tests.engine.server_process import free_port, wait_until
from tests.scripts.folder import Folder, copy_to, curl, real, sentence, steps
from twisted_executor.source import INSTANCE_LABEL, LABEL

DEAD = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
DENIED = "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"

pytestmark = pytest.mark.timeout(180)


def kill(folder: Folder, moment: Callable[[], object], **environ: str) -> None:
    """Start it, and kill the script at this moment; what it has begun goes on."""
    process = folder.begin("--env", "development", **environ)
    wait_until(lambda: moment() or process.poll() is not None, "the moment")
    assert process.poll() is None
    process.kill()
    process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A fresh copy."""
    return copy_to(tmp_path / "project")


@dataclass
class Installed:
    """@ivar folder: a copy with its .venv.  @ivar first: the run that has installed it."""

    folder: Folder
    first: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """Installed by the second run: the first was killed while it made .venv."""
    folder = copy_to(tmp_path_factory.mktemp("deploy") / "project")
    kill(folder, lambda: list(folder.path.glob(".venv/lib/*/site-packages")))
    try:
        first = folder.start(HOST_PORT=str(free_port()))
        folder.run("--stop")
        # An agent that no other server on this engine has, so that its volume is ours alone.
        for binary in (folder.path / "twisted_executor/agent/bin").iterdir():
            binary.write_bytes(binary.read_bytes() + os.urandom(8))
        yield Installed(folder, first)
    finally:
        folder.run("--stop")


@pytest.fixture
def installed(installation: Installed) -> Iterator[Folder]:
    """The installed copy, with no server before and after."""
    folder = installation.folder
    yield folder
    folder.forget()
    assert folder.run("--stop").returncode == 0


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.APIClient]:
    """The engine itself."""
    client = docker.APIClient(version="auto", timeout=60)
    yield client
    client.close()


@pytest.fixture
def left(engine: docker.APIClient) -> Callable[[], list[str]]:
    """What is on the engine that was not there before the test: containers and volumes of ours, and the made image.

    Other servers may come and go meanwhile: what has a running container is theirs.
    """

    def found() -> set[str]:
        containers = engine.containers(all=True, filters={"label": LABEL})
        living = {c["Labels"][INSTANCE_LABEL] for c in containers if c["State"] == "running"}
        names = {c["Id"] for c in containers if c["Labels"][INSTANCE_LABEL] not in living}
        volumes = engine.volumes(filters={"name": "twisted-executor-agent-"})["Volumes"] or []
        used = {m.get("Name") for c in containers for m in c["Mounts"]}
        names |= {v["Name"] for v in volumes if v["Name"] not in used}
        return names | {i["Id"] for i in engine.images("script-executor-base")}

    before = found()
    return lambda: sorted(found() - before)


def test_first_run(installation: Installed) -> None:
    """After one that was killed: it says each step, and then what a script has printed."""
    done = installation.first
    assert [step.split(":")[0] for step in steps(done)] == [
        "Looking at this machine", "Installing into .venv", "Checking the settings", "Looking for an engine",
        "Looking for the image alpine", "Starting the server", "Waiting until it is ready", "Running a first script",
    ]  # fmt: skip
    (answer,) = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert answer["success"]
    assert answer["stdout"].startswith("Hello World\n")


@pytest.mark.long
def test_killed_in_the_middle_of_pip(folder: Folder) -> None:
    """Pip itself goes on; the next run waits for it, and takes nothing of what it has left."""
    environ = {"HOST_PORT": str(free_port()), "POOL_SIZE": "1"}
    kill(folder, lambda: list(folder.path.glob(".venv/lib/*/site-packages/docker")), **environ)
    assert (folder.path / ".venv/unfinished").exists()
    done = folder.start(**environ)
    try:
        assert "what it began goes on; waiting for it" in done.stdout
        assert curl(done)["success"]
    finally:
        assert folder.run("--stop").returncode == 0


def test_cycle(installed: Folder, left: Callable[[], list[str]]) -> None:
    """Started twice and stopped twice, it is the same as once; the settings are those of .env."""
    port = free_port()
    (installed.path / ".env").write_text(f'# The port\nHOST_PORT="{port}"\nPOOL_SIZE=2 # small\n')
    done = installed.start()
    assert f"Waiting until it is ready: http://127.0.0.1:{port}" in steps(done)
    assert curl(done)["stdout"].startswith("Hello World\n")  # type: ignore[attr-defined]
    pid = installed.pid
    # Neither the script's lock nor what its caller has open lives on in the server.
    files = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    assert files.isdisjoint({str(installed.path), str(installed.path / ".run/lock")})
    # Other settings are for another start.
    again = installed.start(HOST_PORT=str(free_port()))
    assert steps(again) == [
        f"Waiting until the server, which runs already as process {pid}, is ready: http://127.0.0.1:{port}"
    ]
    assert curl(again)["success"]
    done = installed.run("--stop")
    assert steps(done) == [f"Ending the server, process {pid}", "Removing what it left on the engine"]
    assert left() == []
    done = installed.run("--stop")
    assert (done.returncode, done.stdout, done.stderr) == (0, "No server of this folder runs.\n", "")


def test_stop_before_any_start(folder: Folder) -> None:
    """There is nothing to do, and nothing to install for it."""
    done = folder.run("--stop")
    assert (done.returncode, done.stdout, done.stderr) == (0, "No server of this folder runs.\n", "")


@pytest.mark.parametrize(
    "moment",
    [pytest.param("pull.log", marks=pytest.mark.long), pytest.param("others", marks=pytest.mark.long), "server.pid"],
)
def test_killed_half_way(moment: str, installed: Folder, left: Callable[[], list[str]]) -> None:
    """While it looks for the image, starts the server, or waits for it: the next run works."""
    file = installed.path / ".run" / moment
    file.unlink(missing_ok=True)
    environ = {"HOST_PORT": str(free_port()), "POOL_SIZE": "1"}
    kill(installed, file.exists, **environ)
    assert curl(installed.start(**environ))["success"]
    assert installed.run("--stop").returncode == 0
    assert left() == []


def test_keys_and_names(installed: Folder, tmp_path: Path) -> None:
    """The line to do it again has what such a server asks for, but no secret."""
    keys = tmp_path / "the keys"
    keys.write_text(
        f"# ours\n\nunknown:sha256:{'0' * 64}\nfirst : a-secret-of-some-length\nsecond:another-secret-of-some-length\n"
    )
    environ = {"API_KEYS_FILE": str(keys), "ALLOWED_HOSTS": "scripts.example,other.example"}
    done = installed.start(HOST_PORT=str(free_port()), POOL_SIZE="1", **environ)
    assert "secret" not in done.stdout
    assert curl(done)["success"]


def test_killed_server(installed: Folder, engine: docker.APIClient, left: Callable[[], list[str]]) -> None:
    """After kill -9, with a pid file that names another process: --stop removes what it left, and nothing else."""
    environ = {"HOST_PORT": str(free_port()), "POOL_SIZE": "1"}
    made = [own := _container(engine, "before")]
    try:
        assert installed.start(**environ).returncode == 0
        os.kill(installed.pid, signal.SIGKILL)
        (installed.path / ".run/server.pid").write_text(str(os.getpid()))
        assert curl(installed.start(**environ))["success"]
        os.kill(installed.pid, signal.SIGKILL)
        made += [lost := _container(engine, "lost")]
        made += [_container(engine, "living", start=True), _container(engine, "living")]
        assert steps(installed.run("--stop"))[-1].startswith("Removing what it left")
        there = {c["Id"] for c in engine.containers(all=True, filters={"label": LABEL})}
        assert lost not in there
        assert {own, *made[2:]} <= there
    finally:
        for container in made:
            with suppress(docker.errors.NotFound):
                engine.remove_container(container, force=True)
    assert left() == []


def _container(engine: docker.APIClient, instance: str, start: bool = False) -> str:
    """One of a server with this name."""
    image = "script-executor-test:busybox"
    labels = {LABEL: "sandbox", INSTANCE_LABEL: instance}
    container: str = engine.create_container(image, ["sleep", "1000"], labels=labels)["Id"]
    if start:
        engine.start(container)
    return container


def test_wrong_settings(installed: Folder) -> None:
    """The server's own words, all of them."""
    said = sentence(installed.start(CPU_LIMIT="much", HOST_PORT="http"))
    assert 'HOST_PORT="http": It must be a whole number from 1 to 65535.' in said
    assert 'CPU_LIMIT="much": ' in said


def test_refused_image(installed: Folder) -> None:
    """Where a registry answers, another image is no substitute."""
    answer = "Error response from daemon: pull access denied for nothing, repository does not exist"
    installed.stand_in("docker", f'[ "$1" != pull ] || {{ echo "{answer}" >&2; exit 1; }}\nexec {real("docker")} "$@"')
    said = sentence(installed.start(BASE_IMAGE="nothing", HOST_PORT=str(free_port())))
    assert "BASE_IMAGE=nothing cannot be pulled: pull access denied" in said


def test_an_engine_of_its_own(installed: Folder, tmp_path: Path) -> None:
    """Where none answers dockerd is started; it is ended with the server, and a run in between leaves it alone.

    This dockerd gives back the real engine's socket, which the namespace hides.
    """
    installed.stand_in("dockerd", f'trap "rm /run/docker.sock; exit" TERM\nln -s {tmp_path}/run/docker.sock /run/\n'
                       "while :; do sleep 0.1; done")  # fmt: skip
    # Others may use the real engine now.
    installed.stand_in("docker", f'[ "$*" != "container ls -q" ] || exit 0\nexec {real("docker")} "$@"')
    (tmp_path / "run").mkdir()
    done = installed.run(
        "--stop",
        before=f"mount --bind /run {tmp_path}/run\nmount -t tmpfs tmpfs /run\n"
        f"timeout -s KILL 1 {installed.path}/deploy.sh --env development || true\n"
        f"{installed.path}/deploy.sh --env development\ncat .run/dockerd.pid",
        HOST_PORT=str(free_port()),
        POOL_SIZE="1",
    )
    lines = steps(done)
    (pid,) = (line for line in done.stdout.splitlines() if line.isdigit())
    assert lines[-1] == f"Ending the engine that was started here: process {pid}"
    assert not Path("/proc", pid).exists()


def test_usage(folder: Folder) -> None:
    """What it does not know it does not do."""
    for arguments in (["--env"], ["--env", "staging"], ["--wrong"], ["development"]):
        done = folder.run(*arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert "./deploy.sh --env development" in done.stderr
    done = folder.run("--help")
    assert (done.returncode, done.stderr) == (0, "")


def test_taken_port(folder: Folder) -> None:
    """It says by whom, before it installs anything."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = sentence(folder.start(HOST_PORT=str(port)))
    assert f"port {port} is taken by " in said
    assert f", process {os.getpid()}; end that, or choose another: HOST_PORT=" in said
    assert not (folder.path / ".venv").exists()


NO_VENV = f'case "$*" in *ensurepip*) exit 1 ;; esac\nexec {real("python3")} "$@"'
OLD = f'[ "$1" != -c ] || exec {real("python3")} -c "import sys; sys.version_info = (3, 9, 2)\n$2"\nexit 1'
USER = '[ "$1" = -u ] && echo 1000 || echo somebody'


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        ({"docker": f"echo '{DENIED}' >&2; exit 1"}, "sudo usermod -aG docker $USER"),
        ({"docker": f"echo '{DEAD}' >&2; exit 1", "dockerd": "exit 1", "id": USER}, "sudo systemctl start docker"),
        ({"python3": OLD}, "python3 is Python 3.9.2, but 3.11 or newer is needed"),
        ({"python3": NO_VENV, "id": USER}, "sudo apt-get install python3-venv"),
        (
            {
                "python3": NO_VENV,
                "id": "echo 0",
                "apt-get": "echo \"E: Failed to fetch x  Temporary failure resolving 'mirror.example'\" >&2; exit 100",
            },
            "python3-venv cannot be installed: packages cannot be downloaded",
        ),
    ],
    ids=["permission", "no engine", "old Python", "no venv", "no network"],
)
def test_machine(folder: Folder, programs: dict[str, str], said: str) -> None:
    """What the machine lacks is a sentence with what to do."""
    for name, script in programs.items():
        folder.stand_in(name, script)
    assert said in sentence(folder.start(HOST_PORT=str(free_port())))
    assert not (folder.path / ".venv").exists()


def test_no_python(folder: Folder) -> None:
    """Nor is there Docker: both are told at once."""
    programs = folder.path / "stand-ins"
    programs.mkdir()
    for name in ("bash", "dirname", "mkdir", "head", "rm", "flock", "grep", "cut", "tail", "timeout", "cat"):
        (programs / name).symlink_to(real(name))
    folder.stand_in("id", USER)
    said = sentence(folder.start(HOST_PORT=str(free_port()), PATH=str(programs)))
    assert "sudo apt-get install python3 python3-venv docker.io ca-certificates" in said


def test_dead_docker_host(folder: Folder) -> None:
    """Nothing is started where the operator has named another engine."""
    environ = {"HOST_PORT": str(free_port()), "DOCKER_HOST": f"tcp://127.0.0.1:{free_port()}"}
    assert f"no engine answers at DOCKER_HOST={environ['DOCKER_HOST']}" in sentence(folder.start(**environ))


def test_no_index(folder: Folder) -> None:
    """Pip without a network."""
    none = f"http://127.0.0.1:{free_port()}/"
    pip = {"PIP_CONFIG_FILE": "/dev/null", "PIP_INDEX_URL": none, "PIP_FIND_LINKS": none, "PIP_RETRIES": "0"}
    said = sentence(folder.start(HOST_PORT=str(free_port()), **pip))
    assert "pip fails: packages cannot be downloaded" in said
    assert "(log: .run/install.log)" in said


@pytest.mark.parametrize("name", [".run", ".venv"])
def test_full_disk(folder: Folder, name: str) -> None:
    """Too small for what is to be there."""
    (folder.path / name).mkdir()
    before = f"mount -t tmpfs -o size=2m tmpfs {name}"
    if name == ".run":
        before += "\nhead -c 3000000 /dev/zero 2>/dev/null >.run/x || true"
    done = folder.run("--env", "development", before=before, HOST_PORT=str(free_port()))
    assert "the disk is full" in sentence(done)
    assert folder.run("--stop", before=before).returncode == 0


def test_no_folder_for_logs(folder: Folder) -> None:
    """A file is where its folder should be."""
    (folder.path / ".run").touch()
    assert f"{folder.path}/.run is not to be written" in sentence(folder.start())


def test_two_at_once(folder: Folder) -> None:
    """The second waits for the first."""
    (folder.path / ".run").mkdir()
    with subprocess.Popen(["flock", folder.path / ".run/lock", "sleep", "1.5"]):
        wait_until(lambda: _held(folder.path / ".run/lock"), "the lock")
        began = time.monotonic()
        done = folder.run("--stop")
    assert done.returncode == 0
    assert "waiting for it" in done.stdout
    assert time.monotonic() - began > 0.5


def _held(path: Path) -> bool:
    return subprocess.run(["flock", "-n", path, "true"], check=False).returncode != 0
