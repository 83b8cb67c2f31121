#!/usr/bin/env python3
"""Whether the containers of a running server hold what is in them; a part of test_comprehensive.py."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import SkipTest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.live.client import execute, main, output, pools, prints
from tests.live.limits import MEMORY, PROCESSES, limit_in

GIB = 1 << 30


def test_files_are_forgotten() -> None:
    """/tmp can be written to, and is empty for each script."""
    for _ in range(2 + max(pool["pool_size"] for pool in pools().values())):
        prints("/tmp\nx\n", "pwd; ls -A /tmp; ls -A /dev/shm; mkdir d; echo x >d/f; cat d/f; echo x >/dev/shm/f")


def test_files_are_limited() -> None:
    """A full /tmp is an error of the script."""
    answer = execute("cat /dev/zero >/tmp/full").shows(200, success=False, status="nonzero_exit")
    assert "No space left on device" in answer["stderr"], answer
    prints("", "ls -A /tmp")


def test_no_network() -> None:
    """There is no network but the container's own."""
    names = [line.split(":")[0].strip() for line in output("cat /proc/net/dev").splitlines() if ":" in line]
    assert names in (["lo"], []), f"the network interfaces are {', '.join(names)}"
    assert len(output("cat /proc/net/route").splitlines()) <= 1


def test_no_privileges() -> None:
    """A script has no capability and cannot get one, and is nobody's user, another for each run."""
    users = set()
    for _ in range(3):
        status = dict(line.split(":", 1) for line in output("cat /proc/self/status").splitlines() if ":" in line)
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status.get(name, "0"), 16) == 0, f"{name} is {status[name].strip()}"
        assert "CapEff" in status, status
        assert status.get("NoNewPrivs", "1").strip() == "1", status
        ids = set(status["Uid"].split() + status["Gid"].split())
        assert all(int(number) >= 1000 for number in ids), f"the ids are {', '.join(ids)}"
        users.add(status["Uid"])
    assert len(users) == 3, users


def test_read_only() -> None:
    """The image cannot be changed."""
    roots = [line.split() for line in output("cat /proc/self/mounts").splitlines() if line.split()[1] == "/"]
    assert roots, "no file system is mounted at /"
    assert all("ro" in root[3].split(",") for root in roots), roots
    execute("echo x >/x").shows(200, success=False)
    prints("", "for d in / /etc /bin /usr /var; do touch $d/x 2>/dev/null && echo $d; done; true")


def test_memory() -> None:
    """A script that needs more memory than it may have is ended, and told so."""
    limit = limit_in(MEMORY)
    if limit and limit > 4 * GIB:
        raise SkipTest(f"{limit} bytes are more than this check wants to fill.")
    size = 2 * (limit or GIB)
    answer = execute(f"head -c {size} /dev/zero | tail -c {size} >/dev/null")
    answer.shows(200, success=False, status="out_of_memory")
    assert answer["oom_kills"] > 0, answer
    execute("echo next").shows(200, stdout="next\n", oom_kills=0)


def test_processes() -> None:
    """A script that starts too many processes fails, and the next one does not."""
    limit = limit_in(PROCESSES)
    if limit and limit > 4000:
        raise SkipTest(f"{limit} processes are more than this check wants to start.")
    answer = execute("n=0; while [ $n -lt 5000 ]; do sleep 60 & n=$((n + 1)); echo $n; done")
    answer.shows(200, success=False)
    started = len(answer["stdout"].split())
    assert 1 < started <= (limit or 5000), f"{started} processes were started: {answer}"
    assert "fork" in answer["stderr"], answer["stderr"]
    prints("next\n", "sleep 0 & wait; echo next")


if __name__ == "__main__":
    main(globals())
