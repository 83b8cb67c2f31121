"""A server under mixed load, with a fault every now and then, for any time; and what must hold all the while.

python -m tests.robustness.soak [--minutes 60] [--seed 1] [--fault-every 60] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import docker

from tests.engine.own_engine import own_engine
from tests.engine.relay import Relay
from tests.engine.server_process import ServerProcess
from tests.robustness.invariants import MIB, Invariants, held
from tests.robustness.mix import LONGEST, RIGHT, Client, Wrong

CLIENTS = 8
AFTERMATH = 15.0  # seconds after the end of a fault in which requests may be refused
SAMPLE_EVERY = 10.0
PAUSE = 0.05  # seconds after a refusal


@dataclass
class Findings:
    """What was seen.  Times in seconds since the start, memory in MiB.

    @ivar kinds: how often each thing was done.  @ivar codes: how often each answer came.
    @ivar quiet: answers outside of faults and their aftermath; refused ones among them.
    """

    seconds: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    quiet: int = 0
    quiet_refused: int = 0
    wrong: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    samples: list[tuple[float, float, int, int]] = field(default_factory=list)  # time, memory, descriptors, threads

    @property
    def availability(self) -> float:
        """The share of requests that were not refused, outside of faults."""
        return 1 - self.quiet_refused / self.quiet if self.quiet else 0.0

    @property
    def slope(self) -> float:
        """MiB of memory per hour over the second half, by least squares."""
        half = self.samples[len(self.samples) // 2 :]
        middle = sum(at for at, *_ in half) / len(half)
        spread = sum((at - middle) ** 2 for at, *_ in half)
        return 3600 * sum((at - middle) * memory for at, memory, *_ in half) / spread if spread else 0.0

    def table(self) -> str:
        """For people."""
        first, last = self.samples[0], self.samples[-1]
        lines = [
            f"{self.seconds / 60:.1f} minutes, {sum(self.kinds.values())} requests, {len(self.wrong)} wrong answers",
            f"availability outside faults {100 * self.availability:.3f} % of {self.quiet}",
            f"memory {first[1]:.1f} MiB at first, {last[1]:.1f} at last, slope {self.slope:+.1f} MiB an hour",
            f"descriptors {first[2]} and {last[2]}, threads {first[3]} and {last[3]}",
            "done: " + ", ".join(f"{kind} {count}" for kind, count in self.kinds.most_common()),
            "answers: " + ", ".join(f"{code} {count}" for code, count in self.codes.most_common()),
            "faults: " + ", ".join(f"{kind} {count}" for kind, count in self.faults.most_common()),
        ]
        return "\n".join([*lines, *self.wrong[:20]])


class Soak:
    """One soak."""

    def __init__(self, server: ServerProcess, engine: docker.APIClient, relay: Relay, seed: int) -> None:
        self._server = server
        self._engine = engine
        self._relay = relay
        self._seed = seed
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._began = time.monotonic()
        self._troubled_until = 0.0
        self._lock = threading.Lock()
        self.found = Findings()

    def run(self, seconds: float, fault_every: float, tell: Callable[[str], object]) -> Findings:
        """Load and faults for so long; whoever has no answer at the end is wrong."""
        threads = [threading.Thread(target=self._load, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        next_fault, next_sample = fault_every, 0.0
        while (now := time.monotonic() - self._began) < seconds:
            if now >= next_sample:
                self._sample(now)
                next_sample += SAMPLE_EVERY
            if now >= next_fault:
                self._fault(tell)
                next_fault += fault_every
            time.sleep(0.2)
        self._over.set()
        for thread in threads:
            thread.join(120)
            if thread.is_alive():
                self.found.wrong.append("a client has no answer")
        self.found.seconds = time.monotonic() - self._began
        self._sample(self.found.seconds)
        return self.found

    def _load(self, number: int) -> None:
        client = Client(self._server, 1000 * self._seed + number)
        while not self._over.is_set():
            began = time.monotonic()
            try:
                kind, code = client.ask()
            except (Wrong, OSError, ValueError) as error:
                kind, code = "wrong", "wrong"
                self.found.wrong.append(f"{time.monotonic() - self._began:.1f} s: {error!r}"[:500])
            self._count(kind, code, began)
            if code != RIGHT:
                time.sleep(PAUSE)

    def _count(self, kind: str, code: str, began: float) -> None:
        with self._lock:
            self.found.kinds[kind] += 1
            self.found.codes[code] += 1
            if began > self._troubled_until:
                self.found.quiet += 1
                self.found.quiet_refused += code != RIGHT

    def _sample(self, now: float) -> None:
        resources = held(self._server)
        self.found.samples.append((now, resources.memory / MIB, resources.descriptors, resources.threads))

    # Faults

    def _fault(self, tell: Callable[[str], object]) -> None:
        faults = [self._kill, self._remove, self._pause, self._take_engine_away, self._reset_connections]
        fault = self._random.choice(faults)
        self._troubled_until = float("inf")
        with suppress(docker.errors.APIError):  # a container may be about to go by itself
            fault()
        self._troubled_until = time.monotonic() + AFTERMATH
        self.found.faults[fault.__name__.strip("_").replace("_", " ")] += 1
        tell(f"{time.monotonic() - self._began:.0f} s: {fault.__name__}, {dict(self.found.codes)}")

    def _one(self) -> str:
        label = f"twisted-executor.instance={self._server.instance}"
        return str(self._random.choice(self._engine.containers(filters={"label": label}))["Id"])

    def _kill(self) -> None:
        self._engine.kill(self._one())

    def _remove(self) -> None:
        self._engine.remove_container(self._one(), force=True)

    def _pause(self) -> None:
        self._engine.pause(self._one())

    def _take_engine_away(self) -> None:
        self._relay.close()
        time.sleep(self._random.uniform(1, 8))
        self._relay.open()

    def _reset_connections(self) -> None:
        self._relay.close()
        self._relay.open()


def soak(seconds: float, seed: int, fault_every: float, tell: Callable[[str], object] = print) -> Findings:
    """Do all of it with an engine and a server of its own, and see that all is as it was in the end."""
    with (
        own_engine(images=("busybox", "noshell")) as own,
        closing(docker.APIClient(own.host, version="auto")) as engine,
    ):
        relay = Relay(own.folder / "relay", own.host.removeprefix("unix://"))
        relay.open()
        limits = {"POOL_SIZE": "4", "TIMEOUT": f"{LONGEST:g}", "QUEUE_TIMEOUT": "10"}
        server = ServerProcess(DOCKER_HOST=f"unix://{relay.path}", **limits)
        try:
            watched = Invariants.of(server.ready(), engine, memory=60 * MIB)
            found = Soak(server, engine, relay, seed).run(seconds, fault_every, tell)
            watched.check()
        finally:
            server.discard()
            relay.close()
    return found


def main() -> None:
    """As a command."""
    parser = argparse.ArgumentParser(prog="python -m tests.robustness.soak", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault-every", type=float, default=60, metavar="SECONDS")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = soak(60 * options.minutes, options.seed, options.fault_every, lambda line: print(line, flush=True))
    print(found.table())
    if options.json:
        options.json.write_text(json.dumps(vars(found), indent=2) + "\n")
    sys.exit(bool(found.wrong))


if __name__ == "__main__":
    main()
