"""The limits of a running server, learnt from its answers."""

from __future__ import annotations

import re
from functools import cache
from unittest import SkipTest

from tests.live.client import JSON, Answer, execute, output, refused, request

# For version 2 of cgroups, else for version 1; some runtimes show neither.
MEMORY = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; true"
PROCESSES = "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; true"


@cache
def longest_time() -> float:
    """TIMEOUT in seconds: a request that wants more is told."""
    found = re.search(
        r"at most ([\d.e+]+) seconds", refused(execute("true", timeout=1e12), 400, "invalid_request")["error"]
    )
    assert found, "the refusal of a long timeout does not say which would be right"
    return float(found[1])


@cache
def largest_request() -> int:
    """MAX_REQUEST_BYTES: a request that announces more is told."""
    answer = request("POST", "/execute", None, JSON | {"Content-Length": str(1 << 50)})
    found = re.search(r"larger than (\d+) bytes", refused(answer, 413, "request_too_large")["error"])
    assert found, "the refusal of a large request does not say which would be right"
    return int(found[1])


@cache
def largest_output() -> int:
    """MAX_OUTPUT_BYTES: more is cut there."""
    for size in (4**n for n in range(6, 14)):
        answer = letters(size)
        if answer["stdout_truncated"]:
            return len(answer["stdout"])
    raise SkipTest("The server keeps more output than this check wants to make.")


def limit_in(script: str) -> int | None:
    """A limit that the container's cgroup shows, None where it shows none; fail where there is none."""
    text = output(script).strip()
    assert text != "max", "the container has no limit"
    assert int(text or 0) < 1 << 60, f"the container has no limit: {text}"
    return int(text) if text else None


def letters(count: int) -> Answer:
    """The answer of a script that writes so many times x."""
    return execute(f"head -c {count} /dev/zero | tr '\\0' x")
