"""What is measured: each function is one section of the table."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import docker

from benchmarks import load, peers
from benchmarks.figures import ECHO, MEDIAN, P99, POOL, RATE, Report, in_turn, spread
from benchmarks.neighbours import neighbours
from benchmarks.scrape import scrape
from benchmarks.stages import stages
from tests.engine.server_process import BUSYBOX, TWISTD, ServerProcess, wait_until
from tests.engine.weakened import built, weakened

OTHER_IMAGE = "script-executor-test:noshell"  # small, and without a pool
MIB = 1 << 20


@dataclass(frozen=True)
class Plan:
    """How long to measure.  @ivar seconds: one slice of a contender.  @ivar rounds: slices of each."""

    seconds: float
    rounds: int


@contextmanager
def server(size: int = POOL, twistd: Sequence[str] = TWISTD, **environ: str) -> Iterator[ServerProcess]:
    """A server of its own with the default limits, its pool full."""
    running = ServerProcess(twistd=twistd, BASE_IMAGE=BUSYBOX, POOL_SIZE=str(size), **environ)
    try:
        running.ready(180)
        running.full(seconds=180)
        yield running
    finally:
        running.discard()


def echo(report: Report, plan: Plan) -> None:
    """`echo hi`, beside what its user would take otherwise."""
    with server() as ours, peers.idle_containers(BUSYBOX, POOL) as idle:
        report.add(ECHO, "memory of the server, idle", {"MiB": (before := load.resident(ours))})
        contenders: dict[str, Callable[[float], Mapping[str, float]]] = {"subprocess, one at a time": peers.plain}
        for connections in (1, 2, 8, 64):
            contenders[f"ours, connections: {connections}"] = load.wrk(ours.port, connections)
        for parallel in (1, 2, 4, 8):
            contenders[f"docker exec, at once: {parallel}"] = peers.docker_exec(idle, parallel)
        contenders["docker run --rm, one at a time"] = peers.docker_run(BUSYBOX)
        found = in_turn(contenders, plan.rounds, plan.seconds)
        for name, figures in found.items():
            report.add(ECHO, name, figures)
        report.add(ECHO, "memory of the server, afterwards", {"MiB": load.resident(ours)})
    one, eight = found["ours, connections: 1"], found["ours, connections: 8"]
    best = max(figures[RATE] for name, figures in found.items() if name.startswith("docker exec"))
    report.claim(
        "one connection: median to a subprocess's", one[MEDIAN] / found["subprocess, one at a time"][MEDIAN], 2.5
    )
    report.claim("8 connections: runs to docker exec's at its best", eight[RATE] / best, 20, least=True)
    report.claim("8 connections: p99 to the median", eight[P99] / eight[MEDIAN], 15)
    report.claim("memory of the server, idle", before, 80, unit="MiB")


def fresh(report: Report, plan: Plan) -> None:
    """A container for each run: while the pool is full, and for as long as the engine makes them."""
    section = "CONTAINER_MAX_USES=1"
    with server() as reused, server(CONTAINER_MAX_USES="1") as single:
        times: dict[str, list[float]] = {"reused": [], "fresh": []}
        clients = {"reused": load.Client(reused), "fresh": load.Client(single)}
        for _ in range(max(10, round(5 * plan.rounds * plan.seconds))):
            rested(single)
            for name, client in clients.items():
                times[name].append(client.post(load.ECHO)[0])
        for name in times:
            report.add(section, f"{name}, the pool full, now and then", spread(times[name]))
        report.claim("pool full: fresh to reused", median(times["fresh"]) / median(times["reused"]), 1.5)
        engine = docker.APIClient(version="auto")
        container = engine.containers(filters={"label": "twisted-executor"}, limit=1)[0]["Id"]
        engine.close()
        contenders = {
            f"create, start, remove alone, at once: {n}": peers.whole_containers(container, n) for n in (2, 4, 6)
        }
        contenders["ours, connections: 8"] = load.wrk(single.port, 8)
        found = in_turn(contenders, plan.rounds, max(3.0, 2 * plan.seconds))
    for name, figures in found.items():
        report.add(section, name, figures)
    best = max(figures[RATE] for name, figures in found.items() if name.startswith("create"))
    report.claim(
        "sustained: ours to create, start, remove alone", found["ours, connections: 8"][RATE] / best, 0.9, least=True
    )


def rested(server: ServerProcess) -> None:
    """Wait until its pool is full and the engine has nothing to do for it."""
    server.full()
    wait_until(lambda: server.pool()["retiring_containers"] == 0, "the used container is gone")
    time.sleep(0.2)


def without_pool(report: Report, plan: Plan) -> None:
    """An image that is on the engine but has no pool."""
    section = "a local image without a pool"
    script = "#!/bin/busybox sh\necho hi"
    command = peers.run_command(OTHER_IMAGE, "/bin/busybox", "sh", "-c", "echo hi")
    first, second, run = [], [], []
    with server() as ours:
        client = load.Client(ours)
        for number in range(max(5, 2 * plan.rounds)):
            run += peers.timed(lambda: subprocess.run(command, capture_output=True, check=True), 0)
            # A tenant of its own gets a container of its own.
            first.append(client.post(script, image=OTHER_IMAGE, tenant=f"t{number}")[0])
            second.append(client.post(script, image=OTHER_IMAGE, tenant=f"t{number}")[0])
    report.add(section, "docker run --rm", spread(run))
    report.add(section, "ours, first request", spread(first))
    report.add(section, "ours, second request", spread(second))
    report.claim("without a pool: first request to docker run", median(first) / median(run), 1.0)


def large(report: Report, plan: Plan) -> None:
    """Much to read or to write, beside docker run with pipes."""
    section = "large: 1 MiB of script, 8 MiB of stdin, 8 MiB of stdout"
    data = b"0123456789abcde\n" * (8 * MIB // 16)
    text = data.decode()
    script = "echo hi\n" + "# 0123456789\n" * (MIB // 13)
    writes, reads = f"yes 0123456789abcde | head -c {8 * MIB}", "cat >/dev/null"
    run_out = f"{' '.join(peers.run_command(BUSYBOX))} /bin/sh -c '{writes}' | cat >/dev/null"
    run_in = f"cat {{}} | {' '.join(peers.run_command(BUSYBOX, options=('-i',)))} /bin/sh -c '{reads}'"
    times: dict[str, list[float]] = {}
    limits = {"MAX_OUTPUT_BYTES": "16m", "MAX_REQUEST_BYTES": "16m"}
    with server(**limits) as ours, tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        client = load.Client(ours)
        contenders: dict[str, Callable[[], float]] = {
            "script: ours": lambda: client.post(script)[0],
            "stdout: ours": lambda: client.post(writes)[0],
            "stdout: docker run | cat": lambda: shell(run_out),
            "stdin: ours": lambda: client.post(reads, stdin=text)[0],
            "stdin: cat | docker run -i": lambda: shell(run_in.format(file.name)),
        }
        for _ in range(max(3, 2 * plan.rounds)):
            for name, work in contenders.items():
                times.setdefault(name, []).append(work())
    for name, found in times.items():
        report.add(section, name, spread(found))
    for stream, peer in (("stdout", "docker run | cat"), ("stdin", "cat | docker run -i")):
        ratio = median(times[f"{stream}: ours"]) / median(times[f"{stream}: {peer}"])
        report.claim(f"8 MiB of {stream}: ours to {peer}", ratio, 1.0)


def shell(command: str) -> float:
    """Seconds of a command of the shell."""
    return peers.timed(lambda: subprocess.run(command, shell=True, check=True), 0)[0]


ALL, NONE = "all on", "without any of them"
VARIANTS = {
    ALL: "",
    "without the wipe": "WIPE",
    "without its check": "CHECK",
    "without the wipe and its check": "WIPE+CHECK",
    "without our filter": "FILTER",
    NONE: "WIPE+CHECK+FILTER",
}


def protections(report: Report, plan: Plan) -> None:
    """One container, with the agent's protections switched off in turn, by agents that are built for it."""
    section = "one container, protections switched off in turn"
    volumes: list[str] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        contenders: dict[str, Callable[[float], Mapping[str, float]]] = {}
        stack.callback(lambda: subprocess.run(["docker", "volume", "rm", *volumes], capture_output=True, check=True))
        for name, parts in VARIANTS.items():
            place = Path(folder) / (parts or "ALL")
            volumes.append(built(place, parts))
            one = stack.enter_context(server(1, weakened(agents=str(place))))
            contenders[name] = load.wrk(one.port, 1)
            if name in (ALL, NONE):
                contenders[f"{name}, a file is left"] = load.wrk(one.port, 1, "echo hi >/tmp/$$; echo hi")
        rates = in_turn(contenders, plan.rounds, plan.seconds)
    for name, figures in rates.items():
        report.add(section, name, figures)
    for left in ("", ", a file is left"):
        cost = 1 - rates[ALL + left][RATE] / rates[NONE + left][RATE]
        report.claim(f"wipe, check and filter{left}: share of the runs per second", 100 * cost, 25, unit="%")


def sizes(report: Report, plan: Plan) -> None:
    """What a larger pool costs: the time to start, and each run."""
    for size in (1, 5, 20):
        began = time.perf_counter()
        one = ServerProcess(BASE_IMAGE=BUSYBOX, POOL_SIZE=str(size))
        try:
            one.ready(180)
            ready = time.perf_counter() - began
            one.full(seconds=180)
            full = time.perf_counter() - began
        finally:
            one.discard()
        report.add("from the command to a server", f"pool of {size}", {"s to ready": ready, "s to full": full})
    with server(1) as small, server(10) as middle, server(50) as big:
        contenders = {f"pool of {n}": load.wrk(one.port, 1) for n, one in ((1, small), (10, middle), (50, big))}
        for name, figures in in_turn(contenders, plan.rounds, plan.seconds).items():
            report.add("one connection, by the size of the pool", name, figures)


def where_the_time_goes(report: Report, plan: Plan) -> None:
    """The way of one request, part by part."""
    stages(report, 2 * plan.rounds * plan.seconds)


def beside_attacks(report: Report, plan: Plan) -> None:
    """A neighbour of scripts that take what they can get."""
    with server() as ours:
        neighbours(report, ours, plan.rounds, plan.seconds)


def figures(report: Report, plan: Plan) -> None:
    """What a scrape takes from the event loop."""
    scrape(report, max(10, round(10 * plan.rounds * plan.seconds)))


SECTIONS: Mapping[str, Callable[[Report, Plan], None]] = {
    "echo": echo,
    "fresh": fresh,
    "without-pool": without_pool,
    "large": large,
    "protections": protections,
    "sizes": sizes,
    "stages": where_the_time_goes,
    "neighbours": beside_attacks,
    "metrics": figures,
}


def machine() -> dict[str, object]:
    """Where it was measured."""
    engine = docker.APIClient(version="auto")
    info = engine.info()
    engine.close()
    return {
        "processors": info["NCPU"],
        "kernel": info["KernelVersion"],
        "engine": info["ServerVersion"],
        "cgroups": int(info.get("CgroupVersion", "1")),
    }


def as_text(report: Report) -> str:
    """For a file."""
    return json.dumps(report.as_json(), indent=2) + "\n"
