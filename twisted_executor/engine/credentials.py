"""The passwords for registries, out of files in the format of docker's config.json.

A file is read anew for each pull, so that what was rotated counts at once.  No sentence from here has a secret in it.
"""

from __future__ import annotations

import json
import os
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker import auth
from docker.credentials.errors import StoreError, process_store_error
from docker.credentials.store import Store
from docker.errors import DockerException
from docker.utils import parse_repository_tag

HELPER_LIMIT = 30.0  # seconds for one question to a helper
HIDDEN = "***"  # where a registry repeats a secret


class CredentialsError(Exception):
    """The file cannot be used; says why, and never a secret."""


@dataclass(frozen=True, slots=True)
class Login:
    """What a pull shows to its registry.

    @ivar entry: as the engine's API wants it; empty: nothing is shown.
    @ivar doubt: why docker's own file was not used, a sentence; empty: it was, or there is none.
    """

    entry: Mapping[str, str]
    doubt: str = ""

    def explain(self, sentence: str) -> str:
        """What the registry said, without the secrets that it may have repeated, and with our doubt."""
        for secret in sorted(self._secrets(), key=len, reverse=True):
            sentence = sentence.replace(secret, HIDDEN)
        return f"{sentence.rstrip('.')}. {self.doubt}" if self.doubt else sentence

    def _secrets(self) -> Iterator[str]:
        found = {name.lower(): value for name, value in self.entry.items()}
        user, password = found.get("username", ""), found.get("password", "")
        if password:
            yield password
            yield b64encode(f"{user}:{password}".encode()).decode()
        if token := found.get("identitytoken"):
            yield token


class _Store(Store):
    """A helper that answers soon, or is ended; docker-py waits for ever."""

    def _execute(self, subcmd: str, data_input: bytes | None) -> bytes:
        if self.exe is None:
            raise StoreError(f"{self.program} is not installed, or not on PATH")
        try:
            done = subprocess.run(
                [self.exe, subcmd], input=data_input, capture_output=True, timeout=HELPER_LIMIT, check=True
            )
        except subprocess.TimeoutExpired:
            raise StoreError(f"{self.program} has not answered in {HELPER_LIMIT:g} seconds") from None
        except subprocess.CalledProcessError as error:
            raise process_store_error(error, self.program) from None
        except OSError as error:
            raise StoreError(f"{self.program}: {error.strerror}") from None
        return done.stdout


class _AuthConfig(auth.AuthConfig):
    """With such helpers."""

    def _get_store_instance(self, name: str) -> Store:
        return _Store(name)


class Credentials:
    """The file with them."""

    def __init__(self, named: str, environ: Mapping[str, str]) -> None:
        """@param named: the operator's file; empty: docker's own, which need not be there.

        @param environ: variables; of them DOCKER_CONFIG is the folder of docker's own file.
        """
        self._named = named
        own = environ.get("DOCKER_CONFIG") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".docker")
        self._path = named or os.path.join(own, "config.json")

    def check(self) -> None:
        """Look at the operator's file.

        @raise CredentialsError: it is not there, cannot be read or is malformed.
        """
        if self._named:
            self._read()

    def login(self, reference: str) -> Login:
        """What to show for this image; blocks.

        @raise CredentialsError: the operator's file, or a helper that it names, cannot be used.
        """
        registry, _ = auth.resolve_repository_name(parse_repository_tag(reference)[0])
        try:
            return Login(self._entry(registry))
        except CredentialsError as error:
            if self._named:
                raise
            return Login({}, str(error) if os.path.lexists(self._path) else "")

    def _entry(self, registry: str) -> Mapping[str, str]:
        known = self._read()
        try:
            entry = known.resolve_authconfig(registry) or {}
        except (DockerException, StoreError) as error:
            reason = str(error.__cause__ or error).rstrip(".")
            raise CredentialsError(f"{self._title} names a helper for {registry} that fails: {reason}.") from error
        return {key: value for key, value in entry.items() if value}

    @property
    def _title(self) -> str:
        return f"REGISTRY_AUTH_FILE {self._path}" if self._named else self._path

    def _read(self) -> auth.AuthConfig:
        try:
            return _AuthConfig(parse(Path(self._path).read_text("utf-8")))
        except OSError as error:
            raise CredentialsError(f"{self._title} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise CredentialsError(f"{self._title} cannot be read: it is not UTF-8.") from error
        except CredentialsError as error:
            raise CredentialsError(f"{self._title} is malformed: {error}") from error.__cause__


def parse(text: str) -> dict[str, Any]:
    """The parts of a config.json that are about registries, each password decoded.

    @raise CredentialsError: it is not in that format; says where.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" in line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise CredentialsError(f"it is not JSON{where}.") from None  # the error has the text, and so the secrets
    parts = {"auths": _object(found, "it").get("auths"), "credHelpers": found.get("credHelpers")}
    entries, helpers = (_object({} if value is None else value, name) for name, value in parts.items())
    store = found.get("credsStore") or None
    if not all(isinstance(name, str) for name in (store or "", *helpers.values())):
        raise CredentialsError("credsStore and credHelpers must name programs.")
    logins = {registry: _entry(registry, entry) for registry, entry in entries.items()}
    return {"auths": logins, "credHelpers": helpers, "credsStore": store}


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CredentialsError(f'{name} must be an object, like {{"auths": {{"registry:5000": {{"auth": "..."}}}}}}.')
    return value


def _entry(registry: str, value: object) -> dict[str, str]:
    """One login; an empty one where a helper has it."""
    entry = {key: text for key, text in _object(value, f"the entry of {registry}").items() if text}
    known = {"auth", "identitytoken", "username", "password"} & entry.keys()
    if not all(isinstance(entry[key], str) for key in known):
        raise CredentialsError(f"what the entry of {registry} has must be text.")
    if "identitytoken" in known:
        return {"IdentityToken": entry["identitytoken"]}
    if "auth" in known:
        entry["username"], entry["password"] = _decoded(registry, entry["auth"])
    if "username" in entry and "password" in entry:
        return {"username": entry["username"], "password": entry["password"], "serveraddress": registry}
    return {}


def _decoded(registry: str, text: str) -> tuple[str, str]:
    try:
        user, colon, password = b64decode(text, validate=True).decode().partition(":")
    except ValueError:
        user = colon = password = ""
    if not colon:
        raise CredentialsError(f"auth of {registry} must be the base64 of user:password.")
    return user, password.rstrip("\0")
