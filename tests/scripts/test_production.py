"""deploy.sh for production: with stand-ins for engine and compose, and once as it is."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.server_process import BUSYBOX, free_port, wait_until
from tests.scripts.folder import Folder, copy_to, curl, sentence, steps

GROUP = 4321
BASE, SERVER = "script-executor-base:debian", "script-executor-test:server"
SAID = '{"success":true,"stdout":"Hello World"}'
DOCKER = """echo "docker $*" >>calls
case $* in
    "compose version") [ -e plugin ] || { echo "docker: 'compose' is not a docker command." >&2; exit 1; } ;;
    compose\\ *) shift; exec docker-compose "$@" ;;
    version*) echo 28.0.1 ;;
    "image inspect --format"*) echo 151000000 ;;
    "image inspect"*) [ ! -e no-images ] ;;
    pull*) cat pull-says >&2; exit 1 ;;
    "container ls -aq --filter volume=twisted-executor-agent-00000000000000ab") echo 0123456789ab ;;
    "container ls -aq"*) ;;
    "container ls"*) echo project_script-executor_1 ;;
    "volume ls"*) for end in ab cd; do echo twisted-executor-agent-00000000000000$end; done; echo another ;;
esac"""
COMPOSE = """echo "compose $*" >>calls
[ ! -e "fails-$1" ] || { cat "fails-$1"; exit 1; }
[ "$*" != "ps -q script-executor" ] || [ ! -e running ] || echo 0123456789ab"""
UNREACHABLE = 'Get "https://registry.example/v2/": dial tcp: lookup registry.example: no such host'


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """A copy with an engine and a compose that note what they are asked."""
    made = copy_to(tmp_path / "project")
    made.stand_in("docker", f"cd {made.path}\n{DOCKER}")
    made.stand_in("docker-compose", f"cd {made.path}\n{COMPOSE}")
    made.stand_in("curl", f"echo '{SAID}'")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "docker.sock"))
        os.chown(tmp_path / "docker.sock", 0, GROUP)
        yield made


def run(folder: Folder, *arguments: str, before: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    settings = {"DOCKER_SOCKET": str(folder.path.parent / "docker.sock"), "HOST_PORT": str(free_port())}
    return folder.run(*arguments, before=before, **settings | environ)


def calls(folder: Folder) -> list[str]:
    """What compose was asked to do, without questions."""
    words = [call.split() for call in (folder.path / "calls").read_text().splitlines()]
    return [verb for name, verb, *_ in words if name == "compose" and verb not in ("version", "ps")]


def dotenv(folder: Folder) -> str:
    return (folder.path / ".env").read_text()


@pytest.mark.parametrize("arguments", [[], ["--env", "production"], ["--env=production"]])
def test_all_steps(folder: Folder, arguments: list[str]) -> None:
    """From nothing to a first script, each step told; .env keeps what is in it."""
    (folder.path / ".env").write_text("# mine\nTIMEOUT=7\nDOCKER_GID=1\n")
    done = run(folder, *arguments)
    assert [step.split(":")[0] for step in steps(done)] == [
        "Looking at this machine", "Looking at the engine's socket", f"Writing DOCKER_GID={GROUP} into .env",
        "Looking for the image debian", "Looking for the image alpine", "Building script-executor",
        "Checking the settings", "Starting it", "Waiting until it is ready", "Running a first script",
    ]  # fmt: skip
    assert SAID in done.stdout
    assert calls(folder) == ["build", "run", "up", "exec"]
    assert dotenv(folder) == f"# mine\nTIMEOUT=7\nDOCKER_GID={GROUP}\n"


def test_again(folder: Folder) -> None:
    """A second time is the same, and its port is taken by itself."""
    assert run(folder).returncode == 0
    (folder.path / "running").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(folder, HOST_PORT=str(taken.getsockname()[1]))
    assert "Writing" not in "".join(steps(done))
    assert dotenv(folder) == f"DOCKER_GID={GROUP}\n"


def test_dry_run(folder: Folder) -> None:
    """It looks, says all that it would do, and changes nothing."""
    before = sorted(folder.path.rglob("*"))
    done = run(folder, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"[dry run] Writing DOCKER_GID={GROUP} into .env\n" in done.stdout
    assert done.stdout.count("[dry run] ") == 8
    assert sorted(folder.path.rglob("*")) == sorted([*before, folder.path / "calls"])
    assert calls(folder) == []


def test_down(folder: Folder) -> None:
    """The agent's volume goes with the last server that uses it."""
    (step,) = steps(run(folder, "--down"))
    assert step.endswith(": the volume twisted-executor-agent-00000000000000ab stays, another server uses it")
    assert calls(folder) == ["down"]
    removed = [call for call in (folder.path / "calls").read_text().splitlines() if " rm " in call]
    assert removed == ["docker volume rm twisted-executor-agent-00000000000000cd"]


def test_compose_of_docker(folder: Folder) -> None:
    """docker compose is taken where it is there."""
    (folder.path / "plugin").touch()
    done = run(folder)
    assert "See it with: docker compose ps; docker compose logs -f." in done.stdout
    assert "docker compose up -d" in (folder.path / "calls").read_text()


def test_keys(folder: Folder, tmp_path: Path) -> None:
    """Keys are mounted by an overlay, from now on; they are sent, and not shown."""
    keys = tmp_path / "the keys"
    keys.write_text("first:a-secret-of-some-length\n")
    folder.stand_in("curl", f"case $* in *a-secret-of-some-length*) echo '{SAID}' ;; *) echo refused ;; esac")
    done = run(folder, API_KEYS_FILE=str(keys))
    assert SAID in done.stdout, done
    assert "a-secret" not in done.stdout
    assert dotenv(folder).endswith(
        f"API_KEYS_FILE={keys}\nCOMPOSE_FILE=docker-compose.yml:deploy/compose.api-keys.yml\n"
    )


def test_keys_beside_other_overlays(folder: Folder, tmp_path: Path) -> None:
    """The overlay is put behind those that .env names, once."""
    keys = tmp_path / "keys"
    keys.write_text("first:a-secret-of-some-length\n")
    (folder.path / ".env").write_text(
        f"API_KEYS_FILE={keys}\nCOMPOSE_FILE=docker-compose.yml:deploy/compose.rootless.yml\n"
    )
    for _ in range(2):
        assert run(folder).returncode == 0
        assert [line for line in dotenv(folder).splitlines() if line.startswith("COMPOSE_FILE=")] == [
            "COMPOSE_FILE=docker-compose.yml:deploy/compose.rootless.yml:deploy/compose.api-keys.yml"
        ]


@pytest.mark.parametrize("plain", ["", "last : a-secret-of-some-length\n"], ids=["digests only", "one is plain"])
def test_digests(folder: Folder, tmp_path: Path, plain: str) -> None:
    """No digest is sent as if it were a secret; where there is nothing else, no script is run, and that is told."""
    keys = tmp_path / "keys"
    keys.write_text(f" # ours: two\nfirst:sha256:{'0' * 64}\nsecond : sha256:{'1' * 64}\n{plain}")
    folder.stand_in(
        "curl", f"case $* in *' Bearer a-secret-of-some-length '*) echo '{SAID}' ;; *) echo refused ;; esac"
    )
    done = run(folder, API_KEYS_FILE=str(keys))
    assert done.returncode == 0, done.stderr
    assert (SAID in done.stdout) == bool(plain)
    assert (f"(No script was run: {keys} has digests only.)\n" in done.stdout) == (not plain)
    assert ('-H "Authorization: Bearer SECRET"' in done.stdout) == (not plain)


def test_engine_of_the_example(folder: Folder) -> None:
    """The engine that .env.example names is where one is started; in a namespace, as sockets in /run are removed."""
    (folder.path / ".env").write_text((folder.path / ".env.example").read_text())
    folder.stand_in("docker", f"cd {folder.path}\n[ -e alive ] || exit 1\n{DOCKER}")
    folder.stand_in("dockerd", f"touch {folder.path}/alive\nexec sleep 5")
    done = run(folder, before="mount -t tmpfs tmpfs /run")
    assert "Starting an engine: started dockerd as process " in "".join(steps(done))


def test_no_keys(folder: Folder, tmp_path: Path) -> None:
    """A file of keys that is not there is told: the engine would make a folder of it."""
    assert f"API_KEYS_FILE={tmp_path}/absent is no file" in sentence(run(folder, API_KEYS_FILE=f"{tmp_path}/absent"))
    assert "API_KEYS_FILE" not in dotenv(folder)


def test_no_registry(folder: Folder) -> None:
    """What cannot be pulled is made here, and is what .env says from then on."""
    for name, text in (("no-images", ""), ("pull-says", f"Error response from daemon: {UNREACHABLE}\n")):
        (folder.path / name).write_text(text)
    made = folder.path / "deploy/base-images.sh"
    made.write_text('#!/bin/sh\necho "made $1" >>calls\n')
    made.chmod(0o755)
    said = steps(run(folder, BASE_IMAGE="own:1"))
    assert f"no registry can be reached ({UNREACHABLE}), so script-executor-base:debian is used" in said[3]
    assert dotenv(folder).splitlines()[1:] == [
        "SERVER_BASE_IMAGE=script-executor-base:debian", "BASE_IMAGE=script-executor-base:busybox",
    ]  # fmt: skip
    assert [call for call in (folder.path / "calls").read_text().splitlines() if call.startswith("made")] == [
        "made debian", "made busybox",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"no-images": "", "pull-says": "pull access denied for debian"},
            "SERVER_BASE_IMAGE=debian",
        ),
        ({"fails-build": "E: Could not connect to mirror.example\n"}, "the image cannot be built: packages cannot be"),
        ({"fails-run": "The configuration is wrong:\nTIMEOUT=x: It must be\n"}, "change these settings in"),
        ({"fails-run": "exec format error\n"}, "the image does not run"),
        ({"fails-up": "Bind for 127.0.0.1:8080 failed: port is already allocated\n"}, "is taken"),
        ({"fails-up": "no such volume\n"}, "it does not start: no such volume"),
        ({"fails-down": "no permission\n"}, "it does not end: no permission"),
    ],
    ids=["pull", "build", "settings", "image", "port", "start", "end"],
)
def test_failures(folder: Folder, files: dict[str, str], said: str) -> None:
    """Each says why, and what to do."""
    for name, text in files.items():
        (folder.path / name).write_text(text)
    assert said in sentence(run(folder, *(["--down"] if "fails-down" in files else [])))


@pytest.mark.parametrize("answer", ["curl: (7) Failed to connect", '{"success":false,"error":"It ended with 1."}'])
def test_first_script_fails(folder: Folder, answer: str) -> None:
    folder.stand_in("curl", f"echo '{answer}'")
    assert f"the first script fails: {answer}" in sentence(run(folder))


def test_not_ready(folder: Folder) -> None:
    """Its own reasons are told when the time is over."""
    (folder.path / "fails-exec").write_text("The server is unhealthy.\nNo container of x is warm yet.\n")
    folder.stand_in("sleep", "exit 0")
    made = folder.path / "deploy/production.sh"
    made.write_text(made.read_text().replace("local limit=60", "local limit=1"))
    assert "it is not ready: No container of x is warm yet.; docker-compose logs says more" in sentence(run(folder))


@pytest.mark.parametrize(
    ("programs", "environ", "said"),
    [
        ({"docker": 'echo "permission denied" >&2; exit 1'}, {}, "sudo usermod -aG docker $USER"),
        ({"docker": "exit 1", "uname": "echo Darwin"}, {}, "Docker Desktop does not answer; start it"),
        (
            {"docker-compose": "exit 1", "id": '[ "$1" = -u ] && echo 1000 || echo me'},
            {},
            "apt-get install docker-",
        ),
        ({}, {"DOCKER_SOCKET": "/nowhere.sock"}, "there is no socket /nowhere.sock"),
    ],
    ids=["permission", "Darwin", "no compose", "no socket"],
)
def test_machine(folder: Folder, programs: dict[str, str], environ: dict[str, str], said: str) -> None:
    """What the machine lacks is a sentence with what to do, before anything is changed."""
    for name, script in programs.items():
        folder.stand_in(name, script)
    assert said in sentence(run(folder, **environ))
    assert not (folder.path / ".env").exists()


def test_taken_port(folder: Folder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = sentence(run(folder, HOST_PORT=str(taken.getsockname()[1])))
    assert "is taken by " in said
    assert not (folder.path / ".env").exists()


@pytest.mark.parametrize("arguments", [["--stop", "--dry-run"], ["--env", "development", "--dry-run"]])
def test_no_dry_run_of_that(folder: Folder, arguments: list[str]) -> None:
    assert run(folder, *arguments).returncode == 2


@pytest.mark.timeout(900)
def test_for_real(tmp_path: Path) -> None:
    """On the real engine: it serves, docker finds it healthy and works inside, a wrong group is told, all goes away."""
    folder = copy_to(tmp_path / "project")
    environ = folder.environ()
    port, project = free_port(), f"deploy-{os.getpid()}"

    def told(*command: str, status: int = 0) -> str:
        done = subprocess.run(
            command, cwd=folder.path, env=environ, capture_output=True, text=True, timeout=800, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def inside(*command: str, status: int = 0) -> str:
        return told("docker-compose", "exec", "-T", "script-executor", *command, status=status)

    if subprocess.run(["docker", "image", "inspect", BASE], capture_output=True, check=False).returncode:
        told("deploy/base-images.sh", "debian")
    (folder.path / ".env").write_text(
        f"HOST_PORT={port}\nPOOL_SIZE=2\nCOMPOSE_PROJECT_NAME={project}\nSERVER_IMAGE={SERVER}\n"
        f"SERVER_BASE_IMAGE={BASE}\nBASE_IMAGE={BUSYBOX}\n"
    )
    try:
        answer = curl(subprocess.CompletedProcess([], 0, told("./deploy.sh"), ""))
        assert str(answer["stdout"]).startswith("Hello World\n")
        state = ["docker", "inspect", "--format", "{{.State.Health.Status}}", f"{project}_script-executor_1"]
        wait_until(lambda: told(*state) == "healthy\n", "docker says that it is healthy", 30)
        assert "all is well" in told("./fix-docker-permissions.sh", "--check")
        assert inside("script-executor-health") == "The server is healthy.\n"
        assert inside("id", "-u") == "10001\n"
        # Nothing that it could write to is needed for a large request.
        (tmp_path / "large").write_text(json.dumps({"script": "wc -c", "stdin": "x" * 3_000_000}))
        options = ("-H", "Content-Type: application/json", "-d", f"@{tmp_path}/large")
        assert '"stdout":"3000000\\n"' in told("curl", "-sS", *options, f"http://127.0.0.1:{port}/execute")
        right = f"DOCKER_GID={os.stat('/var/run/docker.sock').st_gid}"
        told("./fix-docker-permissions.sh", "--fix", "--gid", "54321")
        told("docker-compose", "up", "-d", "--build")
        wait_until(lambda: right in inside("script-executor-health", status=1), "it says the line", 30)
        told("./fix-docker-permissions.sh", "--fix")
        with (folder.path / ".env").open("a") as settings:
            settings.write("DOCKER_CLI=1\n")
        told("docker-compose", "up", "-d", "--build")
        wait_until(lambda: told(*state) == "healthy\n", "it is healthy again", 30)
        assert f"{project}_script-executor_1" in inside("docker", "ps")
    finally:
        told("./deploy.sh", "--down")
    assert told("docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={project}") == ""
