"""Who a script is, what it inherits, and what the kernel refuses it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.agent.harness import FIRST_UID, Agent


def status(box: Agent) -> dict[str, list[str]]:
    """A script's /proc/self/status."""
    text = box.run("#!/bin/busybox cat\n", args=(b"/proc/self/status",)).stdout.decode()
    lines = (line.partition(":") for line in text.splitlines())
    return {name: value.split() for name, _, value in lines}


def test_identity(box: Agent) -> None:
    """A script is its uid and nothing else, four times over, without groups and without capabilities."""
    found = status(box)
    uid = str(FIRST_UID + 1)
    assert found["Uid"] == found["Gid"] == [uid] * 4
    assert found["Groups"] == []
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(found[name][0], 16) == 0
    assert found["NoNewPrivs"] == ["1"]
    assert found["Seccomp"] == ["2"]


def test_signals_are_clean(box: Agent) -> None:
    """No signal is blocked or ignored, whatever the agent does for itself."""
    found = status(box)
    assert {name: int(found[name][0], 16) for name in ("SigBlk", "SigIgn", "SigPnd", "ShdPnd")} == {
        "SigBlk": 0,
        "SigIgn": 0,
        "SigPnd": 0,
        "ShdPnd": 0,
    }


def test_rank(box: Agent) -> None:
    """It is nice, the first to go when memory runs out, and leads a session of its own without a terminal."""
    pid, _, _, _, group, session, terminal, *_ = box.run("cat /proc/$$/stat").stdout.decode().split()
    assert pid == group == session
    assert terminal == "0"
    nice, score = box.run("cut -d' ' -f19 /proc/self/stat; cat /proc/self/oom_score_adj").stdout.split()
    assert (nice, score) == (b"19", b"1000")
    assert box.run("echo -1 >/proc/self/oom_score_adj || renice -n -1 $$ || echo refused").stdout == b"refused\n"


def test_descriptors(box: Agent) -> None:
    """It has its three streams, which are pipes that block, and nothing of the agent's."""
    lines = [line.split() for line in box.run("#!/bin/probe descriptors\n").stdout.decode().splitlines()]
    assert [(number, kind) for number, kind, _ in lines] == [("0", "blocks"), ("1", "blocks"), ("2", "blocks")]
    assert len({target for _, _, target in lines if target.startswith("pipe:[")}) == 3


def test_streams_by_name(box: Agent) -> None:
    """A script can open its streams once more, as those do that read /dev/stdin or write to /dev/stderr."""
    run = box.run("cat /proc/self/fd/0; echo out >/proc/self/fd/1; echo err >/proc/self/fd/2", stdin=b"in\n")
    assert (run.stdout, run.stderr, run.code) == (b"in\nout\n", b"err\n", 0)
    assert run.wiped.clean


def test_agent_is_out_of_reach(box: Agent) -> None:
    """A script can neither look into the agent nor signal it."""
    run = box.run(
        "for path in environ fd/0 mem maps root/tmp cwd/tmp; do"
        " ls -L /proc/1/$path/ >/dev/null 2>&1 && echo $path; head -c 1 /proc/1/$path 2>/dev/null; done;"
        "kill -KILL 1 || kill -CONT 1 || echo refused"
    )
    assert run.stdout == b"refused\n"
    assert box.run("echo alive").stdout == b"alive\n"


def test_setuid_programs(root: Path) -> None:
    """A setuid program gives a script nothing, even where the mount allows it."""
    setup = "mkdir dev/set; cp bin/busybox dev/set/id; chmod 4755 dev/set/id"
    with Agent(root, setup=setup) as box:
        box.hello()
        run = box.run("stat -c %a /dev/set/id; /dev/set/id -u; /dev/set/id -ru")
        assert run.stdout == b"4755\n" + f"{FIRST_UID + 1}\n".encode() * 2


ALLOWED = {"unix", "inet", "inet6", "route", "pair"}
REFUSED = {
    **dict.fromkeys(("packet", "alg", "vsock", "bluetooth", "pair-vsock"), errno.EAFNOSUPPORT),
    **dict.fromkeys(("audit", "crypto"), errno.EPROTONOSUPPORT),
    **dict.fromkeys(("shmget", "semget", "msgget", "mq_open", "add_key", "request_key", "keyctl"), errno.EPERM),
    **dict.fromkeys(("userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register"), errno.ENOSYS),
}
DEBUGGERS = ("ptrace", "process_vm_readv", "process_vm_writev")


@pytest.mark.parametrize("ptrace", [False, True])
def test_calls(root: Path, ptrace: bool) -> None:
    """The calls that untrusted code does not need are refused, those of debuggers unless they are allowed."""
    with Agent(root, "/bin/agent", *(["ptrace"] if ptrace else []), "/tmp") as box:
        box.hello()
        told = dict(line.split() for line in box.run("/bin/probe calls").stdout.decode().splitlines())
    found = {name: int(number) for name, number in told.items()}
    expected = {**dict.fromkeys(ALLOWED, 0), **REFUSED, **dict.fromkeys(DEBUGGERS, 0 if ptrace else errno.EPERM)}
    assert found == expected


def test_calls_without_the_filter(root: Path) -> None:
    """Here and without the filter the same calls are not refused in the same way: it is the filter that refuses."""
    with Agent(root, "/bin/probe", "calls") as bare:
        told = dict(line.split() for line in bare.rest().decode().splitlines())
    same = [name for name, number in REFUSED.items() if int(told[name]) == number]
    assert set(same) <= {"vsock", "bluetooth", "alg", "pair-vsock", "userfaultfd", "audit", "crypto"} | {
        name for name in told if name.startswith("io_uring")
    }
    assert int(told["ptrace"]) == 0


@pytest.mark.parametrize("kind", ["foreign", "x32"])
def test_calls_of_another_kind(box: Agent, kind: str) -> None:
    """A 32-bit call, or one of the x32 kind, would get around the filter: it is the end of the process."""
    run = box.run(f"#!/bin/sh\nexec /bin/probe {kind}")
    assert (run.code, run.stdout) == (-31, b"")
    assert run.wiped.clean


def test_filter_holds_for_children(box: Agent) -> None:
    """What a script starts is filtered as well."""
    told = box.run("(/bin/probe calls | grep shmget) | cat").stdout
    assert told == f"shmget {errno.EPERM}\n".encode()


def test_one_run_cannot_reach_the_next(box: Agent) -> None:
    """Two runs have different uids, and the second finds nothing of the first."""
    box.run("echo secret >/tmp/secret; mkdir /dev/shm/secret; sleep 99 &")
    run = box.run("id -u; ls -A /tmp /dev/shm; ls -d /proc/[0-9]*")
    assert run.stdout.decode().split()[:3] == [str(FIRST_UID + 2), "/dev/shm:", "/tmp:"]
    assert len([path for path in run.stdout.split() if path.startswith(b"/proc/")]) == 2  # the agent and sh
