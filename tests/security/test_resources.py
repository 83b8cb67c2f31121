"""Scripts that take what they can get: each ends in time, with the right word for it, and the next run is right."""

from __future__ import annotations

import time

import pytest

from tests.engine.server_process import ServerProcess
from tests.security.conftest import IMAGE

# Seconds.
LIMIT = 1.0
PATIENCE = 20.0  # for what ends by itself: half a processor takes a while to fill a memory
TOLERANCE = 1.0

ATTACKS = {
    "fork-bomb": ("bomb() { bomb | bomb & }; bomb; sleep 100", "timeout"),
    "threads": ("consume threads", "ok"),
    "pages": ("consume pages", "out_of_memory"),
    "memory-file": ("consume memory-file", "out_of_memory"),
    "arguments": ("consume arguments", "timeout"),
    "places": ("for place in /tmp /dev/shm /data; do cat /dev/zero >$place/full; done; sync", "ok"),
    "output": ("yes", "output_limit"),
    "errors": ("yes >&2", "output_limit"),
    "both": ("yes & yes >&2", "output_limit"),
    "byte-by-byte": ("while :; do printf x; done", "timeout"),
    "one-line": ("head -c 1000000000 /dev/zero | tr '\\0' x", "output_limit"),
    "deaf": ("for n in $(seq 1 64); do trap '' $n; done 2>/dev/null; while :; do :; done", "timeout"),
    "stopped": ("kill -STOP $$", "timeout"),
    "silent": ("exec 0<&- 1>&- 2>&-; sleep 100", "timeout"),
    "held-pipes": ("sleep 100 & exit 0", "ok"),
    "held-pipes-deaf": ("residue hold & exit 0", "ok"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_ends(strong: ServerProcess, name: str) -> None:
    """It has its status within the limit and a second, and the next run finds everything as it should be."""
    script, status = ATTACKS[name]
    limit = LIMIT if status == "timeout" else PATIENCE
    strong.full(IMAGE)
    began = time.monotonic()
    answer = strong.execute(script, timeout=limit)
    took = time.monotonic() - began
    assert (answer.status, answer["status"]) == (200, status), answer
    assert took < limit + TOLERANCE
    assert strong.output("cat; echo right", stdin="next ") == "next right\n"
    figures = strong.execute("echo hi")
    assert (figures["oom_kills"], figures["memory_peak"] < 16 << 20, figures["cpu_time"] < 0.5) == (0, True, True)
