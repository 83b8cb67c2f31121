"""API keys: read from a file, compared without telling by the time it takes."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

LEAST_SECRET = 16  # characters
HASHED = "sha256:"  # before the digest of a secret, in hexadecimal digits


class KeysError(Exception):
    """The file of keys cannot be used; says why, and never a secret."""


@dataclass(frozen=True, slots=True)
class Keys:
    """@ivar digests: the name of each key and the SHA-256 of its secret."""

    digests: tuple[tuple[str, bytes], ...]

    def name_of(self, secret: bytes) -> str | None:
        """The name of the key with this secret, or None.  All are compared, each in constant time."""
        digest = sha256(secret).digest()
        found = [name for name, known in self.digests if hmac.compare_digest(known, digest)]
        return found[0] if found else None


def parse(text: str) -> Keys:
    """One key a line, `name:secret` or `name:sha256:digest`; empty lines and those that begin with # are skipped.

    @raise KeysError: a line is none, a secret too short, a name or a secret there twice, or there is no key at all.
    """
    digests: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, separator, secret = (part.strip() for part in line.partition(":"))
        if not separator or not name or len(secret) < LEAST_SECRET:
            raise KeysError(f"Line {number} is not name:secret with a secret of at least {LEAST_SECRET} characters.")
        digest = _digest(secret, number)
        if name in digests or digest in digests.values():
            raise KeysError(f"Line {number} repeats a name or a secret.")
        digests[name] = digest
    if not digests:
        raise KeysError("There is no key in it; each line is name:secret.")
    return Keys(tuple(digests.items()))


def _digest(secret: str, number: int) -> bytes:
    if not secret.startswith(HASHED):
        return sha256(secret.encode()).digest()
    try:
        digest = bytes.fromhex(secret.removeprefix(HASHED))
    except ValueError:
        digest = b""
    if len(digest) != sha256().digest_size:
        raise KeysError(f"Line {number} has no SHA-256 after {HASHED}, which is 64 hexadecimal digits.")
    return digest


def read_file(path: str) -> Keys:
    """The keys in a file.

    @raise KeysError: it cannot be read or understood.
    """
    try:
        return parse(Path(path).read_text("utf-8"))
    except PermissionError as error:
        raise KeysError(f"API_KEYS_FILE {path}: user {os.geteuid()}, who the server is, may not read it.") from error
    except (OSError, UnicodeDecodeError, KeysError) as error:
        raise KeysError(f"API_KEYS_FILE {path}: {error}") from error


class KeyFile:
    """The keys of a file, which may change while the server runs."""

    def __init__(self, path: str) -> None:
        """@raise KeysError: it cannot be read or understood."""
        self._path = path
        self._keys = read_file(path)

    def name_of(self, secret: bytes) -> str | None:
        """The name of the key with this secret, or None."""
        return self._keys.name_of(secret)

    def reread(self) -> int:
        """Read it again, and count its keys.

        @raise KeysError: it cannot be read or understood; the keys remain as they were.
        """
        self._keys = read_file(self._path)
        return len(self._keys.digests)
