"""A client of a running server, and what runs its checks where there is no pytest.  Standard library only.

SCRIPT_EXECUTOR_URL says where the server is, SCRIPT_EXECUTOR_KEY is the API key where it wants one.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from unittest import SkipTest  # pytest understands it too
from urllib.parse import urlsplit

PROJECT = Path(__file__).resolve().parents[2]
URL = (os.environ.get("SCRIPT_EXECUTOR_URL") or "http://localhost:8080").rstrip("/")
KEY = os.environ.get("SCRIPT_EXECUTOR_KEY", "")
JSON = {"Content-Type": "application/json"}
SIX_KEYS = {"success", "stdout", "stderr", "exit_code", "execution_time", "error"}

# Seconds.
CONNECT = 10.0
ANSWER = 110.0  # less than what a test may take under pytest
START = 60.0
SETTLE = 20.0


class Unusable(AssertionError):
    """There is nothing that could be checked."""


class Answer:
    """An HTTP answer."""

    def __init__(self, status: int, headers: http.client.HTTPMessage, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> dict[str, Any]:
        """Its body."""
        found = json.loads(self.body)
        assert isinstance(found, dict), self
        return found

    def __getitem__(self, name: str) -> Any:
        found = self.json
        assert name in found, f"{name!r} is missing in {self}"
        return found[name]

    def __repr__(self) -> str:
        return f"<{self.status} {self.body[:600].decode('utf-8', 'replace')}>"

    def shows(self, status: int = 200, /, **fields: Any) -> Answer:
        """Fail unless it has this status and these fields, and say what it has instead."""
        assert self.status == status, f"HTTP {self.status} instead of {status}: {self}"
        for name, value in fields.items():
            assert self[name] == value, f"{name} is {_short(self[name])} instead of {_short(value)}: {self}"
        return self


def request(
    method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, key: str = KEY
) -> Answer:
    """Ask the server; fail with a sentence when there is none."""
    if sentence := problem():
        raise Unusable(sentence)
    return _request(method, path, body, headers, key)


def get(path: str, **headers: str) -> Answer:
    """Ask for this."""
    return request("GET", path, headers=headers)


def execute(script: str, **fields: Any) -> Answer:
    """Run a script, however it ends."""
    return request("POST", "/execute", json.dumps({"script": script} | fields).encode(), JSON)


def output(script: str, **fields: Any) -> str:
    """The stdout of a script that ends well."""
    found: str = execute(script, **fields).shows(200, status="ok", success=True, error=None)["stdout"]
    return found


def prints(expected: str, script: str, **fields: Any) -> None:
    """Fail unless the script ends well and this is its stdout."""
    execute(script, **fields).shows(200, status="ok", success=True, error=None, stdout=expected)


def refused(answer: Answer, status: int, *codes: str) -> Answer:
    """Fail unless nothing was run, for one of these reasons: the six keys, a code and a sentence."""
    answer.shows(status, success=False, stdout="", stderr="", exit_code=None)
    assert set(answer.json) >= SIX_KEYS, answer
    assert answer["code"] in codes, f"code is {answer['code']!r} instead of {' or '.join(codes)}: {answer}"
    assert answer["error"], answer
    assert answer["request_id"] == answer.headers.get("X-Request-ID"), answer
    return answer


def pools() -> dict[str, dict[str, Any]]:
    """The figures of the warm pools by image; those of temporary containers have no size."""
    return {image: pool for image, pool in get("/metrics").shows()["pool_metrics"].items() if pool["pool_size"]}


def in_parallel(calls: Sequence[Callable[[], Answer]]) -> list[Answer]:
    """What these give, all at once."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return [future.result() for future in [threads.submit(call) for call in calls]]


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Look until it is true, and fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} seconds"
        time.sleep(0.1)


def becomes(path: str, **fields: Any) -> None:
    """Fail unless it has these fields soon: while a small pool replaces its containers the server is not ready."""
    deadline = time.monotonic() + SETTLE
    while (answer := get(path)).status != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    answer.shows(200, **fields)


def same_image(one: str, other: str) -> bool:
    """Whether two references mean the same image."""
    return _full(one) == _full(other)


def _full(reference: str) -> str:
    name = reference.removeprefix("docker.io/").removeprefix("library/")
    return name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text)} characters)"


@cache
def problem() -> str:
    """Why nothing can be checked, as a sentence; empty when something can.  A server that starts is waited for."""
    if not __debug__:
        return "Python leaves out the checks when it is started with -O or PYTHONOPTIMIZE."
    try:
        live = _request("GET", "/health/live")
        if live.status != 200 or live.json.get("status") != "alive":
            return f"What answers at {URL} is not a script execution server: HTTP {live.status} for /health/live."
        if _request("GET", "/metrics").status == 401:
            wrong = "does not know the key in SCRIPT_EXECUTOR_KEY" if KEY else "needs a key: set SCRIPT_EXECUTOR_KEY"
            return f"The server at {URL} {wrong}."
        deadline = time.monotonic() + START
        while (ready := _request("GET", "/health/ready")).status != 200:
            if time.monotonic() > deadline:
                return f"The server at {URL} is not ready: {' '.join(ready['reasons'])}"
            time.sleep(0.5)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"No script execution server answers at {URL}: {error}."
    return ""


def connect(timeout: float = ANSWER) -> tuple[http.client.HTTPConnection, str]:
    """A connection to the server, and the path that its paths begin with."""
    place = urlsplit(URL)
    if place.scheme not in ("http", "https") or not place.hostname:
        raise ValueError("SCRIPT_EXECUTOR_URL must look like http://localhost:8080")
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    connection = kind(place.hostname, place.port, timeout=CONNECT)
    connection.connect()
    connection.sock.settimeout(timeout)
    return connection, place.path


def _request(
    method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, key: str = KEY
) -> Answer:
    connection, prefix = connect()
    given = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        # A server that refuses a body need not read it; its answer is there all the same.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, prefix + path, body, given | dict(headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def main(names: Mapping[str, Any]) -> None:
    """Run the checks among these names and exit: 0 all is well, 1 something is not, 2 nothing could be checked."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if sentence := problem():
        print(sentence, file=sys.stderr)
        sys.exit(2)
    checks = [check for name, check in names.items() if name.startswith("test_") and callable(check)]
    verdicts = [_run(check) for check in checks]
    failed, skipped = verdicts.count("FAILED"), verdicts.count("skipped")
    print(f"{URL}: {len(checks)} checks, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)


def _run(check: Callable[[], None]) -> str:
    """Run one check and print its line."""
    began = time.monotonic()
    verdict, why = "ok", ""
    try:
        check()
    except SkipTest as reason:
        verdict, why = "skipped", f" {reason}"
    except Exception as error:
        verdict, why = "FAILED", f" {_reason(error)}"
    title = (check.__doc__ or check.__name__).splitlines()[0]
    print(f"{verdict:7} {time.monotonic() - began:6.2f} s  {title}{why}", flush=True)
    return verdict


def _reason(error: Exception) -> str:
    """On one line: what it says, or the line that is not true; and where that is."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if PROJECT in Path(frame.filename).parents and frame.filename != __file__]
    frame = (own or frames)[-1]
    name = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
    text = " ".join((name + str(error)).split()) or frame.line
    return f"[{Path(frame.filename).name}:{frame.lineno}] {text}"
