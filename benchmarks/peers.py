"""What a user would take otherwise: a plain subprocess, docker run, docker exec, and a container for each script."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import docker

from benchmarks.figures import RATE, spread

SHELL = ["/bin/sh", "-c", "echo hi"]
LIMITS = [
    "--network=none",
    "--memory=256m",
    "--memory-swap=256m",
    "--cpus=0.5",
    "--pids-limit=128",
    "--log-driver=none",
]


def timed(work: Callable[[], object], seconds: float, least: int = 1) -> list[float]:
    """Seconds of each call, called for so long and at least so often."""
    found: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(found) < least or time.perf_counter() < deadline:
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return found


def plain(seconds: float) -> Mapping[str, float]:
    """A subprocess without any isolation."""
    return spread(timed(lambda: subprocess.run(SHELL, capture_output=True, check=True), seconds, 20))


def run_command(image: str, *command: str, options: tuple[str, ...] = ()) -> list[str]:
    """docker run with the limits that our containers have."""
    return ["docker", "run", "--rm", *LIMITS, *options, image, *command]


def docker_run(image: str) -> Callable[[float], Mapping[str, float]]:
    """A container for each script, by Docker's own command."""

    def measure(seconds: float) -> Mapping[str, float]:
        found = timed(lambda: subprocess.run(run_command(image, *SHELL), capture_output=True, check=True), seconds, 2)
        return spread(found) | {RATE: len(found) / sum(found)}

    return measure


@contextmanager
def idle_containers(image: str, count: int) -> Iterator[list[str]]:
    """Containers with the limits of ours, to exec in."""
    command = ["docker", "run", "--detach", *LIMITS, image, "sleep", "3600"]
    made: list[str] = []
    try:
        for _ in range(count):
            made.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
        yield made
    finally:
        if made:
            subprocess.run(["docker", "rm", "--force", *made], capture_output=True, check=True)


def docker_exec(containers: list[str], parallel: int) -> Callable[[float], Mapping[str, float]]:
    """docker exec through docker-py, by so many threads."""

    def once(client: docker.APIClient, number: int) -> None:
        started = client.exec_create(containers[number % len(containers)], SHELL)
        assert client.exec_start(started["Id"]) == b"hi\n"

    return lambda seconds: at_once(once, parallel, seconds)


def whole_containers(container: str, parallel: int) -> Callable[[float], Mapping[str, float]]:
    """Create, start and remove alone, of containers that are as this one, by so many threads."""
    client = docker.APIClient(version="auto")
    found = client.inspect_container(container)
    client.close()
    # Without its labels: a server removes what it finds under its own and does not know.
    config: dict[str, Any] = found["Config"] | {"Labels": {}, "HostConfig": found["HostConfig"] | {"AutoRemove": False}}

    def once(client: docker.APIClient, number: int) -> None:
        made = client.create_container_from_config(config)["Id"]
        client.start(made)
        client.remove_container(made, force=True)

    return lambda seconds: at_once(once, parallel, seconds)


def at_once(once: Callable[[docker.APIClient, int], None], parallel: int, seconds: float) -> Mapping[str, float]:
    """Call it from so many threads for so long, each with a client of its own."""
    latencies: list[list[float]] = [[] for _ in range(parallel)]

    def work(number: int) -> None:
        client = docker.APIClient(version="auto")
        latencies[number] = timed(lambda: once(client, number), seconds)
        client.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(parallel)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    all_ = [latency for one in latencies for latency in one]
    return spread(all_) | {RATE: len(all_) / (time.perf_counter() - began)}
