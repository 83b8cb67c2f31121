"""Frozen values: what the parts of the server tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from twisted_executor.errors import ExecutorError


class Status(Enum):
    """What ended a run.  Where several things are true the first of this list is told."""

    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    OUTPUT_LIMIT = "output_limit"
    OUT_OF_MEMORY = "out_of_memory"
    SIGNALED = "signaled"
    NONZERO_EXIT = "nonzero_exit"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose run it is; two tenants never share a container.

    @ivar key: the id of the API key, empty without keys.
    @ivar name: the request's `tenant`, empty when absent.
    """

    key: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """A script to run, checked: nothing in it can be refused by the kernel or by the agent.

    @ivar script: not empty.
    @ivar env: "NAME=value" each.
    @ivar timeout: seconds, above 0, at most the server's TIMEOUT.
    @ivar image: the reference as the client wrote it; None is the default pool's.
    @ivar traceparent: the trace that the request belongs to, for the log; empty without one.
    """

    script: bytes
    timeout: float
    request_id: str
    stdin: bytes = b""
    args: tuple[bytes, ...] = ()
    env: tuple[bytes, ...] = ()
    image: str | None = None
    tenant: Tenant = Tenant()
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.  A script that fails is an outcome, never an exception.

    @ivar exit_code: what a shell would show, 128 + signal when killed; None only when the script never ran.
    @ivar signal: the name of the signal that ended the main process, "SIGKILL", else None.
    @ivar stdout: an exact prefix of what the script wrote, at most MAX_OUTPUT_BYTES.
    @ivar stdout_bytes: how many bytes the script wrote; above len(stdout) when it was cut.
    @ivar execution_time: seconds from fork to the end of the main process, measured by the agent.
    @ivar cpu_time: seconds of processor time of all processes of the run; None when the agent could not tell.
    @ivar memory_peak: the largest resident set of one process, in bytes; None when the agent could not tell.
    @ivar error: a sentence when the run did not end well, else None.
    """

    status: Status
    exit_code: int | None
    signal: str | None
    stdout: bytes
    stderr: bytes
    stdout_bytes: int
    stderr_bytes: int
    execution_time: float
    oom_kills: int
    cpu_time: float | None
    memory_peak: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Execution:
    """An outcome with what the server adds.

    @ivar queue_time: seconds from admission to the start of the run, without a pull.
    @ivar warm: the container was there before the request came.
    @ivar image: the reference of the container's image as the operator or the client wrote it.
    """

    outcome: Outcome
    queue_time: float
    warm: bool
    image: str
    request_id: str


GONE = 499  # the status of a request whose client had gone, as nginx has it
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})  # others are somebody's invention


@dataclass(frozen=True, slots=True)
class Answered:
    """A request and its answer in short, for those who count and tell.

    @ivar status: the HTTP status; 499 when the client had gone.
    @ivar method: as the client wrote it, as all the others; empty where what came was no HTTP.
    @ivar path: without its query.
    @ivar seconds: from the end of its headers to the end of its answer.
    @ivar request_id: empty when nobody had asked for it yet.
    @ivar traceparent: the trace that it belongs to, checked; empty when the client named none.
    @ivar key: the name of its API key, empty without keys.
    @ivar execution: of the script that came to an end for it.
    @ivar error: why none did.
    """

    status: int
    method: str = ""
    path: str = ""
    seconds: float = 0.0
    peer: str = ""
    request_id: str = ""
    traceparent: str = ""
    key: str = ""
    execution: Execution | None = None
    error: ExecutorError | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """How a pool was asked for of late, and what size would do.

    @ivar window: seconds that this is about.
    @ivar requests: that asked for a container in them, those that were refused among them.
    @ivar waited_share: of these, those for which no container was there at once, 0 to 1.
    @ivar average_wait: seconds, of those that waited.
    @ivar longest_wait: seconds.
    @ivar recommended_size: None when too little has happened to tell.
    """

    window: float
    requests: int
    waited_share: float
    average_wait: float
    longest_wait: float
    recommended_size: int | None


@dataclass(frozen=True, slots=True)
class PoolStats:
    """One pool at one moment, and its counts since the start.

    @ivar image: the reference as the operator wrote it.
    @ivar target: how many containers the pool keeps warm; 0 for the temporary ones.
    @ivar failure: why the newest creation failed, None since one succeeded.
    @ivar demand: None where nobody watches it.
    @ivar refresh_failure: why the image could not be pulled again, None since it could.
    """

    image: str
    target: int
    idle: int
    busy: int
    creating: int
    retiring: int
    waiting: int
    executions: int
    created: int
    create_failures: int
    retired: Mapping[str, int]
    failure: str | None
    temporary: bool = False
    demand: Demand | None = None
    refresh_failure: str | None = None


@dataclass(frozen=True, slots=True)
class ExecutorStats:
    """All pools, and the requests that are under way."""

    pools: tuple[PoolStats, ...]
    running: int
    waiting: int
    draining: bool


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the engine says of itself.

    @ivar architecture: as uname -m says it, "x86_64" or "aarch64".
    """

    version: str
    api_version: str
    architecture: str
    cgroup_version: str
    runtimes: frozenset[str]


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image that the engine has.

    @ivar reference: what the engine finds it under.
    @ivar volumes: the mount points of its VOLUMEs, normalised absolute paths.
    @ivar from_registry: it was pulled from, or pushed to, the repository of this reference.
    """

    reference: str
    id: str
    architecture: str
    volumes: tuple[str, ...]
    from_registry: bool = False


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container to be created; the limits that all have in common are the control plane's.

    @ivar tmpfs: the writable places beside /.script, mount point to size in bytes.
    """

    name: str
    image: ImageInfo
    volume: str
    labels: Mapping[str, str]
    tmpfs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Created:
    """@ivar warnings: limits that the engine dropped, in its words."""

    id: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContainerSummary:
    """@ivar created: seconds since 1970 on the engine's clock.  @ivar state: "created", "running", ..."""

    id: str
    name: str
    state: str
    created: float
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Fate:
    """@ivar oom_killed: a process of it was killed for memory.  @ivar paused: it is frozen from outside."""

    oom_killed: bool
    paused: bool


@dataclass(frozen=True, slots=True)
class CanaryStats:
    """How the server's own runs in one pool went.

    @ivar image: the reference as the operator wrote it.
    @ivar result: of the last that was not skipped, "ok" or "failed"; None before the first.
    @ivar problem: a sentence while the last one has failed.
    @ivar seconds: that the last one took.
    @ivar age: seconds since it ended.
    @ivar since_ok: seconds since one ended well; None when none has.
    @ivar runs: since the start, by "ok", "failed" and "skipped".
    """

    image: str
    result: str | None
    problem: str | None
    seconds: float
    age: float
    since_ok: float | None
    runs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Whether scripts can run.

    @ivar status: "healthy", "degraded" or "unhealthy".  @ivar reasons: sentences, empty when healthy.
    @ivar advice: sentences on what could be better; they have no part in the status.
    @ivar pools: all but the temporary one.  @ivar canary: that of the default image; None where there is none.
    """

    status: str
    reasons: tuple[str, ...]
    ready: bool
    advice: tuple[str, ...] = ()
    pools: tuple[PoolStats, ...] = ()
    canary: CanaryStats | None = None
