"""An engine of a test's own beside the machine's, to stop, kill and freeze."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.engine.server_process import make_images, wait_until

MIB = 1 << 20


class OwnEngine:
    """dockerd with a folder, a socket, a containerd and a network of its own.

    In the machine's network it would use the other engine's bridge, or remove it (--bridge=none does).  containerd is a
    process beside it, as it is where systemd starts both: it outlives a dockerd that is killed.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        """@param folder: on a disk, and empty."""
        self.folder = folder
        self.host = f"unix://{folder}/socket"
        self._options = options
        self._log = (folder / "log").open("ab")
        self.process: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None
        folder.chmod(0o711)  # with user namespaces its root is somebody else

    def start(self) -> OwnEngine:
        """Start it and wait until it answers."""
        folder = self.folder
        (folder / "pid").unlink(missing_ok=True)  # of one that was killed
        address = f"{folder}/containerd.sock"
        if self._containerd is None:
            places = [f"--root={folder}/containerd", f"--state={folder}/state", f"--address={address}"]
            self._containerd = subprocess.Popen(["containerd", *places], stdout=self._log, stderr=self._log)
            wait_until(Path(address).exists, "containerd")
        own = [f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid", "-H", self.host]
        apart = ["--iptables=false", "--ip6tables=false", f"--containerd={address}"]
        command = ["unshare", "--net", "dockerd", *own, *apart, *self._options]
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        ping = ["docker", "-H", self.host, "version"]
        wait_until(lambda: subprocess.run(ping, capture_output=True, check=False).returncode == 0, "an engine")
        return self

    def with_images(self, *names: str) -> OwnEngine:
        """Make these test images in it."""
        make_images(*names, DOCKER_HOST=self.host)
        return self

    def send(self, number: int) -> None:
        """Send dockerd a signal, not its containerd and containers."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End dockerd; one that is killed leaves its containerd and containers."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(60)
        self.process = None

    def discard(self) -> None:
        """End all of it, and remove its files."""
        if self.process is None:
            self.start()  # it knows what an earlier one has left
        running = subprocess.run(["docker", "-H", self.host, "ps", "-aq"], capture_output=True, text=True, check=True)
        if containers := running.stdout.split():
            subprocess.run(["docker", "-H", self.host, "rm", "-f", *containers], capture_output=True, check=False)
        self.stop()
        if self._containerd is not None:
            self._containerd.terminate()
            self._containerd.wait(60)
        self._log.close()
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            if (place := line.split()[1]).startswith(f"{self.folder}/"):
                subprocess.run(["umount", "-l", place], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def own_engine(*options: str, images: tuple[str, ...] = ("busybox",), disk: str | None = None) -> Iterator[OwnEngine]:
    """One that is started, with these test images.  @param disk: the size of one of its own, in memory: 64m."""
    engine = OwnEngine(Path(tempfile.mkdtemp(prefix="engine-", dir="/var/tmp")), *options)
    if disk:
        (data := engine.folder / "data").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk}", "tmpfs", data], check=True)
    try:
        yield engine.start().with_images(*images)
    finally:
        engine.discard()
