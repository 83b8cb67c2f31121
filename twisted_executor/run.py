"""What is under way in a sandbox, and its limits."""

from __future__ import annotations

from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from twisted_executor.boundaries import Job, Outcome, Status

# Seconds on the server's clock, after which the container is killed through the engine.
GREETING_LIMIT = 20.0
RUN_GRACE = 0.5  # beyond the run's own limit
CANCEL_LIMIT = 2.0
WIPE_LIMIT = 5.0
FATE_LIMIT = 2.0  # the client waits for what the engine says of a lost container
PING_INTERVAL = 30.0  # the agent exits after 90 seconds of silence
PONG_LIMIT = 10.0

OUTPUT_END = 8  # a run ends at so many times the output that is kept


@dataclass(slots=True)
class Run:
    """What is under way; `output` by stream, 1 and 2."""

    id: int
    job: Job
    began: float
    finished: Deferred[Outcome]
    stdin: bytes
    sent: int
    unfit: str | None = None
    output: dict[int, list[bytes]] = field(default_factory=lambda: {1: [], 2: []})

    def text(self, stream: int) -> bytes:
        """All that came on this stream so far."""
        return b"".join(self.output[stream])

    @property
    def about(self) -> dict[str, str]:
        """What each log event about this run has."""
        job = self.job
        request = {"request_id": job.request_id}
        return request | {"traceparent": job.traceparent} if job.traceparent else request


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """@ivar output: bytes kept of each stream."""

    output: int


# After these the container is not used again, clean or not.
SPENT = frozenset({Status.TIMEOUT, Status.OUT_OF_MEMORY, Status.OUTPUT_LIMIT})
