"""The agent as PID 1 of namespaces of its own, with the mounts of a container and no engine."""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from twisted_executor import wire
from twisted_executor.boundaries import Job

PATIENCE = 10.0  # seconds that any single wait takes at most
PROCESSES = 150  # of one user
# Nobody's, and different for tests that run beside these: the kernel counts the processes of a uid.
FIRST_UID = 1_000_000_000 + os.getpid() % 1_000_000 * 1000

# It ends as what it runs at its end, so that this is PID 1.
_ENTER = """
set -e
root=$1; shift
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 cgroup sys/fs/cgroup
mount -t tmpfs -o mode=755 dev dev
mkdir dev/shm
touch dev/null
mount --bind /dev/null dev/null
mount -t tmpfs -o mode=1777,nosuid,nodev shm dev/shm
mount -t tmpfs -o mode=755,nosuid,nodev,size=64m tmp tmp
mount -t tmpfs -o mode=755,nosuid,nodev script .script
ip link set lo up
{setup}
mount -o remount,bind,ro "$root"
exec env -u PWD -u OLDPWD -u SHLVL chroot . /bin/confine "$@"
"""


@dataclass(frozen=True, slots=True)
class Run:
    """All that the agent told of a run.  @ivar granted: bytes of stdin that it asked for beyond the first credit."""

    stdout: bytes
    stderr: bytes
    end: wire.End
    wiped: wire.Wiped
    granted: int

    @property
    def code(self) -> int:
        """The exit code; a death by a signal is the signal's number, negated."""
        return os.waitstatus_to_exitcode(self.end.wait_status)


class Agent:
    """A running agent.  Every wait has an end; nothing of it outlives it."""

    def __init__(self, root: Path, *command: str, setup: str = "", env: dict[str, str] | None = None) -> None:
        """@param root: the container's files.  @param command: the agent and its arguments, paths below `root`.

        @param setup: shell commands for more mounts, run in `root`.
        """
        isolated = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--net", "--ipc", "--uts"]
        enter = ["/bin/busybox", "sh", "-c", _ENTER.replace("{setup}", setup), "sh", str(root)]
        self.process = subprocess.Popen(
            ["prlimit", f"--nproc={PROCESSES}", "--core=0", *isolated, *enter, *(command or ("/bin/agent", "/tmp"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": "/bin"} if env is None else env,
            bufsize=0,
        )
        assert self.process.stdin
        assert self.process.stdout
        self._stdin, self._stdout = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self._stdin, False)
        os.set_blocking(self._stdout, False)
        self._decoder = wire.AgentDecoder()
        self._events: list[wire.Event] = []
        self._runs = 0

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()  # unshare takes PID 1 with it, which takes all others
        self.process.wait(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream
            stream.close()

    # What is there

    @property
    def pid(self) -> int:
        """The agent's number on the machine."""
        outer = self.process.pid
        return int(Path(f"/proc/{outer}/task/{outer}/children").read_text())

    @property
    def files(self) -> Path:
        """The container's files as the agent sees them."""
        return Path(f"/proc/{self.pid}/root")

    def others(self) -> list[int]:
        """The numbers on the machine of the processes in the agent's namespace, without the agent."""
        return [pid for pid in processes(self.namespace()) if pid != self.pid]

    def namespace(self) -> str:
        """The name of the agent's namespace of processes."""
        return os.readlink(f"/proc/{self.pid}/ns/pid")

    def resident(self) -> int:
        """Bytes of memory that the agent holds."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * int(status.split("VmRSS:")[1].split()[0])

    def cpu_time(self) -> float:
        """Seconds of processor time that the agent has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # Sending

    def send(self, data: bytes) -> None:
        """Write all of it, without reading."""
        rest, until = memoryview(data), time.monotonic() + PATIENCE
        while rest:
            ready = select.select([], [self._stdin], [], max(0, until - time.monotonic()))[1]
            assert ready, f"the agent does not read; {len(rest)} bytes are left"
            rest = rest[os.write(self._stdin, rest[:65536]) :]

    def start(
        self,
        script: bytes | str,
        *,
        args: tuple[bytes, ...] = (),
        env: tuple[bytes, ...] = (),
        timeout: float = 10.0,
        keep: int = 1 << 20,
        most: int = 8 << 20,
        uid: int | None = None,
        also: bytes = b"",
    ) -> int:
        """Start a script under a uid of its own; the run's id.  @param also: sent in the same write."""
        self._runs += 1
        text = script.encode() if isinstance(script, str) else script
        job = Job(text, timeout, "r", args=args, env=env)
        user = FIRST_UID + self._runs if uid is None else uid
        self.send(wire.start_frames(job, self._runs, user, keep, most) + also)
        return self._runs

    def close_stdin(self) -> None:
        """Do as a server that is gone."""
        assert self.process.stdin
        self.process.stdin.close()

    def close_stdout(self) -> None:
        """Read no more, ever."""
        assert self.process.stdout
        self.process.stdout.close()

    # Receiving

    def written(self) -> int:
        """How many bytes of output wait for us."""
        return int.from_bytes(fcntl.ioctl(self._stdout, termios.FIONREAD, bytes(4)), sys.byteorder)

    def event(self, patience: float = PATIENCE) -> wire.Event:
        """The next event."""
        until = time.monotonic() + patience
        while not self._events:
            assert select.select([self._stdout], [], [], max(0, until - time.monotonic()))[0], "the agent is silent"
            data = os.read(self._stdout, 65536)
            assert data, f"the agent is gone: {self.process.wait(PATIENCE)}"
            self._events += self._decoder.feed(data)
        return self._events.pop(0)

    def quiet(self, seconds: float) -> bool:
        """Whether the agent says nothing for so long."""
        return not self._events and not select.select([self._stdout], [], [], seconds)[0]

    def rest(self) -> bytes:
        """All that comes until the end, as it is."""
        data, until = b"", time.monotonic() + PATIENCE
        while select.select([self._stdout], [], [], max(0, until - time.monotonic()))[0]:
            piece = os.read(self._stdout, 65536)
            if not piece:
                return data
            data += piece
        raise AssertionError("no end")

    def hello(self) -> wire.Hello:
        """The greeting, which is the first event."""
        event = self.event()
        assert isinstance(event, wire.Hello)
        return event

    def output(self, text: bytes) -> None:
        """Wait until the script has written this to stdout."""
        seen = b""
        while text not in seen:
            event = self.event()
            assert isinstance(event, wire.Output | wire.Credit), event
            seen += event.data if isinstance(event, wire.Output) else b""

    def finish(self, run: int, stdin: bytes = b"", credit: int = wire.CREDIT) -> Run:
        """Send stdin as there is credit, and its end; collect the rest of the run."""
        streams, granted, end = {1: bytearray(), 2: bytearray()}, 0, None
        self.send(wire.stdin_frames(run, stdin[:credit], len(stdin) <= credit))
        sent = min(credit, len(stdin))
        while True:
            event = self.event()
            if isinstance(event, wire.Wiped):
                assert end
                assert event.run == run
                return Run(bytes(streams[1]), bytes(streams[2]), end, event, granted)
            assert end is None, f"{event} after the end"
            if isinstance(event, wire.Output):
                streams[event.stream] += event.data
            elif isinstance(event, wire.Credit):
                granted += event.amount
                assert granted <= sent, "credit for more than was sent"
                more = stdin[sent : credit + granted]
                if more:
                    sent += len(more)
                    self.send(wire.stdin_frames(run, more, sent == len(stdin)))
            else:
                assert isinstance(event, wire.End), event
                assert event.run == run
                end = event

    def run(
        self,
        script: bytes | str,
        *,
        stdin: bytes = b"",
        args: tuple[bytes, ...] = (),
        env: tuple[bytes, ...] = (),
        timeout: float = 10.0,
        keep: int = 1 << 20,
        most: int = 8 << 20,
        uid: int | None = None,
    ) -> Run:
        """A whole run."""
        number = self.start(script, args=args, env=env, timeout=timeout, keep=keep, most=most, uid=uid)
        return self.finish(number, stdin)

    def exit_code(self) -> int:
        """Wait for the agent's end."""
        return self.process.wait(PATIENCE)


def processes(namespace: str) -> list[int]:
    """The numbers on the machine of all processes in this namespace."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "ns/pid") == namespace:
                found.append(int(entry.name))
        except OSError:  # it has just ended
            continue
    return found
