"""API keys."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from twisted_executor.keys import KeyFile, KeysError, parse, read_file

FILE = """\
# the team's keys

alice:alices-secret-0001
  bob : bobs:secret:000001
"""


def test_names_of_secrets() -> None:
    """A secret leads to the name of its key, and nothing else leads to any."""
    keys = parse(FILE)
    assert keys.name_of(b"alices-secret-0001") == "alice"
    assert keys.name_of(b"bobs:secret:000001") == "bob"
    for wrong in (b"", b"alice", b"alices-secret-0002", b"alices-secret-000", b"# the team's keys", b"\xff\xfe"):
        assert keys.name_of(wrong) is None
    assert not any(keys.name_of(b"guess-number-%06d" % number) for number in range(2000))


def test_secrets_are_not_kept() -> None:
    """What stays in memory, and could be logged, are digests."""
    assert "secret" not in repr(parse(FILE))


def test_secret_of_any_script() -> None:
    """A secret is compared as its UTF-8 bytes."""
    assert parse("a:schlüssel-zum-tresor").name_of("schlüssel-zum-tresor".encode()) == "a"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("alice", "Line 1 is not name:secret"),
        (":alices-secret-0001", "Line 1 is not name:secret"),
        ("# x\nalice:too-short-15ch", "Line 2 is not name:secret with a secret of at least 16 characters."),
        (FILE + "alice:another-secret-1", "Line 5 repeats"),
        (FILE + "carol:alices-secret-0001", "Line 5 repeats"),
        ("a:sha256:" + "0" * 63, "Line 1 has no SHA-256 after sha256:, which is 64 hexadecimal digits."),
        ("a:sha256:" + "g" * 64, "Line 1 has no SHA-256"),
        (f"a:alices-secret-0001\nb:sha256:{sha256(b'alices-secret-0001').hexdigest()}", "Line 2 repeats"),
        ("# nothing\n", "There is no key in it"),
        ("", "There is no key in it"),
    ],
)
def test_wrong_file(text: str, sentence: str) -> None:
    """A file that cannot be used says where and why, and never a secret."""
    with pytest.raises(KeysError) as caught:
        parse(text)
    assert sentence in str(caught.value)
    assert "alices" not in str(caught.value)
    assert "short" not in str(caught.value).replace("too short", "")


def test_read_file(tmp_path: Path) -> None:
    """A file is read as UTF-8; one that is not there or not text is an error with its path."""
    path = tmp_path / "keys"
    path.write_text(FILE)
    assert read_file(str(path)).name_of(b"alices-secret-0001") == "alice"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(KeysError, match=r"API_KEYS_FILE .*keys"):
        read_file(str(path))
    with pytest.raises(KeysError, match="missing"):
        read_file(str(tmp_path / "missing"))


def test_unreadable(tmp_path: Path) -> None:
    """It says which user may not read the file: in a container nobody would guess."""
    path = tmp_path / "keys"
    path.touch(0o000)
    script = "import os; from twisted_executor import keys; os.geteuid() or os.setuid(10001); keys.read_file('keys')"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"API_KEYS_FILE keys: user {os.geteuid() or 10001}, who the server is, may not read it." in done.stderr


def test_hashed() -> None:
    """A key may be given as the digest of its secret, which is not itself a secret that is accepted."""
    digest = sha256(b"alices-secret-0001").hexdigest()
    keys = parse(f"alice:sha256:{digest}\nbob:sha256:{sha256(b'x').hexdigest().upper()}")
    assert keys.name_of(b"alices-secret-0001") == "alice"
    assert keys.name_of(b"x") == "bob"
    assert keys.name_of(digest.encode()) is None
    assert keys.name_of(f"sha256:{digest}".encode()) is None


def test_reread(tmp_path: Path) -> None:
    """What changed counts after it was read again; a file that is wrong then changes nothing."""
    path = tmp_path / "keys"
    path.write_text("alice:alices-secret-0001")
    keys = KeyFile(str(path))
    path.write_text("bob:bobs-secret-00000001\ncarol:carols-secret-0001")
    assert keys.name_of(b"alices-secret-0001") == "alice"
    assert keys.reread() == 2
    assert keys.name_of(b"alices-secret-0001") is None
    assert keys.name_of(b"bobs-secret-00000001") == "bob"
    for wrong in ("", "dave"):
        path.write_text(wrong)
        with pytest.raises(KeysError):
            keys.reread()
        assert keys.name_of(b"bobs-secret-00000001") == "bob"
