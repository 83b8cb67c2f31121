"""What a script that takes all that it can get costs the one beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

from benchmarks import load
from benchmarks.figures import MEDIAN, Report, in_turn, spread
from tests.engine.server_process import ServerProcess

# Each again and again, for at most a second, by another tenant.
ATTACKS = {
    "a busy loop": "while :; do :; done",
    "a fork bomb": "bomb() { bomb | bomb & }; bomb; sleep 100",
    "memory without end": "tail /dev/zero",
    "output without end": "yes",
    "a full /tmp": "cat /dev/zero >/tmp/full; exit 0",
}
QUIET = "nobody"


def neighbours(report: Report, ours: ServerProcess, rounds: int, seconds: float) -> None:
    """`echo hi` on one connection, beside each attack in turn.  @param ours: a server with a pool of two or more."""
    section = "echo hi, beside another tenant's attack"
    client = load.Client(ours)

    def beside(script: str | None) -> Callable[[float], Mapping[str, float]]:
        def measure(slice_: float) -> Mapping[str, float]:
            with attacked(ours, script) if script else nullcontext():
                until = time.perf_counter() + slice_
                times = []
                while time.perf_counter() < until:
                    times.append(client.post(load.ECHO, tenant="neighbour")[0])
            return spread(times)

        return measure

    contenders = {QUIET: beside(None)} | {name: beside(script) for name, script in ATTACKS.items()}
    found = in_turn(contenders, rounds, seconds)
    for name, figures in found.items():
        report.add(section, f"beside {name}", figures)
    for name in ATTACKS:
        report.claim(f"beside {name}: median to the usual", found[name][MEDIAN] / found[QUIET][MEDIAN], 3)


@contextmanager
def attacked(server: ServerProcess, script: str) -> Iterator[None]:
    """Run it again and again meanwhile."""
    over = threading.Event()

    def attack() -> None:
        while not over.is_set():
            server.execute(script, tenant="attacker", timeout=1)

    thread = threading.Thread(target=attack)
    thread.start()
    time.sleep(0.2)  # it has begun
    try:
        yield
    finally:
        over.set()
        thread.join()
