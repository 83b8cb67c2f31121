"""Registries that want a password, and registries in trouble."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import pytest

from tests.engine.own_engine import own_engine
from tests.engine.registry import (
    USER,
    Front,
    Registry,
    cut,
    failing,
    held,
    never,
    remove_from,
    repeating,
    silent,
    slowly,
    stalling,
)
from tests.engine.server_process import BUSYBOX, ServerProcess, wait_until

PASSWORD = "open:sésame-42"
ENCODED = b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture
def locked(tmp_path: Path, engine: docker.APIClient) -> Iterator[Registry]:
    """A registry with a password, that holds the small image under several names."""
    (folder := tmp_path / "locked").mkdir()
    found = Registry(folder, engine, PASSWORD)
    try:
        for name in ("a", "b", "c"):
            found.push(BUSYBOX, f"team/{name}:1")
        yield found
    finally:
        found.close()


@pytest.fixture
def front(registry: Registry, engine: docker.APIClient) -> Iterator[Front]:
    """One before the open registry."""
    found = Front(registry.address)
    yield found
    found.close()
    remove_from(engine, found.address)


@pytest.fixture
def large(registry: Registry, front: Front) -> str:
    """The reference, through the front, of an image with a layer of half a megabyte."""
    registry.push(registry.make(blob=os.urandom(1 << 19)), "team/large:1")
    return f"{front.address}/team/large:1"


def auth_file(path: Path, registry: str, password: str) -> Path:
    """A file as `docker login` writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = b64encode(f"{USER}:{password}".encode()).decode()
    path.write_text(json.dumps({"auths": {registry: {"auth": encoded}}}))
    return path


@pytest.mark.parametrize("where", ["REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "HOME"])
def test_password(start: Callable[..., ServerProcess], locked: Registry, tmp_path: Path, where: str) -> None:
    """A private registry works for pools and requests, wherever docker or we keep the password."""
    names = {"REGISTRY_AUTH_FILE": "auth.json", "DOCKER_CONFIG": "config.json", "HOME": ".docker/config.json"}
    path = auth_file(tmp_path / "own" / names[where], locked.address, PASSWORD)
    value = path if where == "REGISTRY_AUTH_FILE" else tmp_path / "own"
    server = start(
        CUSTOM_IMAGE_REGISTRY=locked.address, CUSTOM_POOLS="team/a:1=1", LOG_LEVEL="debug", **{where: str(value)}
    ).ready()
    assert server.execute("echo pool", image="team/a:1")["warm"] is True
    assert server.output("echo request", image="team/b:1") == "request\n"
    hidden(server.log)


def hidden(text: str) -> None:
    """No secret is in it."""
    assert PASSWORD not in text
    assert "sésame" not in text
    assert json.dumps(PASSWORD)[1:-1] not in text
    assert ENCODED not in text


def test_wrong_password(start: Callable[..., ServerProcess], locked: Registry, tmp_path: Path) -> None:
    """A wrong password is told at once, no secret is; a file that was changed counts for the next pull."""
    path = auth_file(tmp_path / "auth.json", locked.address, "wrong-secret-1")
    server = start(REGISTRY_AUTH_FILE=str(path), LOG_LEVEL="debug", CUSTOM_IMAGE_PULL_RETRIES="6").ready()
    began = time.monotonic()
    answer = server.execute("echo hi", image=f"{locked.address}/team/a:1")
    assert time.monotonic() - began < 20  # the pauses between so many attempts are longer
    assert (answer.status, answer["code"]) == (422, "image_not_found")
    assert "unauthorized: authentication required" in answer["error"]
    assert "unauthorized: authentication required" in server.log
    auth_file(path, locked.address, PASSWORD)
    assert server.output("echo rotated", image=f"{locked.address}/team/b:1") == "rotated\n"
    for text in (answer["error"], server.log):
        hidden(text)
        assert "wrong-secret-1" not in text


def test_without_password(start: Callable[..., ServerProcess], locked: Registry, tmp_path: Path) -> None:
    """Without any password the answer is the registry's own."""
    (folder := tmp_path / ".docker").mkdir()
    server = start(HOME=str(tmp_path)).ready()
    answer = server.execute("echo hi", image=f"{locked.address}/team/a:1")
    assert (answer.status, answer["code"]) == (422, "image_not_found")
    assert "no basic auth credentials." in answer["error"]
    (folder / "config.json").write_text('{"auths": {"x": "y"}}')
    answer = server.execute("echo hi", image=f"{locked.address}/team/b:1")
    assert f"no basic auth credentials. {folder}/config.json is malformed: the entry of x must be" in answer["error"]


def test_malformed_file_of_docker(start: Callable[..., ServerProcess], registry: Registry, tmp_path: Path) -> None:
    """What needs no password works beside docker's own file when that is malformed."""
    (folder := tmp_path / ".docker").mkdir()
    (folder / "config.json").write_text('{"auths": {"x": "y"}}')
    server = start(HOME=str(tmp_path)).ready()
    assert server.output("echo open", image=f"{registry.address}/team/small:1") == "open\n"


def test_auth_file_goes_bad(start: Callable[..., ServerProcess], locked: Registry, tmp_path: Path) -> None:
    """A file that is gone or malformed at a pull is told, and docker's own is no stand-in for it."""
    auth_file(tmp_path / ".docker/config.json", locked.address, PASSWORD)
    path = auth_file(tmp_path / "auth.json", locked.address, PASSWORD)
    environ = {"HOME": str(tmp_path), "REGISTRY_AUTH_FILE": str(path), "CUSTOM_IMAGE_PULL_RETRIES": "0"}
    server = start(**environ).ready()
    path.unlink()
    gone = server.execute("echo hi", image=f"{locked.address}/team/a:1")
    assert (gone.status, gone["code"]) == (503, "image_unavailable")
    assert f"REGISTRY_AUTH_FILE {path} cannot be read: No such file or directory." in gone["error"]
    path.write_text(f'{{"auths": {{"{locked.address}": {{"auth": "{ENCODED}"')
    malformed = server.execute("echo hi", image=f"{locked.address}/team/b:1")
    assert f"REGISTRY_AUTH_FILE {path} is malformed: it is not JSON in line 1." in malformed["error"]
    auth_file(path, locked.address, PASSWORD)
    assert server.output("echo fine", image=f"{locked.address}/team/c:1") == "fine\n"
    hidden(server.log)


@pytest.mark.parametrize("content", [None, "{"], ids=["missing", "malformed"])
def test_auth_file_at_start(start: Callable[..., ServerProcess], tmp_path: Path, content: str | None) -> None:
    """A server with a file that cannot be used does not start, and says why."""
    path = tmp_path / "auth.json"
    if content is not None:
        path.write_text(content)
    server = start(REGISTRY_AUTH_FILE=str(path))
    assert server.process.wait(20) == 1
    assert f"REGISTRY_AUTH_FILE {path} {'is malformed' if content else 'cannot be read'}: " in server.log


def test_registry_that_repeats_secrets(start: Callable[..., ServerProcess], locked: Registry, tmp_path: Path) -> None:
    """What a registry says reaches answer and log without the password that it was shown."""
    front = Front(locked.address)
    front.refuse = repeating
    path = auth_file(tmp_path / "auth.json", front.address, PASSWORD)
    try:
        server = start(REGISTRY_AUTH_FILE=str(path), LOG_LEVEL="debug", CUSTOM_IMAGE_PULL_RETRIES="0").ready()
        answer = server.execute("echo hi", image=f"{front.address}/team/a:1")
    finally:
        front.close()
    assert "not with Basic ***" in answer["error"]
    assert "not with Basic ***" in server.log
    hidden(server.log)
    hidden(answer["error"])


def test_fails_twice(registry: Registry, front: Front, start: Callable[..., ServerProcess]) -> None:
    """A registry that fails twice and then works is asked again, a little later each time."""
    front.refuse = failing(2)
    server = start(CUSTOM_IMAGE_PULL_RETRIES="2").ready()
    began = time.monotonic()
    assert server.output("echo at last", image=f"{front.address}/team/small:1") == "at last\n"
    assert time.monotonic() - began > 0.5 + 1.0
    assert (server.log.count('"event": "pulling"'), "pull_failed" in server.log) == (1, False)


def test_fails_for_ever(registry: Registry, front: Front, start: Callable[..., ServerProcess]) -> None:
    """One that fails for ever is asked as often as was set, and its own reason is in the answer and in the log."""
    front.refuse = failing(float("inf"))
    server = start(CUSTOM_IMAGE_PULL_RETRIES="1").ready()
    answer = server.execute("echo hi", image=f"{front.address}/team/small:1")
    assert (answer.status, answer["code"], answer.headers["Retry-After"]) == (503, "image_unavailable", "60")
    assert front.pulls == 2
    for text in (answer["error"], server.log):
        assert "received unexpected HTTP status: 500 Internal Server Error" in text
    front.refuse = never
    assert server.execute("echo hi", image=f"{front.address}/team/small:1")["error"] == answer["error"]  # from memory
    assert front.pulls == 2


def test_missing_image(registry: Registry, front: Front, start: Callable[..., ServerProcess]) -> None:
    """What the registry does not have is told at once."""
    server = start().ready()
    answer = server.execute("echo hi", image=f"{front.address}/team/small:2")
    assert (answer.status, answer["code"]) == (422, "image_not_found")
    assert "manifest unknown" in answer["error"]
    assert front.pulls == 1


def test_slow(front: Front, large: str, start: Callable[..., ServerProcess]) -> None:
    """A registry that trickles is waited for within the limit of one attempt, however many attempts there are."""
    front.deliver = slowly(2.5)
    server = start(CUSTOM_IMAGE_PULL_TIMEOUT="6", CUSTOM_IMAGE_PULL_RETRIES="0").ready()
    began = time.monotonic()
    assert server.output("echo slow", image=large) == "slow\n"
    assert time.monotonic() - began > 2.4


@pytest.mark.parametrize("how", ["trickling", "stalling", "silent"])
def test_too_slow(front: Front, large: str, start: Callable[..., ServerProcess], how: str) -> None:
    """Beyond the limit the attempt is over, and the answer says so; the next attempt has the whole time again."""
    if how == "silent":
        front.refuse = silent
    elif how == "stalling":
        front.deliver = stalling
    else:
        front.deliver = slowly(30, 300)
    server = start(CUSTOM_IMAGE_PULL_TIMEOUT="1", CUSTOM_IMAGE_PULL_RETRIES="1").ready()
    began = time.monotonic()
    answer = server.execute("echo hi", image=large)
    assert 2.5 < time.monotonic() - began < 8
    assert (answer.status, answer["code"]) == (503, "image_unavailable")
    assert "The pull took more than 1 seconds." in answer["error"]
    assert server.output("echo still here") == "still here\n"


def test_cut(front: Front, large: str, start: Callable[..., ServerProcess]) -> None:
    """A connection that is cut in the middle of a layer costs the time of another, which the engine makes itself."""
    front.deliver = cut(1)
    server = start(CUSTOM_IMAGE_PULL_RETRIES="0").ready()
    assert server.output("cat /blob | wc -c", image=large) == f"{1 << 19}\n"


def test_twenty_at_once(front: Front, large: str, start: Callable[..., ServerProcess]) -> None:
    """Twenty requests wait for one pull; one that leaves in the middle of it neither ends it nor is missed."""
    enough = threading.Event()
    front.deliver = held(enough)
    server = start(MAX_TEMPORARY="4").ready()
    leaving = http.client.HTTPConnection("127.0.0.1", server.port)
    body = json.dumps({"script": "echo gone", "image": large})
    leaving.request("POST", "/execute", body, {"Content-Type": "application/json"})
    wait_until(lambda: "pulling" in server.log, "the pull has begun")
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(server.execute, f"echo {number}", image=large) for number in range(20)]
        wait_until(lambda: server.get("/metrics")["waiting"] == 21, "all wait")
        leaving.close()
        wait_until(lambda: server.get("/metrics")["waiting"] == 20, "one has left")
        enough.set()
        assert [answer.result()["stdout"] for answer in answers] == [f"{number}\n" for number in range(20)]
    assert server.log.count('"event": "pulling"') == 1
    assert front.pulls == 1
    layers = [asked for asked in front.asked if "/blobs/" in asked]
    assert len(layers) == len(set(layers))


def test_disk_full(start: Callable[..., ServerProcess], tmp_path: Path) -> None:
    """An engine whose disk is full says so in the last line of a pull; with room again the image comes."""
    with own_engine("--max-download-attempts=1", disk="64m") as own:
        assert own.process is not None
        network = ["nsenter", "-t", str(own.process.pid), "-n"]
        subprocess.run([*network, "ip", "link", "set", "lo", "up"], check=True)
        client = docker.APIClient(own.host, version="auto", timeout=60)
        registry = Registry(tmp_path, client, within=network)
        try:
            image = registry.push(registry.make(blob=os.urandom(8 << 20)), "team/large:1")
            filler = own.folder / "data/filler"
            server = start(DOCKER_HOST=own.host, CUSTOM_IMAGE_PULL_RETRIES="1").ready()
            free = os.statvfs(own.folder / "data")
            size = (free.f_bavail * free.f_frsize >> 20) - 4
            subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=1M", f"count={size}"], check=True)
            answer = server.execute("echo hi", image=image)
            assert (answer.status, answer["code"]) == (503, "image_unavailable")
            assert "no space left on device" in answer["error"]
            assert "no space left on device" in server.log
            filler.unlink()
            assert server.output("echo warm") == "warm\n"
            other = registry.push(BUSYBOX, "team/small:1")
            assert server.output("echo room", image=other) == "room\n"
            server.stop()
        finally:
            registry.close()
            client.close()
