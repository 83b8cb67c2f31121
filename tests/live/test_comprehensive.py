#!/usr/bin/env python3
"""Whether a running server keeps all that it promises to those who send it scripts.

    SCRIPT_EXECUTOR_URL=http://localhost:8080 ./test_comprehensive.py

Any image with /bin/sh and the usual small programs will do; limits are learnt from the server's answers.
"""

from __future__ import annotations

import json
import os
import re
import sys
from functools import partial
from pathlib import Path
from unittest import SkipTest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.live import test_container
from tests.live.client import (
    JSON,
    KEY,
    SIX_KEYS,
    becomes,
    connect,
    execute,
    get,
    in_parallel,
    main,
    pools,
    prints,
    refused,
    request,
    wait_until,
)
from tests.live.limits import largest_output, largest_request, letters, longest_time

KIB, MIB = 1 << 10, 1 << 20
ANSWER_KEYS = SIX_KEYS | {
    "status", "signal", "stdout_truncated", "stderr_truncated", "stdout_bytes", "stderr_bytes", "oom_kills", "cpu_time",
    "memory_peak", "queue_time", "warm", "image", "request_id",
}  # fmt: skip


# Scripts


def test_answer() -> None:
    """An answer has all of its fields."""
    answer = execute("echo hi").shows(
        200, success=True, stdout="hi\n", stderr="", exit_code=0, error=None, status="ok", signal=None, oom_kills=0,
        stdout_bytes=3, stderr_bytes=0, stdout_truncated=False, stderr_truncated=False,
    )  # fmt: skip
    assert set(answer.json) >= ANSWER_KEYS, ANSWER_KEYS - set(answer.json)


def test_arguments() -> None:
    """Arguments arrive as they are."""
    args = ["a b", "", "'\"$x`", "ä\nö", "*"]
    prints("".join(f"[{a}]" for a in args), 'for a in "$@"; do printf "[%s]" "$a"; done', args=args)


def test_variables() -> None:
    """Variables arrive as they are, and HOME is a folder that can be written to."""
    prints("x y\nz-ü", 'printf %s "$A-$B"', env={"A": "x y\nz", "B": "ü"})
    prints("hi\n", 'echo hi >"$HOME/file" && cat "$HOME/file"')


def test_timeout() -> None:
    """A script that runs too long is ended, and what it had written comes back."""
    answer = execute("echo before; sleep 20; echo after", timeout=min(0.5, longest_time()))
    answer.shows(200, success=False, status="timeout", stdout="before\n")
    assert answer["execution_time"] < 10, answer
    assert "limit" in answer["error"], answer


def test_exit_codes() -> None:
    """Exit codes are told as they are; nothing is read into 124 or 137."""
    for code in (1, 2, 124, 137, 255):
        execute(f"exit {code}").shows(200, success=False, status="nonzero_exit", exit_code=code, signal=None)


def test_signals() -> None:
    """A script that a signal ends says which."""
    for name, number in (("TERM", 15), ("KILL", 9), ("SEGV", 11)):
        answer = execute(f"kill -{name} $$")
        answer.shows(200, success=False, status="signaled", signal=f"SIG{name}", exit_code=128 + number)


def test_background() -> None:
    """What a script leaves running does not hold its answer, and ends with it."""
    execute("sleep 1000 & echo done").shows(200, status="ok", stdout="done\n")


def test_large_streams() -> None:
    """A megabyte of stdin comes back as stdout."""
    text = "0123456789abcde\n" * (min(MIB, largest_output(), largest_request() - 64 * KIB) // 16)
    execute("cat", stdin=text).shows(200, stdout=text, stdout_truncated=False, stdout_bytes=len(text))


def test_truncated_output() -> None:
    """Output above its limit is cut and counted, and the script goes on."""
    most = largest_output()
    letters(most).shows(200, stdout="x" * most, stdout_truncated=False, stdout_bytes=most)
    answer = execute(f"head -c {most + 9} /dev/zero | tr '\\0' x; echo end >&2")
    answer.shows(
        200, status="ok", stdout="x" * most, stdout_truncated=True, stdout_bytes=most + 9, stderr="end\n",
        stderr_truncated=False,
    )  # fmt: skip


def test_endless_output() -> None:
    """A script that does not stop writing is ended."""
    most = largest_output()
    answer = execute("yes xxxxxxxxxxxxxxx").shows(200, success=False, status="output_limit", stdout_truncated=True)
    assert len(answer["stdout"]) == most, len(answer["stdout"])


def test_unicode() -> None:
    """Text of all planes passes through; what is no UTF-8 is replaced."""
    text = "äöü€𝄞\u2028\u0000\\n" * 100
    prints(text, "cat", stdin=text)
    prints("grüße 𝄞\n", "echo 'grüße 𝄞'")
    prints("a\ufffdb", r"printf 'a\377b'")


def test_interpreter() -> None:
    """A script is run by its first line's interpreter; one that is not there is named."""
    script = "#!/bin/cat\nI print myself.\n"
    prints(script, script)
    answer = execute("#!/no/such/thing\n").shows(200, success=False, exit_code=127)
    assert "/no/such/thing" in answer["error"], answer


def test_concurrency() -> None:
    """Requests at the same time do not see each other."""
    nonces = [os.urandom(8).hex() for _ in range(24)]

    def tenant(nonce: str) -> str:
        return "one" if nonce < "8" else "two"

    script = 'read line; echo "$1" >/tmp/nonce; sleep 0.1; echo "$line $NONCE $(cat /tmp/nonce) $(ls -A /tmp)"'
    calls = [partial(execute, script, stdin=f"{n}\n", args=[n], env={"NONCE": n}, tenant=tenant(n)) for n in nonces]
    for nonce, answer in zip(nonces, in_parallel(calls), strict=True):
        answer.shows(200, success=True, stdout=f"{nonce} {nonce} {nonce} nonce\n")


def test_client_that_goes() -> None:
    """A script whose client has gone is ended."""
    counted = re.compile(r'^script_executor_refused_total\{code="cancelled"\} ([\d.e+]+)$', re.MULTILINE)

    def cancelled() -> float:
        found = counted.search(get("/metrics", Accept="text/plain").body.decode())
        return float(found[1]) if found else 0.0

    before = cancelled()
    connection, prefix = connect()
    headers = JSON | ({"Authorization": f"Bearer {KEY}"} if KEY else {})
    connection.request("POST", f"{prefix}/execute", json.dumps({"script": "sleep 1000"}), headers)
    wait_until(lambda: get("/metrics")["running"] > 0, "the script runs", 10)
    connection.close()
    wait_until(lambda: cancelled() > before, "the script is cancelled", longest_time())


# Requests


def test_bad_requests() -> None:
    """What is malformed, or asks for what cannot be, is 400."""
    bodies = (
        '', '{', '[]', '"x"', '{}', '{"script": ""}', '{"script": 1}', '{"script": "x", "args": "y"}', "[" * 10_000,
        '{"script": "x", "timeout": 0}', '{"script": "x", "image": "A b"}', '{"script": "x", "env": {"a=b": "c"}}',
    )  # fmt: skip
    for body in bodies:
        refused(request("POST", "/execute", body.encode(), JSON), 400, "invalid_request")
    refused(execute("true", timeout=longest_time() * 2), 400, "invalid_request")


def test_unknown_field() -> None:
    """A field that does not exist is 400, and the sentence names those that do."""
    sentence = refused(execute("true", sript="x"), 400, "invalid_request")["error"]
    assert all(name in sentence for name in ("sript", "script", "stdin", "image", "args", "env", "timeout")), sentence


def test_wrong_paths() -> None:
    """An unknown path is 404, a wrong method 405 with the right one."""
    refused(get("/nothing"), 404, "not_found")
    assert "POST" in refused(get("/execute"), 405, "method_not_allowed").headers.get("Allow", "")
    assert "GET" in refused(request("DELETE", "/metrics"), 405, "method_not_allowed").headers.get("Allow", "")


def test_wrong_type() -> None:
    """A body that is not said to be JSON is 415, and the sentence says what to do."""
    answer = request("POST", "/execute", b'{"script": "true"}', {"Content-Type": "text/plain"})
    assert "Content-Type: application/json" in refused(answer, 415, "unsupported_media_type")["error"]


def test_large_request() -> None:
    """A request of the largest size is served, one byte more is 413."""
    most = largest_request()
    if most > 64 * MIB:
        raise SkipTest(f"{most} bytes are more than this check wants to send.")
    head, end = b'{"script": "wc -c", "stdin": "', b'"}'
    filling = most - len(head) - len(end)
    answer = request("POST", "/execute", head + b"x" * filling + end, JSON).shows(200, success=True)
    assert answer["stdout"].strip() == str(filling), answer
    refused(request("POST", "/execute", head + b"x" * (filling + 1) + end, JSON), 413, "request_too_large")


def test_web_pages() -> None:
    """A web page of somebody else cannot run scripts."""
    for header in ({"Origin": "http://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"}):
        refused(request("POST", "/execute", b'{"script": "true"}', JSON | header), 403, "forbidden")


def test_missing_image() -> None:
    """An image that does not exist is not the script's fault, and says so."""
    answer = execute("true", image="script-executor-no-such-image:none")
    if get("/images")["allowed"] != "any":
        refused(answer, 403, "image_not_allowed")
    elif answer.status == 503:
        refused(answer, 503, "image_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    else:
        refused(answer, 422, "image_not_found")
    assert "script-executor-no-such-image" in answer["error"], answer


def test_request_id() -> None:
    """A request's id comes back, one that cannot be used is replaced."""
    ids = []
    for name in ("mine-1.a_b", "not\tmine", ""):
        answer = request("POST", "/execute", b'{"script": "true"}', JSON | ({"X-Request-ID": name} if name else {}))
        assert answer.shows()["request_id"] == answer.headers.get("X-Request-ID"), answer
        ids.append(answer["request_id"])
    assert ids[0] == "mine-1.a_b", ids
    assert len(set(ids)) == 3, ids
    assert all(re.fullmatch(r"[\w.-]{1,64}", name) for name in ids), ids


def test_key() -> None:
    """Without its key nobody runs scripts or sees figures, but health is open."""
    if not KEY:
        raise SkipTest("SCRIPT_EXECUTOR_KEY is not set.")
    for key in ("", "wrong-" + KEY):
        answer = request("POST", "/execute", b'{"script": "true"}', JSON, key=key)
        assert refused(answer, 401, "unauthorized").headers["WWW-Authenticate"] == "Bearer"
        for path in ("/metrics", "/images"):
            refused(request("GET", path, key=key), 401, "unauthorized")
        request("GET", "/health", key=key).shows(200)


def test_metrics() -> None:
    """The metrics count good and bad ends, and are text for Prometheus when that is asked for."""
    before = get("/metrics").shows()
    execute("true").shows(200, success=True)
    execute("exit 1").shows(200, success=False)
    after = get("/metrics").shows()
    for name, least in (("total_executions", 2), ("successful_executions", 1), ("failed_executions", 1)):
        assert after[name] >= before[name] + least, f"{name} was {before[name]} and is {after[name]}"
    text = get("/metrics", Accept="text/plain").shows(200)
    assert text.headers["Content-Type"].startswith("text/plain"), text.headers["Content-Type"]
    assert "\n# TYPE script_executor_runs_total counter\n" in text.body.decode()
    assert get("/metrics", Accept="application/openmetrics-text").body.endswith(b"# EOF\n")


def test_images() -> None:
    """The server lists the pools that it has and the images that it allows."""
    answer = get("/images").shows()
    assert {pool["image"]: pool["pool_size"] for pool in answer["pools"]} == {
        image: pool["pool_size"] for image, pool in pools().items()
    }
    assert answer["allowed"] == "any" or isinstance(answer["allowed"], list), answer


def test_health() -> None:
    """An orchestrator learns that the server lives and is ready."""
    get("/health/live").shows(200, status="alive")
    becomes("/health/ready")


if __name__ == "__main__":
    main(globals() | vars(test_container))
