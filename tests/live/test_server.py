#!/usr/bin/env python3
"""Whether a running server does what it is for.

SCRIPT_EXECUTOR_URL=http://localhost:8080 ./test_server.py
BASE_IMAGE=python-scientific-executor ./test_server.py     also: whether this is the image of its default pool
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from unittest import SkipTest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.live.client import SIX_KEYS, becomes, execute, get, main, pools, prints, same_image

BASE_IMAGE = os.environ.get("BASE_IMAGE", "").strip()


def test_hello() -> None:
    """A script runs, and its output comes back."""
    answer = execute('echo "Hello World"\ndate\npwd').shows(200, success=True, exit_code=0, stderr="", error=None)
    first, clock, folder = answer["stdout"].splitlines()
    assert (first, folder) == ("Hello World", "/tmp"), answer
    assert re.search(r"\d\d:\d\d:\d\d", clock), answer


def test_stdin() -> None:
    """A script reads its stdin, which ends."""
    prints("one\ntwo\n", "cat", stdin="one\ntwo\n")
    prints("end\n", "cat; echo end")


def test_image() -> None:
    """A script runs in the image that its request names."""
    for image in pools():
        execute("echo here", image=image).shows(200, success=True, stdout="here\n", image=image)
        if "scientific" in image:
            prints("6\n", 'python3 -c "import numpy; print(numpy.array([1,2,3]).sum())"', image=image)


def test_keys_of_an_answer() -> None:
    """An answer has its six keys, and says how long the script ran."""
    answer = execute("sleep 0.2").shows()
    assert set(answer.json) >= SIX_KEYS, answer
    assert 0.2 <= answer["execution_time"] < 20, answer


def test_exit_code() -> None:
    """A script that fails says so."""
    answer = execute("echo before; exit 3").shows(200, success=False, exit_code=3, stdout="before\n")
    assert "3" in answer["error"], answer


def test_stderr() -> None:
    """What a script writes to stderr comes back apart from its stdout."""
    execute("echo out; echo err >&2").shows(200, success=True, stdout="out\n", stderr="err\n")


def test_health() -> None:
    """The server is healthy."""
    becomes("/health", status="healthy", reasons=[])


def test_metrics() -> None:
    """The metrics have their keys, and count what runs."""
    before = get("/metrics").shows()
    image = execute("true").shows(200, success=True)["image"]
    after = get("/metrics").shows()
    assert after["pools_active"] == len(pools()) > 0, after
    assert isinstance(after["total_available_containers"], int), after
    for name, pool in pools().items():
        assert {"pool_size", "available_containers", "total_executions"} <= set(pool), f"{name}: {pool}"
        assert 0 <= pool["available_containers"] <= pool["pool_size"], f"{name}: {pool}"
    counts = [answer["pool_metrics"][image]["total_executions"] for answer in (before, after)]
    assert counts[1] > counts[0], f"total_executions was {counts[0]}, then {counts[1]}"


def test_base_image() -> None:
    """The default pool is of the image in BASE_IMAGE."""
    if not BASE_IMAGE:
        raise SkipTest("BASE_IMAGE is not set.")
    image = execute("true").shows(200, success=True)["image"]
    assert same_image(image, BASE_IMAGE), f"Scripts run in {image}, and BASE_IMAGE is {BASE_IMAGE}."
    assert image in pools(), f"{image} has no pool; the pools are {', '.join(pools())}"
    if "python" in BASE_IMAGE:
        prints("42\n", "python3 -c 'print(6 * 7)'")


if __name__ == "__main__":
    main(globals())
