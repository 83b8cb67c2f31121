"""A server whose containers are not confined as they should be is not ready, and says why."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.engine.server_process import ServerProcess, wait_until
from tests.engine.weakened import weakened
from tests.security.conftest import SETTINGS
from tests.security.rows import NO_PROFILE

MIB = 1 << 20
TMPFS = {"/tmp": "size=1m,mode=1777", "/dev/shm": "size=1m,mode=1777", "/data": "size=1m,mode=1777"}
DROPPED: dict[str, tuple[dict[str, Any], str]] = {
    "memory": (
        {"Memory": 0, "MemorySwap": 0},
        "memory limit does not exist in the container, 268435456 was",
    ),
    "swap": ({"MemorySwap": -1}, "the limit of memory and swap does not exist"),
    "more-memory": ({"Memory": 512 * MIB, "MemorySwap": 512 * MIB}, "the memory limit is 536870912 in the container"),
    "cpu": ({"NanoCpus": 0}, "the CPU limit does not exist in the container, 0.5 was asked for"),
    "pids": ({"PidsLimit": 0}, "the limit of processes does not exist"),
    "root": ({"ReadonlyRootfs": False}, "the root file system is writable"),
    "capabilities": ({"CapAdd": ["SETUID", "SETGID", "KILL", "NET_RAW"]}, "capabilities are"),
    "fewer-capabilities": ({"CapAdd": ["SETUID", "SETGID"]}, "capabilities are"),
    "privileges": ({"SecurityOpt": []}, "no-new-privileges is off"),
    "profile": (json.loads(NO_PROFILE), "there is no seccomp filter"),
    "network": ({"NetworkMode": "bridge"}, "there is a network interface beside lo"),
    "masks": ({"MaskedPaths": [], "ReadonlyPaths": []}, "neither hidden nor read-only"),
    "places": ({"Tmpfs": TMPFS | {"/extra": "mode=1777"}}, "these places are writable: /extra"),
    "flags": ({"Tmpfs": TMPFS | {"/data": "suid,dev,size=1m,mode=1777"}}, "set-user-id programs: /data"),
    "processes": ({"PidMode": "host"}, "No container of"),
}


@pytest.mark.parametrize("name", DROPPED)
def test_not_ready(name: str) -> None:
    """The real engine is asked for less than the server wants: nothing runs, and health and answer give the reason."""
    changed, reason = DROPPED[name]
    server = ServerProcess(twistd=weakened(host=changed), **SETTINGS)
    try:
        wait_until(lambda: server.listening() and server.pool(SETTINGS["BASE_IMAGE"])["last_failure"], "a failure")
        assert server.get("/health/ready").status == 503
        assert reason in server.get("/health").body.decode()
        refused = server.execute("echo hi")
        assert (refused.status, reason in refused["error"]) == (503, True), refused
    finally:
        server.discard()
