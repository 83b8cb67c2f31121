"""Scripts of all kinds over HTTP: what a client sees."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.engine.server_process import BUSYBOX, ServerProcess

SEED_KEYS = {"success", "stdout", "stderr", "exit_code", "execution_time", "error"}


def test_hello(server: ServerProcess) -> None:
    """The README's first script."""
    answer = server.execute('echo "Hello World"\ndate\npwd')
    assert answer.status == 200
    first, _, last = answer["stdout"].splitlines()
    assert (first, last) == ("Hello World", "/tmp")
    assert (answer["success"], answer["exit_code"], answer["error"], answer["status"]) == (True, 0, None, "ok")
    assert set(answer.json) >= SEED_KEYS
    assert 0 < answer["execution_time"] < 1
    assert answer["warm"] is True
    assert answer["image"] == BUSYBOX


@pytest.mark.parametrize("code", [1, 2, 124, 137, 255])
def test_exit_code(server: ServerProcess, code: int) -> None:
    """An exit code is told as it is; nothing is read into 124 or 137."""
    answer = server.execute(f"exit {code}")
    assert (answer.status, answer["success"], answer["exit_code"]) == (200, False, code)
    assert (answer["status"], answer["signal"]) == ("nonzero_exit", None)
    assert str(code) in answer["error"]


@pytest.mark.parametrize(("name", "number"), [("KILL", 9), ("TERM", 15), ("SEGV", 11), ("ABRT", 6)])
def test_signal(server: ServerProcess, name: str, number: int) -> None:
    """A script that a signal ends says which."""
    answer = server.execute(f"kill -{name} $$")
    assert (answer["status"], answer["signal"], answer["exit_code"]) == ("signaled", f"SIG{name}", 128 + number)


def test_streams(server: ServerProcess) -> None:
    """stdout and stderr come separately, and nothing is trimmed."""
    answer = server.execute("printf '  out \\n\\n'; printf ' err ' >&2")
    assert (answer["stdout"], answer["stderr"]) == ("  out \n\n", " err ")
    assert (answer["stdout_bytes"], answer["stderr_bytes"]) == (8, 5)


def test_stdin(server: ServerProcess) -> None:
    """stdin reaches the script and ends; without it there is an end of file at once."""
    assert server.output("cat", stdin="one\ntwo") == "one\ntwo"
    assert server.output("cat; echo end") == "end\n"


def test_stdin_that_nobody_reads(server: ServerProcess) -> None:
    """A script that leaves its stdin alone ends all the same."""
    assert server.output("echo done", stdin="x" * 2_000_000) == "done\n"


def test_large_stdin(server: ServerProcess) -> None:
    """Two megabytes of stdin pass through."""
    assert server.output("wc -c", stdin="x" * 2_000_000).strip() == "2000000"


def test_large_script(server: ServerProcess) -> None:
    """A script of three megabytes runs."""
    assert server.output("#" + "x" * 3_000_000 + "\necho end") == "end\n"


def test_unicode(server: ServerProcess) -> None:
    """Text of all planes passes, also when it arrives in pieces."""
    text = "äöü€𝄞" * 5000
    assert server.output("cat", stdin=text) == text
    assert server.output("printf '\\xe2\\x82'; sleep 0.1; printf '\\xac'") == "€"


def test_bytes_that_are_not_text(server: ServerProcess) -> None:
    """What is not UTF-8 becomes U+FFFD."""
    assert server.output("printf 'a\\xffb'") == "a\ufffdb"
    assert server.output("printf 'a\\xe2\\x82'") == "a\ufffd"


def test_args_and_env(server: ServerProcess) -> None:
    """Arguments and variables arrive as they are, with spaces, quotes and newlines."""
    args = ["a b", "", "'\"$x`", "ä\nö"]
    assert server.output('for a in "$@"; do printf "[%s]" "$a"; done', args=args) == "[a b][]['\"$x`][ä\nö]"
    assert server.output('printf %s "$V"', env={"V": "x y\nz"}) == "x y\nz"


def test_environment(server: ServerProcess) -> None:
    """The script sees the image's variables, ours and the request's, and nothing of the server's."""
    lines = dict(line.split("=", 1) for line in server.output("env", env={"USER": "me"}).splitlines())
    assert {"HOME": "/tmp", "TMPDIR": "/tmp", "USER": "me", "LOGNAME": "sandbox"}.items() <= lines.items()
    assert set(lines) <= {"HOME", "TMPDIR", "USER", "LOGNAME", "PATH", "HOSTNAME", "PWD", "SHLVL", "OLDPWD"}


def test_who_it_is(server: ServerProcess) -> None:
    """A script is nobody's user, in a file system of its own, without a network."""
    uid, groups, hostname = server.output("id -u; id -G; hostname").split("\n")[:3]
    assert int(uid) >= 1000
    assert groups == uid
    assert hostname == "sandbox"
    assert server.execute("touch /x").json["exit_code"] == 1
    assert server.output("ls /tmp; ls -A /dev/shm; ls /sys/class/net") == "lo\n"


def test_fresh_uid(server: ServerProcess) -> None:
    """Each run has a user id of its own."""
    assert len({server.output("id -u") for _ in range(5)}) == 5


def test_shebang(server: ServerProcess) -> None:
    """A script chooses its interpreter, and gets its arguments."""
    assert server.output("#!/bin/busybox ash\necho $0 $1", args=["x"]) == "/.script/script x\n"


@pytest.mark.parametrize("script", ["#!/no/such/thing\n", "#!/bin/sh\r\necho hi\r\n"])
def test_missing_interpreter(server: ServerProcess, script: str) -> None:
    """An interpreter that is not there is 127 and a sentence that names it."""
    answer = server.execute(script)
    assert (answer.status, answer["exit_code"], answer["success"]) == (200, 127, False)
    assert ("/no/such/thing" in answer["error"]) or ("line endings" in answer["error"])


def test_syntax_error(server: ServerProcess) -> None:
    """The shell's complaint is the script's stderr."""
    answer = server.execute("if")
    assert answer["exit_code"] == 2
    assert "syntax error" in answer["stderr"]


def test_time_limit(server: ServerProcess) -> None:
    """A run ends at its limit, with what it had written."""
    began = time.monotonic()
    answer = server.execute("echo before; sleep 20; echo after", timeout=0.5)
    assert time.monotonic() - began < 3
    assert (answer.status, answer["status"], answer["stdout"]) == (200, "timeout", "before\n")
    assert (answer["success"], answer["exit_code"], answer["signal"]) == (False, 137, "SIGKILL")
    assert "0.5 seconds" in answer["error"]


def test_busy_loop(server: ServerProcess) -> None:
    """A script that uses all of its processor ends at its limit too."""
    answer = server.execute("while :; do :; done", timeout=1)
    assert answer["status"] == "timeout"
    assert answer["execution_time"] == pytest.approx(1, abs=0.4)


def test_fork_bomb(server: ServerProcess) -> None:
    """A fork bomb ends, and the next script runs."""
    answer = server.execute("b() { b | b & }; b; sleep 30", timeout=2)
    assert answer.status in (200, 503)
    assert answer["success"] is False
    assert server.output("echo fine") == "fine\n"


def test_background_child(server: ServerProcess) -> None:
    """The run ends with its main process, and what it left behind is ended."""
    began = time.monotonic()
    assert server.output("sleep 60 & echo started") == "started\n"
    assert time.monotonic() - began < 2


def test_output_beyond_the_limit(server: ServerProcess) -> None:
    """Output beyond the limit is counted and dropped, and what comes is an exact prefix."""
    answer = server.execute("yes 0123456789abcde | head -c 3000000; echo end >&2")
    assert answer["stdout"] == ("0123456789abcde\n" * 65536)[: 1 << 20]
    assert (answer["stdout_truncated"], answer["stdout_bytes"]) == (True, 3_000_000)
    assert (answer["stderr"], answer["stderr_truncated"], answer["status"]) == ("end\n", False, "ok")


def test_endless_output(server: ServerProcess) -> None:
    """A script that writes without end is ended."""
    answer = server.execute("yes")
    assert (answer["status"], answer["success"]) == ("output_limit", False)
    assert len(answer["stdout"]) == 1 << 20


def test_out_of_memory(server: ServerProcess) -> None:
    """A script that takes too much memory is told so."""
    answer = server.execute("x=0123456789abcdef; while :; do x=$x$x; done")
    assert (answer["status"], answer["success"]) == ("out_of_memory", False)
    assert answer["oom_kills"] >= 1
    assert "memory" in answer["error"]


def test_full_disk(server: ServerProcess) -> None:
    """/tmp is full before the memory is; the script sees ENOSPC and goes on."""
    answer = server.execute("dd if=/dev/zero of=/tmp/x bs=1M count=200; echo still here")
    assert answer["stdout"] == "still here\n"
    assert "No space left" in answer["stderr"]


def test_figures(server: ServerProcess) -> None:
    """Times and sizes are those of the run."""
    answer = server.execute("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0.3")
    assert 0.3 < answer["execution_time"] < 5
    assert 0 < answer["cpu_time"] <= answer["execution_time"] + 0.05
    assert 100_000 < answer["memory_peak"] < 50_000_000
    assert 0 <= answer["queue_time"] < 1


def test_reuse_leaves_nothing(start: Callable[..., ServerProcess]) -> None:
    """A container that is used again shows nothing of the run before."""
    server = start(POOL_SIZE="1").ready()
    server.output("echo secret > /tmp/f; mkdir /tmp/d; chmod 0 /tmp/d; echo x > /dev/shm/s; sleep 1000 &")
    server.full()
    assert server.output("find /tmp /dev/shm -mindepth 1; ps | grep -c '[s]leep 1000'; true") == "0\n"
    assert server.get("/metrics")["containers_created"] == 1


def test_at_the_same_time(server: ServerProcess) -> None:
    """Many at once on a small pool: each gets its own answer."""
    found: list[str] = []

    def one(number: int) -> None:
        found.append(server.output(f"echo {number}; cat", stdin=str(number)))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(f"{number}\n{number}" for number in range(40))


def test_tenants(start: Callable[..., ServerProcess]) -> None:
    """Two tenants never meet in one container; the same one may."""
    server = start(POOL_SIZE="1").ready()
    script = "cat /proc/1/stat | cut -d' ' -f22"  # when PID 1 began: one container's own
    first = server.output(script, tenant="a")
    server.full()
    assert server.output(script, tenant="a") == first
    server.full()
    assert server.output(script, tenant="b") != first


TRACEABLE = "#!/usr/bin/python3\nimport ctypes\nprint(ctypes.CDLL(None).ptrace(0, 0, 0, 0))\n"  # PTRACE_TRACEME


@pytest.mark.parametrize(("allowed", "told"), [("", "-1\n"), ("ptrace", "0\n")])
def test_tracing(start: Callable[..., ServerProcess], allowed: str, told: str) -> None:
    """A script may trace its own processes only where SECCOMP_ALLOW says so."""
    running = start(BASE_IMAGE="script-executor-test:python", POOL_SIZE="1", SECCOMP_ALLOW=allowed).ready()
    assert running.output(TRACEABLE) == told
