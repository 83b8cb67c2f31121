"""Runs: what goes into a script, what comes out, how it starts."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest

from tests.agent.harness import FIRST_UID, Agent
from twisted_executor import schema
from twisted_executor.wire import EXITED, STAGE_EXEC, STAGE_RUN, STAGE_SETUP


def test_echo(box: Agent) -> None:
    """A script without an interpreter is one of /bin/sh; all that it says comes back, and nothing stays."""
    run = box.run("echo hi; echo oh >&2")
    assert (run.stdout, run.stderr, run.code) == (b"hi\n", b"oh\n", 0)
    assert (run.end.cause, run.end.stage, run.end.errno) == (EXITED, STAGE_RUN, 0)
    assert (run.end.stdout_bytes, run.end.stderr_bytes, run.end.oom_kills) == (3, 3, 0)
    assert run.wiped.clean
    assert run.wiped.reason == ""


def test_measures(box: Agent) -> None:
    """Wall time is the run's, processor time that of all its processes, the resident set that of one of them."""
    slept = box.run("sleep 0.1")
    assert 0.1 <= slept.end.wall < 5
    assert slept.end.cpu < 0.1
    worked = box.run("(i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done) & wait")
    assert 0.01 < worked.end.cpu < 10
    assert 100_000 < worked.end.memory_peak < 100 << 20
    large = box.run("dd if=/proc/self/exe of=/dev/null bs=1900k count=1 2>/dev/null; (sleep 99) >/dev/null 2>&1 &")
    assert large.end.memory_peak > slept.end.memory_peak + (1 << 20)


@pytest.mark.parametrize("first", ["", "#!/bin/sh\n"])
def test_args(box: Agent, first: str) -> None:
    """Arguments come as they are: empty ones, white space, any bytes; the script's name is the path of its file."""
    args = (b"", b"a b", b"*", b"\xff\n", b"x" * 100_000)
    run = box.run(first + 'printf "%s|" "$0" "$#" "$@"', args=args)
    assert run.stdout == b"|".join([b"/.script/script", b"5", *args, b""])


def test_many_args(box: Agent) -> None:
    """A megabyte of arguments fits."""
    args = tuple(b"%07d" % number for number in range(50_000))
    assert box.run('echo "$# $1 $50000"; shift 49999; echo $1', args=args).stdout.split()[-1] == b"0049999"


def test_most_args(box: Agent) -> None:
    """As many as a request may have, which are all empty then."""
    args = (b"",) * (schema.MOST_STRINGS // schema.STRING_COST)
    assert box.run('echo "$#"', args=args).stdout == f"{len(args)}\n".encode()


def test_environment(root: Path) -> None:
    """The image's variables, ours over them, the request's over both; each name once, the last of equals wins."""
    image = {"PATH": "/bin", "HOME": "/root", "LANG": "C", "HOMER": "1", "A": "image"}
    with Agent(root, env=image) as box:
        box.hello()
        env = (b"A=first", b"USER=me", b"A=last", b"E=", b"LAN=x=y", b"B=\xff\n")
        # Not by the shell, which adds its own.
        script = b"#!/bin/busybox cat\n"
        found = box.run(script, args=(b"/proc/self/environ",), env=env).stdout.removeprefix(script).split(b"\0")
    expected = [
        b"PATH=/bin",
        b"HOME=/tmp",
        b"LANG=C",
        b"HOMER=1",
        b"A=last",
        b"TMPDIR=/tmp",
        b"USER=me",
        b"LOGNAME=sandbox",
        b"E=",
        b"LAN=x=y",
        b"B=\xff\n",
    ]
    assert sorted(found[:-1]) == sorted(expected)


def test_where_it_runs(box: Agent) -> None:
    """It starts in an empty /tmp; it can read and execute its file, but not change, remove or replace it."""
    run = box.run(
        "pwd; ls -A; umask; stat -c '%a %u' /.script/script /.script\n"
        "echo x >/.script/script || rm -f /.script/script || touch /.script/new || echo refused"
    )
    assert run.stdout.splitlines() == [b"/tmp", b"0022", b"755 0", b"755 0", b"refused"]


@pytest.mark.parametrize("code", [0, 1, 2, 126, 127, 137, 255])
def test_exit_codes(box: Agent, code: int) -> None:
    """A script's code comes back as it is, and its stage is that of a script that ran."""
    run = box.run(f"exit {code}")
    assert (run.code, run.end.stage, run.end.errno) == (code, STAGE_RUN, 0)


@pytest.mark.parametrize("number", [1, 2, 6, 9, 13, 15, 17, 31])
def test_signals(box: Agent, number: int) -> None:
    """A death by a signal comes back as one; those that a program ignores by default are not ignored for good."""
    run = box.run(f"kill -{number} $$; echo alive")
    assert (run.code, run.stdout) == ((0, b"alive\n") if number == 17 else (-number, b""))


@pytest.mark.parametrize(
    ("script", "number"),
    [
        ("#!/bin/absent\n", errno.ENOENT),
        ("#!/bin/sh\r\necho hi\r\n", errno.ENOENT),
        ("#!/etc/precious\n", errno.EACCES),
        ("#!/tmp\n", errno.EACCES),
        ("#!\necho hi\n", errno.ENOEXEC),
        ("#!" + "x" * 300, errno.ENOEXEC),
    ],
)
def test_script_that_does_not_start(box: Agent, script: str, number: int) -> None:
    """Why exec failed is told, with the code that a shell would have; the agent goes on."""
    run = box.run(script)
    assert (run.end.stage, run.end.errno) == (STAGE_EXEC, number)
    assert run.code == (127 if number == errno.ENOENT else 126)
    assert (run.stdout, run.stderr) == (b"", b"")
    assert run.wiped.clean
    assert box.run("echo hi").stdout == b"hi\n"


def test_no_shell(root: Path) -> None:
    """Where /bin/sh is missing a script without an interpreter does not start, and one with does."""
    hide = "mkdir dev/bin; cp bin/busybox bin/agent bin/confine dev/bin; mount --bind dev/bin bin"
    with Agent(root, setup=hide) as box:
        box.hello()
        run = box.run("echo hi")
        assert (run.end.stage, run.end.errno, run.code) == (STAGE_EXEC, errno.ENOENT, 127)
        assert box.run("#!/bin/busybox sh\necho hi").stdout == b"hi\n"


def test_interpreter_with_argument(box: Agent) -> None:
    """The kernel's rule for the first line holds: one argument, then the script, then its own."""
    run = box.run("#!/bin/busybox printf\nnever read", args=(b"x",))
    assert (run.stdout, run.code) == (b"/.script/script", 0)


def test_a_script_that_cannot_be_set_up(root: Path) -> None:
    """When its folder is gone, so that nothing is as it must be, it does not start, and the stage says so."""
    with Agent(root, "/bin/agent", setup="umount tmp") as box:
        box.hello()
        # /tmp is there, but below a read-only root, and belongs to root: the script starts there all the same.
        assert box.run("pwd").stdout == b"/tmp\n"
    hide = "umount tmp; mkdir dev/tmp; mount -o mode=700 -t tmpfs closed tmp; chown 5:5 tmp"
    with Agent(root, "/bin/agent", setup=hide) as box:
        box.hello()
        run = box.run("echo never")
        assert (run.end.stage, run.end.errno, run.stdout) == (STAGE_SETUP, errno.EACCES, b"")
        assert run.code == 126


def test_binary_script(box: Agent) -> None:
    """A large script arrives whole, whatever its bytes."""
    script = b"#!/bin/busybox sha256sum\n" + bytes(range(256)) * 2000
    assert box.run(script).stdout.split()[0] == hashlib.sha256(script).hexdigest().encode()


def test_one_after_another(box: Agent) -> None:
    """Runs follow each other, each as if it were the first."""
    for number in range(50):
        run = box.run(f"ls -A /tmp /dev/shm; id -u; echo {number} >/tmp/mine; echo {number} >/dev/shm/mine")
        assert (run.stdout, run.wiped.clean) == (f"/dev/shm:\n\n/tmp:\n{FIRST_UID + 1 + number}\n".encode(), True)
