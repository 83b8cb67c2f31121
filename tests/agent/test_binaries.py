"""The binaries that are shipped: for each architecture one that needs nothing of an image."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from build_backend import agent_build
from tests.agent.harness import Agent
from twisted_executor.agent import agent_binary
from twisted_executor.errors import EngineError
from twisted_executor.wire import Fault, Pong, ping_frame

MACHINES = {"x86_64": 62, "aarch64": 183}  # e_machine
EMULATOR = "/usr/bin/qemu-aarch64-static"
LOADED, INTERPRETER, STACK = 1, 3, 0x6474E551  # p_type: PT_LOAD, PT_INTERP, PT_GNU_STACK
EXECUTE, WRITE = 1, 2  # p_flags


def segments(elf: bytes) -> list[tuple[int, int]]:
    """The type and the flags of each segment of a 64-bit ELF file."""
    at, (size, count) = struct.unpack_from("<Q", elf, 32)[0], struct.unpack_from("<HH", elf, 54)
    return [struct.unpack_from("<II", elf, at + number * size) for number in range(count)]


def test_compilers() -> None:
    """musl-gcc compiles for its own machine only; taken for another it would make a binary of the wrong kind."""
    assert agent_build.compilers("x86_64", "x86_64")[0][0] == "musl-gcc"
    assert agent_build.compilers("aarch64", "aarch64")[0][0] == "musl-gcc"
    assert "musl-gcc" not in [command[0] for command in agent_build.compilers("x86_64", "aarch64")]
    assert "musl-gcc" not in [command[0] for command in agent_build.compilers("aarch64", "x86_64")]


@pytest.mark.parametrize("architecture", MACHINES)
def test_static(architecture: str) -> None:
    """Each is of its architecture and static; nothing in it can be written and executed."""
    elf = agent_binary(architecture)
    assert elf[:6] == b"\x7fELF\2\1"
    assert struct.unpack_from("<H", elf, 18) == (MACHINES[architecture],)
    kinds = dict(segments(elf))
    assert INTERPRETER not in kinds
    assert kinds[STACK] & EXECUTE == 0
    assert all(flags & (WRITE | EXECUTE) != WRITE | EXECUTE for kind, flags in segments(elf) if kind == LOADED)
    assert len(elf) < 1 << 20


@pytest.mark.parametrize(("said", "meant"), [("amd64", "x86_64"), ("arm64", "aarch64")])
def test_other_names(said: str, meant: str) -> None:
    """Docker's names of the architectures are understood."""
    assert agent_binary(said) == agent_binary(meant)


def test_unknown_architecture() -> None:
    """For another architecture there is none, and the sentence says for which there is."""
    with pytest.raises(EngineError, match="only for x86_64 and aarch64"):
        agent_binary("riscv64")


@pytest.fixture(scope="module")
def foreign(root: Path) -> Path:
    """The root with the agent for aarch64 and its emulator, which cannot install a filter: a build without one too."""
    (root / "bin/agent-aarch64").write_bytes(agent_binary("aarch64"))
    (root / "bin/agent-aarch64").chmod(0o755)
    agent_build.compile("aarch64", root / "bin/agent-unfiltered", "-DSWITCHED_OFF=FILTER")
    shutil.copy(EMULATOR, root / "bin/qemu")
    return root


def test_foreign_one_is_not_the_first_process(foreign: Path) -> None:
    """The one for aarch64 as well does not begin where it would see others."""
    command = [foreign / "bin/qemu", foreign / "bin/agent-aarch64"]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=10, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (64, b"", b"")


def test_nothing_without_the_filter(foreign: Path) -> None:
    """Where the filter cannot be installed, as under the emulator, the agent says so and ends."""
    with Agent(foreign, "/bin/qemu", "/bin/agent-aarch64", "/tmp") as box:
        assert box.event() == Fault("the filter cannot be installed")
        assert box.exit_code() == 70


def test_foreign_one_runs_scripts(foreign: Path) -> None:
    """The one for aarch64 does all that the other does, seen without its filter under the emulator."""
    with Agent(foreign, "/bin/qemu", "/bin/agent-unfiltered", "/tmp") as box:
        hello = box.hello()
        assert (hello.version, hello.facts["writable"], hello.facts["no_new_privs"]) == (1, "/dev/shm,/tmp", "1")
        box.send(ping_frame())
        assert box.event() == Pong()
        for _ in range(2):
            run = box.run(
                'cat; echo "$1 $A"; echo file >/tmp/file; sleep 9 & exit 3', stdin=b"in|", args=(b"a",),
                env=(b"A=b",),
            )  # fmt: skip
            assert (run.code, run.stdout, run.wiped.clean) == (3, b"in|a b\n", True)
        box.close_stdin()
        assert box.exit_code() == 0
