"""What the agent tells of its container, and where it does not begin at all."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.agent.harness import Agent
from twisted_executor.wire import Fault

V1 = {
    "memory/memory.limit_in_bytes": "268435456",
    "memory/memory.memsw.limit_in_bytes": "268435457",
    "cpu/cpu.cfs_quota_us": "50000",
    "cpu/cpu.cfs_period_us": "100000",
    "pids/pids.max": "128",
}
V2 = {
    "memory.max": "268435456",
    "memory.swap.max": "1",
    "cpu.max": "50000 100000",
    "pids.max": "128",
}
LIMITS = {
    "memory_limit": "268435456",
    "memory_swap_limit": "268435457",
    "cpu_quota": "50000",
    "cpu_period": "100000",
    "pids_limit": "128",
}
NO_LIMITS = {**dict.fromkeys(LIMITS, "max"), "cpu_period": "100000"}


def control_group(files: dict[str, str]) -> str:
    """Shell commands that make a control group of these files."""
    write = (f"printf '{text}\\n' >sys/fs/cgroup/{name}" for name, text in files.items())
    return "(cd sys/fs/cgroup; mkdir memory cpu pids)\n" + "\n".join(write)


def facts(root: Path, *command: str, setup: str = "") -> dict[str, str]:
    """What an agent tells."""
    with Agent(root, *command, setup=setup) as box:
        hello = box.hello()
        assert hello.version == 1
        return dict(hello.facts)


def test_facts(root: Path) -> None:
    """Without a control group the limits are left out; the rest is as it is."""
    found = facts(root)
    del found["exposed"]  # these containers have the machine's own /proc
    assert found == {
        "uid_map": "0 0 4294967295",
        "gid_map": "0 0 4294967295",
        "caps_effective": "00000000000000e0",
        "caps_permitted": "00000000000000e0",
        "caps_bounding": "00000000000000e0",
        "caps_inheritable": "00000000000000e0",
        "caps_ambient": "0000000000000000",
        "no_new_privs": "1",
        "seccomp": "0",
        "interfaces": "lo",
        "read_only_root": "1",
        "writable": "/dev/shm,/tmp",
        "loose": "",
    }


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        (V1, LIMITS),
        (V2, LIMITS),
        (
            {
                **dict.fromkeys(V1, "9223372036854771712"),
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
                "pids/pids.max": "max",
            },
            NO_LIMITS,
        ),
        ({**dict.fromkeys(V2, "max"), "cpu.max": "max 100000"}, NO_LIMITS),
        ({**V2, "memory.max": "max"}, {**LIMITS, "memory_limit": "max", "memory_swap_limit": "max"}),
        ({**V2, "memory.swap.max": "max"}, {**LIMITS, "memory_swap_limit": "max"}),
        ({**V2, "memory.swap.max": "0"}, {**LIMITS, "memory_swap_limit": "268435456"}),
        ({"memory.max": "1048576", "pids.max": "max"}, {"memory_limit": "1048576", "pids_limit": "max"}),
    ],
    ids=[
        "1",
        "2",
        "1 without limits",
        "2 without limits",
        "2 without memory limit",
        "2 without swap limit",
        "2 without swap",
        "2 without cpu",
    ],
)
def test_limits(root: Path, files: dict[str, str], limits: dict[str, str]) -> None:
    """Limits are told alike for both versions of control groups."""
    told = facts(root, setup=control_group(files))
    assert {name: told[name] for name in LIMITS if name in told} == limits


def test_loose_places(root: Path) -> None:
    """A writable place that allows devices or set-user-id programs is told."""
    assert facts(root, setup="mount -o remount,suid tmp; mount -o remount,dev dev/shm")["loose"] == "/dev/shm,/tmp"


def test_exposed(root: Path) -> None:
    """What engines hide or make read-only is told where it is neither."""
    hide = "mount --bind dev/null proc/keys; mount --bind dev/null proc/timer_list"
    protect = "mount --bind proc/sys proc/sys; mount -o remount,bind,ro proc/sys"
    bare = facts(root)["exposed"].split(",")
    covered = facts(root, setup=f"{hide}; {protect}")["exposed"].split(",")
    assert {"/proc/keys", "/proc/timer_list", "/proc/sys/kernel/core_pattern"} <= set(bare)
    assert set(bare) - set(covered) == {"/proc/keys", "/proc/timer_list", "/proc/sys/kernel/core_pattern"}


def test_read_only_root(root: Path) -> None:
    """A root that can be written is told."""
    setup = "mkdir dev/new; mount --rbind . dev/new; cd dev/new"
    assert facts(root, setup=setup)["read_only_root"] == "0"


def test_interfaces(root: Path) -> None:
    """Interfaces that are up are told; those that are down are not."""
    assert facts(root, setup="ip link set lo down")["interfaces"] == ""


def test_places(root: Path) -> None:
    """The places that it is told of become writable for all; others stay as they are."""
    setup = "mount -t tmpfs -o mode=700 data data"
    assert facts(root, "/bin/agent", setup=setup)["writable"] == "/dev/shm"
    assert facts(root, "/bin/agent", "/tmp", "/data", setup=setup)["writable"] == "/dev/shm,/tmp,/data"


@pytest.mark.parametrize("place", ["/absent", "/etc", "/proc/self"])
def test_place_that_cannot_be_opened(root: Path, place: str) -> None:
    """A place that cannot be made writable is a fault, not a surprise for scripts."""
    with Agent(root, "/bin/agent", place) as box:
        assert isinstance(box.event(), Fault)
        assert box.exit_code() == 70


def test_not_the_first_process(root: Path) -> None:
    """It kills all that it sees, so it does not begin where it would see others."""
    done = subprocess.run([root / "bin/agent"], input=b"", capture_output=True, timeout=10, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (64, b"", b"")
