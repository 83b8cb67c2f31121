"""Clients of a server: one request at a time from here, many by Debian's wrk, whose own cost is small."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import MEDIAN, P99, RATE
from tests.engine.server_process import ServerProcess

HEADERS = {"Content-Type": "application/json"}
ECHO = "echo hi"

_WRK = """
local body = %(body)s
wrk.method, wrk.body, wrk.headers["Content-Type"] = "POST", body, "application/json"
wrong = 0
threads = {}
function setup(thread) table.insert(threads, thread) end
function response(status, headers, body)
  if status ~= 200 or not body:find('"success":true', 1, true) then
    wrong = wrong + 1
    print("WRONG", status, body)
  end
end
function done(summary, latency)
  local all = 0
  for _, thread in ipairs(threads) do all = all + thread:get("wrong") end
  local e = summary.errors
  print(string.format("FIGURES %%d %%d %%d %%d %%d", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), all + e.connect + e.read + e.write + e.timeout))
end
"""


def wrk(port: int, connections: int, script: str = ECHO) -> Callable[[float], Mapping[str, float]]:
    """So many connections, each of which sends the next request when it has the answer; every answer is looked at."""
    body = json.dumps(json.dumps({"script": script}))

    def measure(seconds: float) -> Mapping[str, float]:
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
            file.write(_WRK % {"body": body})
            file.flush()
            options = ["-t1", "--timeout=60s", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", file.name]
            done = subprocess.run(
                ["wrk", *options, f"http://127.0.0.1:{port}/execute"], capture_output=True, text=True, check=True
            )
        found = re.search(r"FIGURES (\d+) (\d+) (\d+) (\d+) (\d+)", done.stdout)
        assert found, done.stdout + done.stderr
        requests, duration, middle, p99, wrong = map(int, found.groups())
        assert not wrong, f"{wrong} answers are wrong: {done.stdout}"
        return {MEDIAN: middle / 1e3, P99: p99 / 1e3, RATE: requests / duration * 1e6}

    return measure


class Client:
    """One connection."""

    def __init__(self, server: ServerProcess) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def post(self, script: str, **fields: Any) -> tuple[float, dict[str, Any]]:
        """Run a script: the seconds until the whole answer was there, and what it says."""
        body = json.dumps({"script": script} | fields)
        began = time.perf_counter()
        self._connection.request("POST", "/execute", body, HEADERS)
        answer = self._connection.getresponse().read()
        took = time.perf_counter() - began
        said = json.loads(answer)
        assert said["success"], said
        return took, said


def resident(server: ServerProcess) -> float:
    """MiB of memory that the server holds."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{server.process.pid}/status").read_text())
    assert found
    return int(found[1]) / 1024
