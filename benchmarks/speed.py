"""How fast a script runs, beside what its user would take otherwise, measured in turn in one go.

    .venv/bin/python -m benchmarks.speed [--image IMAGE] [--seconds N] [--json FILE]

Needs an engine with the image (default: script-executor-test:busybox, made by tests/images/build.sh) and Debian's wrk.
It starts a server of its own on loopback with the default limits and a pool of 4, and ends it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import docker

from tests.engine.server_process import BUSYBOX, ServerProcess

POOL = 4
SHELL = ["/bin/sh", "-c", "echo hi"]


def timed(work: Callable[[], object], count: int) -> list[float]:
    """Seconds of each of `count` calls."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return found


def alone(port: int, seconds: float) -> tuple[list[float], list[float]]:
    """A plain subprocess and ours over one connection, in turn: seconds of each call."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Content-Type": "application/json"}

    def ours() -> None:
        connection.request("POST", "/execute", '{"script": "echo hi"}', headers)
        assert json.loads(connection.getresponse().read())["stdout"] == "hi\n"

    plain: list[float] = []
    served: list[float] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        plain += timed(lambda: subprocess.run(SHELL, capture_output=True, check=True), 20)
        served += timed(ours, 20)
    return plain, served


@contextmanager
def containers(client: docker.APIClient, image: str) -> Iterator[list[str]]:
    """Containers with the default limits that do nothing, to exec in."""
    limits = client.create_host_config(
        network_mode="none", mem_limit="256m", memswap_limit="256m", nano_cpus=500_000_000, pids_limit=128
    )
    made = [client.create_container(image, ["sleep", "600"], host_config=limits)["Id"] for _ in range(POOL)]
    try:
        for container in made:
            client.start(container)
        yield made
    finally:
        for container in made:
            client.remove_container(container, force=True)


def exec_rate(made: list[str], parallel: int, seconds: float) -> float:
    """Runs per second of docker exec through docker-py, each thread with a client of its own."""
    counts = [0] * parallel
    deadline = time.monotonic() + seconds

    def work(number: int) -> None:
        client = docker.APIClient(version="auto")
        while time.monotonic() < deadline:
            started = client.exec_create(made[number % len(made)], SHELL)
            client.exec_start(started["Id"])
            counts[number] += 1

    began = time.monotonic()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(parallel)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - began)


def served_rate(port: int, connections: int, seconds: float) -> dict[str, float]:
    """Runs per second, median and 99th percentile in milliseconds over HTTP, by wrk."""
    script = 'wrk.method="POST"; wrk.body=\'{"script":"echo hi"}\'; wrk.headers["Content-Type"]="application/json"\n'
    script += (
        'function response(status, h, body) if not body:find(\'"stdout":"hi\') then print("WRONG", body) end end\n'
    )
    script += (
        'function done(s, l) print(string.format("FIGURES %d %d %d %d %d", s.requests, s.duration, l:percentile(50),'
        " l:percentile(99), s.errors.status)) end\n"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", file.name]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}/execute"], capture_output=True, text=True, check=True
        )
    found = re.search(r"FIGURES (\d+) (\d+) (\d+) (\d+) (\d+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert "WRONG" not in done.stdout, done.stdout
    requests, duration, p50, p99, errors = map(int, found.groups())
    assert not errors, done.stdout
    return {"runs per second": requests / duration * 1e6, "median ms": p50 / 1e3, "p99 ms": p99 / 1e3}


def milliseconds(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {"median ms": median(ordered) * 1e3, "p99 ms": ordered[int(len(ordered) * 0.99)] * 1e3}


def measure(image: str, seconds: float) -> dict[str, dict[str, float]]:
    """All figures by name."""
    client = docker.APIClient(version="auto")
    figures: dict[str, dict[str, float]] = {}
    server = ServerProcess(BASE_IMAGE=image, POOL_SIZE=str(POOL))
    try:
        server.ready()
        server.full()
        plain, served = alone(server.port, seconds)
        figures["subprocess, one at a time"] = milliseconds(plain)
        figures["ours, one connection"] = milliseconds(served)
        rates = {}
        with containers(client, image) as made:
            for parallel in (1, 2, 4, 8):
                rates[parallel] = exec_rate(made, parallel, seconds / 2)
        best = max(rates, key=lambda parallel: rates[parallel])
        figures[f"docker exec, {best} at once (its best)"] = {"runs per second": rates[best]}
        for connections in (1, 2, 8, 64):
            figures[f"ours, {connections} connections"] = served_rate(server.port, connections, seconds)
        figures["ours to a subprocess, one at a time"] = {
            "ratio": figures["ours, one connection"]["median ms"] / figures["subprocess, one at a time"]["median ms"]
        }
        figures["ours at 8 connections to docker exec"] = {
            "ratio": figures["ours, 8 connections"]["runs per second"] / rates[best]
        }
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        resident = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert resident
        figures["memory of the server afterwards"] = {"MB": int(resident[1]) / 1024}
    finally:
        server.discard()
        client.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default=BUSYBOX)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (default: 5)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    figures = measure(options.image, options.seconds)
    for name, values in figures.items():
        print(f"{name:42}", "  ".join(f"{value:9.2f} {unit}" for unit, value in values.items()))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
