"""The passwords for registries, from files."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_executor.engine import credentials
from twisted_executor.engine.credentials import Credentials, CredentialsError, Login, parse

REGISTRY = "registry.example.com:5000"
IMAGE = f"{REGISTRY}/team/small:1"


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


SECRET = encoded("ann:open sesame")


def written(path: Path, content: Any) -> Path:
    """The file, with this content as JSON."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def named(path: Path, content: Any) -> Credentials:
    return Credentials(str(written(path, content)), {})


@pytest.mark.parametrize("key", [REGISTRY, f"https://{REGISTRY}", f"https://{REGISTRY}/v1/"])
@pytest.mark.parametrize(
    "entry", [{"auth": SECRET}, {"username": "ann", "password": "open sesame"}, {"auth": SECRET, "email": "a@b"}]
)
def test_password(tmp_path: Path, key: str, entry: dict[str, str]) -> None:
    """A login is found by the host of its registry, and given to no other."""
    credentials = named(tmp_path / "auth.json", {"auths": {key: entry, "other.example.com": {"auth": encoded("b:c")}}})
    login = credentials.login(IMAGE).entry
    assert (login["username"], login["password"]) == ("ann", "open sesame")
    assert not credentials.login("registry.example.com/team/small:1").entry
    assert not credentials.login("alpine").entry


def test_docker_hub(tmp_path: Path) -> None:
    """What `docker login` writes for Docker Hub is for names without a registry."""
    credentials = named(tmp_path / "auth.json", {"auths": {"https://index.docker.io/v1/": {"auth": SECRET}}})
    for image in ("alpine", "alpine:3", "team/small", "docker.io/team/small@sha256:" + "0" * 64):
        assert credentials.login(image).entry["username"] == "ann"
    assert not credentials.login(IMAGE).entry


def test_token(tmp_path: Path) -> None:
    """An identity token stands for user and password."""
    credentials = named(tmp_path / "auth.json", {"auths": {REGISTRY: {"auth": SECRET, "identitytoken": "tok"}}})
    assert dict(credentials.login(IMAGE).entry) == {"IdentityToken": "tok"}


def test_read_again(tmp_path: Path) -> None:
    """A password that was rotated counts for the next pull."""
    path = tmp_path / "auth.json"
    credentials = named(path, {"auths": {REGISTRY: {"auth": SECRET}}})
    assert credentials.login(IMAGE).entry["password"] == "open sesame"
    written(path, {"auths": {REGISTRY: {"auth": encoded("ann:new:one")}}})
    assert credentials.login(IMAGE).entry["password"] == "new:one"
    path.unlink()
    with pytest.raises(CredentialsError, match="cannot be read: No such file"):
        credentials.login(IMAGE)


def test_dockers_own(tmp_path: Path) -> None:
    """Without a file of ours docker's own counts, in DOCKER_CONFIG or the home; it need not be there."""
    written(tmp_path / ".docker/config.json", {"auths": {REGISTRY: {"auth": SECRET}}})
    written(tmp_path / "mine/config.json", {"auths": {REGISTRY: {"auth": encoded("bob:x")}}})
    home = {"HOME": str(tmp_path)}
    assert Credentials("", home).login(IMAGE).entry["username"] == "ann"
    assert Credentials("", home | {"DOCKER_CONFIG": str(tmp_path / "mine")}).login(IMAGE).entry["username"] == "bob"
    nowhere = Credentials("", home | {"DOCKER_CONFIG": str(tmp_path / "nowhere")})
    assert nowhere.login(IMAGE) == Login({})
    nowhere.check()


def test_dockers_own_is_malformed(tmp_path: Path) -> None:
    """Docker goes on without its file then, and so do we; a pull that fails says so."""
    path = written(tmp_path / ".docker/config.json", "{")
    credentials = Credentials("", {"HOME": str(tmp_path)})
    credentials.check()
    login = credentials.login(IMAGE)
    assert not login.entry
    assert login.explain("No basic auth.") == f"No basic auth. {path} is malformed: it is not JSON in line 1."


def test_missing(tmp_path: Path) -> None:
    """A file that the operator names has to be one."""
    for path, why in ((tmp_path / "nowhere", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(CredentialsError, match=f"REGISTRY_AUTH_FILE {path} cannot be read: {why}."):
            Credentials(str(path), {}).check()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not JSON in line 1"),
        ('{"auths":\n{"sesame"', "not JSON in line 2"),
        ("[" * 100_000, "not JSON"),
        ("[]", 'it must be an object, like {"auths"'),
        ("7", "it must be an object"),
        ({"auths": ["sesame"]}, "auths must be an object"),
        ({"auths": {REGISTRY: "sesame"}}, f"the entry of {REGISTRY} must be an object"),
        ({"auths": {REGISTRY: {"auth": "sesame"}}}, f"auth of {REGISTRY} must be the base64 of user:password"),
        ({"auths": {REGISTRY: {"auth": encoded("sesame")}}}, "base64 of user:password"),
        ({"auths": {REGISTRY: {"auth": encoded("x:") + "é"}}}, "base64 of user:password"),
        ({"auths": {REGISTRY: {"auth": b64encode(b"a:\xff").decode()}}}, "base64 of user:password"),
        ({"auths": {REGISTRY: {"auth": ["sesame"]}}}, "must be text"),
        ({"credsStore": 1}, "must name programs"),
        ({"credHelpers": {REGISTRY: {}}}, "must name programs"),
    ],
)
def test_malformed(tmp_path: Path, content: Any, words: str) -> None:
    """What is wrong with a file is told with its name and place, and without what could be a secret."""
    credentials = named(tmp_path / "auth.json", content)
    for look in (credentials.check, lambda: credentials.login(IMAGE)):
        with pytest.raises(CredentialsError) as caught:
            look()
        assert words in str(caught.value)
        assert str(tmp_path) in str(caught.value)
        assert "sesame" not in str(caught.value)


def test_not_text(tmp_path: Path) -> None:
    """A file of bytes is told too."""
    path = tmp_path / "auth.json"
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(CredentialsError, match="not UTF-8"):
        Credentials(str(path), {}).check()


@pytest.mark.filterwarnings("ignore:.*not installed:UserWarning")
def test_helper_that_is_missing(tmp_path: Path) -> None:
    """A helper is asked for its registry only, and told when it fails."""
    credentials = named(tmp_path / "auth.json", {"credHelpers": {REGISTRY: "no-such-helper"}})
    assert not credentials.login("alpine").entry
    with pytest.raises(CredentialsError, match=f"names a helper for {REGISTRY} that fails: docker-credential-no-such"):
        credentials.login(IMAGE)
    written(tmp_path / ".docker/config.json", {"credsStore": "no-such-helper"})
    login = Credentials("", {"HOME": str(tmp_path)}).login("alpine")
    assert "that fails: docker-credential-no-such-helper is not installed" in login.doubt


def test_helper_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended: a pull's thread must not wait for it for ever."""
    helper = tmp_path / "docker-credential-hanging"
    helper.write_text("#!/bin/sh\nexec sleep 60\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(credentials, "HELPER_LIMIT", 0.2)
    with pytest.raises(CredentialsError, match=r"docker-credential-hanging has not answered in 0\.2 seconds"):
        named(tmp_path / "auth.json", {"credHelpers": {REGISTRY: "hanging"}}).login(IMAGE)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 1", "docker-credential-failing exited"),
        ("echo credentials not found in native keychain; exit 1", ""),
        ("exec /no/such", ""),
    ],
)
def test_helper_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str) -> None:
    """Its failure is told, or taken for a registry that it does not know."""
    helper = tmp_path / "docker-credential-failing"
    helper.write_text(f"#!/bin/sh\n{script}\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = named(tmp_path / "auth.json", {"credHelpers": {REGISTRY: "failing"}})
    if "not found" in script:
        assert found.login(IMAGE) == Login({})
    else:
        with pytest.raises(CredentialsError, match=f"a helper for {REGISTRY} that fails: .*{words}"):
            found.login(IMAGE)


def test_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it answers is shown to the registry."""
    helper = tmp_path / "docker-credential-good"
    helper.write_text('#!/bin/sh\ncat >/dev/null\necho \'{"Username": "ali", "Secret": "sesame"}\'\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    entry = named(tmp_path / "auth.json", {"credHelpers": {REGISTRY: "good"}}).login(IMAGE).entry
    assert (entry["Username"], entry["Password"]) == ("ali", "sesame")


@pytest.mark.parametrize("content", [{}, {"auths": {}}, {"auths": None}, {"proxies": {"default": {}}, "psFormat": "x"}])
def test_without_logins(tmp_path: Path, content: Any) -> None:
    """A file without any password is fine."""
    assert named(tmp_path / "auth.json", content).login(IMAGE) == Login({})


@pytest.mark.parametrize("entry", [{"username": "ann", "password": "open sesame"}, {"IdentityToken": "open sesame"}])
def test_registry_that_repeats_secrets(entry: dict[str, str]) -> None:
    """What a registry says is told without the secrets that it was given."""
    said = f"denied: Basic {encoded('ann:open sesame')} is wrong, open sesame is not your password"
    told = Login(entry).explain(said)
    assert "sesame" not in told
    assert "username" not in entry or SECRET not in told
    assert told.startswith("denied: Basic ")


@given(st.recursive(st.none() | st.text() | st.integers(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)))
def test_any_json(content: Any) -> None:
    """Whatever the file holds, it is read or refused in words."""
    for whole in (content, {"auths": content}, {"auths": {"r": content}}, {"auths": {"r": {"auth": content}}}):
        told = "It is fine."
        try:
            assert set(parse(json.dumps(whole))) == {"auths", "credHelpers", "credsStore"}
        except CredentialsError as error:
            told = str(error)
        assert told.endswith(".")
