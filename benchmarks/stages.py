"""Where the time of a request goes: each part of its way alone, in turn with the whole."""

from __future__ import annotations

import http.client
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from twisted.internet.defer import Deferred

from benchmarks import load, peers
from benchmarks.figures import Report, spread
from tests.agent.files import fill
from tests.agent.harness import Agent
from tests.engine.in_process import make
from tests.engine.server_process import BUSYBOX, ServerProcess
from twisted_executor import wire
from twisted_executor.boundaries import Job
from twisted_executor.sandbox import Sandbox
from twisted_executor.services import Threads

BATCH = 20  # calls of one kind before the next kind
JOB = Job(b"echo hi", 10.0, "r")


class Stages:
    """Seconds by stage."""

    def __init__(self, server: ServerProcess, agent: Agent, sandboxes: list[Sandbox]) -> None:
        self.times: dict[str, list[float]] = defaultdict(list)
        self._server = server
        self._agent = agent
        self._sandboxes = sandboxes
        self._client = load.Client(server)
        self._http = http.client.HTTPConnection("127.0.0.1", server.port)
        self._turn = 0

    def _record(self, name: str, began: float) -> None:
        self.times[name].append(time.perf_counter() - began)

    def _next(self) -> Sandbox:
        self._turn += 1
        return self._sandboxes[self._turn % len(self._sandboxes)]

    def plain(self) -> None:
        """A subprocess."""
        began = time.perf_counter()
        subprocess.run(peers.SHELL, capture_output=True, check=True)
        self._record("a plain subprocess", began)

    def agent(self) -> None:
        """The agent over pipes, in namespaces of its own but without an engine and its limits."""
        began = time.perf_counter()
        run = self._agent.start(JOB.script)
        self._agent.finish(run)
        self._record("agent and script, over pipes", began)

    async def ping(self) -> None:
        """A frame to the agent and one back, through the engine."""
        sandbox, answered = self._next(), Deferred[None]()
        usual, sandbox._pong = sandbox._pong, lambda: answered.callback(None)  # type: ignore[method-assign]
        began = time.perf_counter()
        assert sandbox._stream is not None
        sandbox._stream.send(wire.ping_frame())
        await answered
        self._record("a ping through the engine's stream", began)
        sandbox._pong = usual  # type: ignore[method-assign]

    async def run(self) -> None:
        """A run without HTTP."""
        sandbox = self._next()
        began = time.perf_counter()
        outcome = await sandbox.run(JOB)
        self._record("a run without HTTP", began)
        self.times["its script, as the agent sees it"].append(outcome.execution_time)
        await sandbox.settled()

    def live(self) -> None:
        """HTTP without a run."""
        began = time.perf_counter()
        self._http.request("GET", "/health/live")
        self._http.getresponse().read()
        self._record("HTTP without a run", began)

    def whole(self) -> None:
        """A request."""
        self.times["a run over HTTP"].append(self._client.post("echo hi")[0])

    async def measure(self, seconds: float) -> None:
        """All of them in turn."""
        deadline = time.monotonic() + seconds
        blocking: list[Callable[[], None]] = [self.plain, self.agent, self.live, self.whole]
        waiting: list[Callable[[], Coroutine[Any, Any, None]]] = [self.ping, self.run]
        while time.monotonic() < deadline:
            for work in blocking:
                for _ in range(BATCH):
                    work()
            for wait in waiting:
                for _ in range(BATCH):
                    await wait()


async def _measured(reactor: Any, seconds: float) -> dict[str, list[float]]:
    lanes = {name: Threads(name, 2, reactor) for name in ("control", "removal", "pulls")}
    for lane in lanes.values():
        lane.startService()
    with ExitStack() as stack:
        server = ServerProcess(BASE_IMAGE=BUSYBOX, POOL_SIZE="4")
        stack.callback(server.discard)
        server.ready().full()
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fill(root)
        agent = stack.enter_context(Agent(root))
        agent.hello()
        source = make(reactor, lanes).source
        sandboxes = [await source.create(BUSYBOX) for _ in range(4)]
        try:
            stages = Stages(server, agent, sandboxes)  # type: ignore[arg-type]
            await stages.measure(seconds)
        finally:
            for sandbox in sandboxes:
                await sandbox.destroy()
            for lane in lanes.values():
                lane.stopService()
    return stages.times


def stages(report: Report, seconds: float) -> None:
    """Add them; a process can do it once, as it runs Twisted's reactor."""
    from twisted.internet import reactor  # noqa: TID251

    found: list[dict[str, list[float]]] = []

    async def main() -> None:
        try:
            found.append(await _measured(reactor, seconds))
        finally:
            reactor.stop()  # type: ignore[attr-defined]

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()))  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]
    section = "where the time of a request goes"
    for name, times in found[0].items():
        report.add(section, name, spread(times))
    middle = {name: median(times) * 1e3 for name, times in found[0].items()}
    script = middle["its script, as the agent sees it"]
    agent = middle["agent and script, over pipes"]
    run, whole = middle["a run without HTTP"], middle["a run over HTTP"]
    parts = {"script": script, "agent": agent - script, "engine's stream": run - agent, "server and HTTP": whole - run}
    for name, took in parts.items():
        report.add(f"{section}: shares", name, {"ms": took, "%": 100 * took / whole})
