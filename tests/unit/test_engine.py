"""What the engine says, in our types; no engine is asked."""

from __future__ import annotations

import stat
import tarfile
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import docker.errors
import pytest
import requests
import urllib3
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from twisted_executor.engine import access
from twisted_executor.engine.calls import CALL_LIMIT, agent_tar, seconds
from twisted_executor.engine.control import THREAD_LIMIT, DockerEngine, Limits, _Client
from twisted_executor.engine.credentials import Credentials
from twisted_executor.engine.translation import pull_failed, translated
from twisted_executor.errors import (
    AgentMissing,
    Conflict,
    EngineError,
    EngineTimeout,
    EngineUnreachable,
    NotFound,
    PullFailed,
)

URL = "unix:///var/run/docker.sock"
POOL = urllib3.HTTPConnectionPool("localhost")


def refusal(status: int, explanation: str, path: str = "/v1.41/containers/x/start") -> docker.errors.APIError:
    """What docker-py raises for an answer with this status."""
    response = requests.Response()
    response.status_code = status
    response.url = f"http+docker://localhost{path}"
    return docker.errors.APIError("refused", response, explanation)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (refusal(404, "No such container: x"), NotFound),
        (refusal(409, "removal of container x is already in progress"), Conflict),
        (refusal(500, "something"), EngineError),
        (refusal(400, 'OCI runtime create failed: exec: "/.executor/agent": no such file or directory'), AgentMissing),
        (refusal(404, "pull access denied for x", "/v1.41/images/create"), PullFailed),
        (requests.exceptions.ReadTimeout("slow"), EngineTimeout),
        (urllib3.exceptions.ReadTimeoutError(POOL, "/", "slow"), EngineTimeout),
        (urllib3.exceptions.ProtocolError("Connection broken: IncompleteRead"), EngineUnreachable),
        (requests.exceptions.ConnectionError("Connection aborted.", ConnectionRefusedError(111)), EngineUnreachable),
        (docker.errors.DockerException("no API version: FileNotFoundError(2)"), EngineUnreachable),
        (PermissionError(13, "Permission denied"), EngineUnreachable),
        (KeyError("Id"), EngineError),
        (NotFound("ours already"), NotFound),
    ],
)  # fmt: skip
def test_types(error: Exception, kind: type[EngineError]) -> None:
    """Every failure is one of ours, by what it means."""
    assert type(translated(error, URL)) is kind


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied"), "No permission to use"),
        (FileNotFoundError(2, "No such file or directory"), "does not exist. Start it, or correct DOCKER_HOST."),
        (ConnectionRefusedError(111, "Connection refused"), "refused. Start it, or correct DOCKER_HOST."),
        (OSError(113, "No route to host"), "No route to host. Look at DOCKER_HOST and at the network."),
    ],
)
def test_unreachable(error: OSError, words: str) -> None:
    """Why the engine cannot be reached is told with its address and what would help."""
    sentence = str(translated(error, URL))
    assert words in sentence
    assert URL.removeprefix("unix://") in sentence


@pytest.mark.parametrize("path", ["info", "images/x/json"])
def test_unknown_name(path: str) -> None:
    """It is told the same way for every call, so that /health tells it once."""
    error = requests.exceptions.ConnectionError(
        f"HTTPConnectionPool(host='engine', port=2375): Max retries exceeded with url: /v1.41/{path} (Caused by "
        "NameResolutionError(\"HTTPConnection(host='engine', port=2375): Failed to resolve 'engine' ([Errno -2] Name "
        'or service not known)"))'
    )
    expected = "The Docker engine at tcp://engine:2375 cannot be reached: no address is known for that name. "
    expected += "Correct DOCKER_HOST."
    assert str(translated(error, "tcp://engine:2375")) == expected


@pytest.mark.parametrize(
    ("mode", "owner", "words"),
    [
        (0o660, 998, "group 998, and this process is in 10001, 10002 only"),
        (0o660, 0, "put the line DOCKER_GID=0 into .env"),
        (0o660, 10002, "although this process is in its group 10002"),
        (0o640, 998, "its mode 640 lets no group write"),
    ],
)
def test_no_permission(mode: int, owner: int, words: str) -> None:
    """Who may not use the socket is told what would help."""
    sentence = access.explained("/run/docker.sock", stat.S_IFSOCK | mode, owner, {10002, 10001})
    assert words in sentence
    assert "/run/docker.sock" in sentence


def test_refusal(tmp_path: Path) -> None:
    """The socket is looked at; where it cannot be, that is told."""
    path = tmp_path / "docker.sock"
    path.touch()
    path.chmod(0o660)
    assert f"its group {path.stat().st_gid}" in access.refusal(str(path))
    assert "No such file" in access.refusal(str(path / "deeper").replace("docker.sock", "nowhere"))


def test_absence(tmp_path: Path) -> None:
    """A folder is what a bind mount makes when there is no socket."""
    assert "is a folder" in access.absence(str(tmp_path))
    assert "does not exist" in access.absence(str(tmp_path / "docker.sock"))


@pytest.mark.parametrize(
    ("sentence", "permanent"),
    [
        ("manifest for x:1 not found: manifest unknown: manifest unknown", True),
        ("pull access denied for x, repository does not exist or may require 'docker login'", True),
        ("unauthorized: authentication required", True),
        ("write /var/lib/docker/tmp/x: no space left on device", False),
        ("dial tcp 127.0.0.1:1: connect: connection refused", False),
        ("received unexpected HTTP status: 500 Internal Server Error", False),
        ("toomanyrequests: You have reached your pull rate limit", False),
        ("net/http: TLS handshake timeout", False),
    ],
)
def test_pull_failures(sentence: str, permanent: bool) -> None:
    """Only what can pass is worth another attempt."""
    assert pull_failed("x:1", sentence).permanent is permanent


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("2026-11-23T03:18:08.123456789Z", 1795403888.0),
        ("2026-11-23T03:18:08Z", 1795403888.0),
        ("2026-11-23T04:18:08.5+01:00", 1795403888.0),
    ],
)
def test_engine_time(timestamp: str, expected: float) -> None:
    """The engine's clock is read to the second, with nanoseconds and zones."""
    assert seconds(timestamp) == expected


def test_tar() -> None:
    """The agent comes under a random name first and is then linked, so that nobody sees a part of it."""
    names = []
    for _ in range(2):
        with tarfile.open(fileobj=BytesIO(agent_tar(b"binary"))) as archive:
            first, second = archive.getmembers()
            assert (second.name, second.islnk(), second.linkname) == ("agent", True, first.name)
            assert first.mode == 0o555
            names.append(first.name)
    assert names[0] != names[1]


@pytest.mark.parametrize("content", ["[]", '{"auths": {"x": "y"}}', '{"auths": {"x": {"auth": "y"}}}', "{", "{}"])
def test_client_without_dockers_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    """A client needs no file of docker's, so one that is malformed does not keep the server from its engine."""
    (tmp_path / "config.json").write_text(content)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with closing(_Client(base_url="unix:///nowhere", version="1.41")) as client:
        assert client.api_version == "1.41"


class BusyThreads:
    """Threads that take up a call when the test says so, and never end it."""

    def __init__(self) -> None:
        self.begun: Deferred[None] = Deferred()

    def begin(self, function: object) -> tuple[Deferred[None], Deferred[Any]]:
        return self.begun, Deferred()


def test_limit_counts_from_the_thread() -> None:
    """A call's time limit does not run while it waits for a thread, and it does not wait for one for ever."""
    for begins in (True, False):
        clock, threads, came = Clock(), BusyThreads(), []
        engine = DockerEngine(
            "unix:///nowhere", Limits(1, 1.0, 1, 1), 30, Credentials("", {}), clock, threads, threads, threads
        )  # type: ignore[arg-type]
        engine.info().addErrback(lambda failure, came=came: came.append(failure.value))
        clock.advance(CALL_LIMIT * 10)
        assert not came
        if begins:
            threads.begun.callback(None)
            clock.advance(CALL_LIMIT + 0.9)
            assert not came
            clock.advance(0.2)
            assert "did not answer within 15 seconds" in str(came[0])
        else:
            clock.advance(THREAD_LIMIT)
            assert "busy with others" in str(came[0])
