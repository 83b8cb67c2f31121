"""What must hold again after whatever has happened to a server."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import docker

from tests.engine.server_process import BUSYBOX, ServerProcess, wait_until

RECOVERY = 30.0  # seconds until the pool has its size again
MIB = 1 << 20
# Threads are made as calls need them, up to so many (assembly.py, LANES; the reactor's own and the logger's are first).
MOST_THREADS = 16
MOST_KEPT = 4  # descriptors of what happens to be under way: a look at the engine, a client


@dataclass(frozen=True)
class Resources:
    """What a server holds.  @ivar memory: bytes that are resident."""

    descriptors: int
    threads: int
    memory: int


def held(server: ServerProcess) -> Resources:
    """Look at its process."""
    process = Path(f"/proc/{server.process.pid}")
    status = dict(re.findall(r"^(\w+):\s+(\d+)", (process / "status").read_text(), re.MULTILINE))
    return Resources(len(os.listdir(process / "fd")), int(status["Threads"]), int(status["VmRSS"]) * 1024)


@dataclass(frozen=True)
class Invariants:
    """A server that is to be as it was.

    @ivar before: what it held when it was ready and had served a request.
    @ivar memory: bytes that it may hold more than then.
    """

    server: ServerProcess
    engine: docker.APIClient
    before: Resources
    image: str = BUSYBOX
    memory: int = 40 * MIB

    @classmethod
    def of(
        cls, server: ServerProcess, engine: docker.APIClient, image: str = BUSYBOX, memory: int = 40 * MIB
    ) -> Invariants:
        """Remember how a server is that is ready."""
        assert server.output("echo right") == "right\n"
        server.full(image)
        return cls(server, engine, held(server), image, memory)

    def check(self) -> None:
        """Wait until all is quiet, and look."""
        server = self.server
        wait_until(self._is_quiet, "the pool is full and nothing is under way", RECOVERY)
        wait_until(self._only_known, "the engine has the containers that the server knows, and no others", RECOVERY)
        most = self.before.descriptors + MOST_KEPT
        wait_until(lambda: held(server).descriptors <= most, "descriptors are given back", 10)
        after = held(server)
        assert after.threads <= MOST_THREADS, after
        assert after.memory <= self.before.memory + self.memory, (self.before, after)
        assert "Traceback" not in server.log, server.log
        assert server.output("echo $1", args=["still right"]) == "still right\n"

    def _is_quiet(self) -> bool:
        figures = self.server.get("/metrics").json
        pool = figures["pool_metrics"][self.image]
        counted = {"busy_containers", "creating_containers", "retiring_containers", "waiting_requests"}
        quiet = not any(pool[name] for name in counted) and not figures["waiting"] and not figures["running"]
        return quiet and pool["available_containers"] == pool["pool_size"]

    def _only_known(self) -> bool:
        label = f"twisted-executor.instance={self.server.instance}"
        found = self.engine.containers(all=True, filters={"label": label})
        known = sum(pool["available_containers"] for pool in self.server.get("/metrics")["pool_metrics"].values())
        return len(found) == known and all(container["State"] == "running" for container in found)
