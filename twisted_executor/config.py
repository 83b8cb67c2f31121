"""The settings, read from environment variables.  Pure.

One table, L{VARIABLES}, is the source of what is read, of `--config-help` and of `.env.example`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from twisted_executor import values
from twisted_executor.images import PoolSetting, canonical, parse_pools, quoted
from twisted_executor.values import GIB, KIB, MIB, SyslogTarget, size_text

LIMITS = ("memory", "swap", "cpu", "pids")

TEMPORARY = "temporary"  # the label of the pool for images without one

_DAY = 86400.0
_LEAST_DEFAULT_TMPFS, _MOST_DEFAULT_TMPFS = 2 * MIB, 64 * MIB
_LEAST_REST = MIB


class ConfigurationError(Exception):
    """The environment cannot be understood.

    @ivar problems: a sentence for each variable that is wrong, all at once.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator decided.

    Each field is the variable of that name in capitals, and L{VARIABLES} says what it means.  Sizes are bytes, times
    are seconds.
    """

    pool_size: int
    base_image: str
    custom_pools: tuple[PoolSetting, ...]
    custom_image_registry: str
    custom_image_pull_timeout: float
    custom_image_pull_retries: int
    registry_auth_file: str
    image_refresh_interval: float
    allowed_images: tuple[str, ...]
    container_max_uses: int
    container_max_age: float
    canary_interval: float
    max_temporary: int
    temporary_idle_ttl: float
    memory_limit: int
    cpu_limit: float
    pids_limit: int
    tmpfs_size: int
    timeout: float
    max_output_bytes: int
    max_request_bytes: int
    max_waiting_bytes: int
    queue_size: int
    queue_timeout: float
    tenant_max_running: int | None
    tenant_max_waiting: int
    host_port: int
    allowed_hosts: tuple[str, ...]
    api_keys_file: str
    metrics_listen: str
    console: bool
    drain_delay: float
    drain_timeout: float
    log_level: str
    log_format: str
    syslog: SyslogTarget | None
    docker_host: str
    container_runtime: str
    require_limits: frozenset[str]
    seccomp_allow: frozenset[str]

    @property
    def tmpfs_rest(self) -> int:
        """Bytes left for /dev/shm and all VOLUMEs of an image together.

        All tmpfs of a container are at most half of its memory: a larger one, when full, kills the agent.
        """
        return self.memory_limit // 2 - self.tmpfs_size - self.max_request_bytes


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable.

    @ivar default: as an operator would write it; an empty one is the value `unset`.
    @ivar read: from a text that is not empty to the value; raises ValueError with a sentence.
    """

    name: str
    default: str
    read: Callable[[str], object]
    help: str
    unset: object = ""

    @property
    def field(self) -> str:
        """The name of its field in L{Settings}."""
        return self.name.lower()

    def value(self, text: str) -> object:
        """The value of this text; an empty one, which compose passes for what nobody set, means the default."""
        text = text.strip() or self.default
        return self.read(text) if text else self.unset


_V = Variable
VARIABLES: Mapping[str, tuple[Variable, ...]] = {
    "Pools": (
        _V("POOL_SIZE", "5", values.integer(1, 1000), "Containers kept warm for BASE_IMAGE."),
        _V("BASE_IMAGE", "alpine:latest", values.image, "The image of a request that names none."),
        _V("CUSTOM_POOLS", "", parse_pools,
           "More warm pools: image=size,image=size. image:size is understood too, there the last part is the size: "
           "python:3 means three of python:latest.", ()),
        _V("CONTAINER_MAX_USES", "1000", values.integer(1, 1_000_000),
           "Runs that a container serves before it is replaced; 1: a fresh container for every run."),
        _V("CONTAINER_MAX_AGE", "3600", values.duration(1, 30 * _DAY),
           "Seconds, more or less a fifth, after which a container is replaced."),
        _V("IMAGE_REFRESH_INTERVAL", "", values.interval(1, 30 * _DAY),
           "Seconds after which the images of all pools are pulled again, and containers of older ones replaced; "
           "empty or 0: never.", 0.0),
        _V("CANARY_INTERVAL", "60", values.duration(0, _DAY),
           "Seconds after which the server runs an empty script in an idle container of each pool, to know that "
           "scripts run; 0: never."),
    ),
    "Images without a pool": (
        _V("CUSTOM_IMAGE_REGISTRY", "", values.registry,
           "Where images are looked for that name no registry and that the engine does not have; not for BASE_IMAGE."),
        _V("CUSTOM_IMAGE_PULL_TIMEOUT", "300", values.duration(1, _DAY), "Seconds for one attempt to pull an image."),
        _V("CUSTOM_IMAGE_PULL_RETRIES", "3", values.integer(0, 100), "Further attempts after one that failed."),
        _V("REGISTRY_AUTH_FILE", "", values.plain,
           "File with the passwords of registries, in the format of docker's config.json, read again for each pull; "
           "empty: docker's own, ~/.docker/config.json."),
        _V("ALLOWED_IMAGES", "", values.images,
           "Images that requests may name, separated by commas; empty: any.", ()),
        _V("MAX_TEMPORARY", "4", values.integer(1, 1000), "Containers at a time for images without a pool."),
        _V("TEMPORARY_IDLE_TTL", "60", values.duration(0, _DAY),
           "Seconds that such a container waits for the next request of its image."),
    ),
    "Limits of a run": (
        _V("MEMORY_LIMIT", "256m", values.size(16 * MIB, 1024 * GIB), "Memory of a container, its files included."),
        _V("CPU_LIMIT", "0.5", values.decimal(0.01, 1024), "Processors of a container."),
        _V("PIDS_LIMIT", "128", values.integer(8, 1_000_000), "Processes and threads of a container."),
        _V("TMPFS_SIZE", "", values.size(64 * KIB, 512 * GIB),
           "Size of /tmp; empty: 64m, or less where MEMORY_LIMIT is below 200m.", 0),
        _V("TIMEOUT", "30", values.duration(0.001, _DAY), "Seconds that a script may run; a request may ask for less."),
        _V("MAX_OUTPUT_BYTES", "1m", values.size(1, GIB),
           "What is kept of stdout and of stderr each; a run that writes eight times as much is ended."),
    ),
    "Requests": (
        _V("MAX_REQUEST_BYTES", "4m", values.size(KIB, GIB), "The largest request."),
        _V("MAX_WAITING_BYTES", "64m", values.size(KIB, 1024 * GIB),
           "Requests that wait or run; as much again those on their way, and answers that are not read."),
        _V("QUEUE_SIZE", "100", values.integer(1, 1_000_000), "Requests that may wait for a container of one pool."),
        _V("QUEUE_TIMEOUT", "30", values.duration(0, _DAY),
           "Seconds that a request may wait for a container; before that as long again for its tenant's turn, with "
           "TENANT_MAX_RUNNING."),
        _V("TENANT_MAX_RUNNING", "", values.integer(1, 1_000_000),
           "Requests of one tenant that are served at once, others of it wait; empty: any number.", None),
        _V("TENANT_MAX_WAITING", "100", values.integer(0, 1_000_000),
           "Requests of one tenant that may wait for that; more of them are answered 429."),
    ),
    "Access": (
        _V("HOST_PORT", "8080", values.integer(1, 65535),
           "The port; with compose the one on the host, which leads to 8080 inside."),
        _V("ALLOWED_HOSTS", "", values.hosts,
           "Names under which clients reach the server, beside localhost and every IP address; separated by commas; *: "
           "any. Empty with API keys: any (not on METRICS_LISTEN).", ()),
        _V("API_KEYS_FILE", "", values.plain,
           "File with the keys that clients need, read again on SIGHUP: a line name:secret for each, or "
           "name:sha256:digest; empty: none needed."),
        _V("METRICS_LISTEN", "", values.listen,
           "Where /metrics and /health are served without a key, beside the main port: 9090 (of 127.0.0.1), "
           "0.0.0.0:9090, [::1]:9090, unix:/run/metrics.sock; empty: nowhere."),
        _V("CONSOLE", "0", values.switch, "1: the status page at / has a box to run scripts."),
    ),
    "Stopping": (
        _V("DRAIN_DELAY", "0", values.duration(0, 3600),
           "Seconds between SIGTERM and closing the port, in which load balancers learn that the server leaves."),
        _V("DRAIN_TIMEOUT", "30", values.duration(0, 3600), "Seconds after that to finish what runs and waits."),
    ),
    "Logging": (
        _V("LOG_LEVEL", "info", values.level, "debug, info, warn, error or critical."),
        _V("LOG_FORMAT", "", values.one_of("text", "json"),
           "text, or json with one object a line; empty: text to a terminal, else json."),
        _V("SYSLOG", "", values.syslog,
           "Where to send the log as well, in the form of RFC 5424: unixgram:/dev/log, udp:host:port or tcp:host:port.",
           None),
    ),
    "Engine": (
        _V("DOCKER_HOST", "unix:///var/run/docker.sock", values.docker_host,
           "Where the engine listens: unix:// or tcp:// without TLS."),
        _V("CONTAINER_RUNTIME", "", values.runtime,
           "Runtime of the containers, by the engine's name of it; empty: the engine's own. Only runc has been tried."),
        _V("REQUIRE_LIMITS", ",".join(LIMITS), values.words(*LIMITS),
           "Limits that the engine has to enforce, else the server is not ready; none: none. What is left out and does "
           "not hold is told by /health."),
        _V("SECCOMP_ALLOW", "", values.words("ptrace"),
           "ptrace lets scripts trace their own processes, for debuggers and sanitizers.", frozenset()),
    ),
}  # fmt: skip


def read(environ: Mapping[str, str]) -> Settings:
    """The settings of this environment.

    @raise ConfigurationError: with everything that is wrong with it.
    """
    problems: list[str] = []
    wrong: set[str] = set()
    found: dict[str, Any] = {}
    for variable in _variables():
        text = environ.get(variable.name, "")
        try:
            found[variable.field] = variable.value(text)
        except ValueError as problem:
            # The default stands in, so that the contradictions between the other variables are found as well.
            found[variable.field] = variable.value("")
            wrong.add(variable.name)
            problems.append(f"{variable.name}={quoted(values.masked(text))}: {problem}")
    found["tmpfs_size"] = found["tmpfs_size"] or _default_tmpfs(found["memory_limit"], found["max_request_bytes"])
    settings = Settings(**found)
    problems += [sentence for names, sentence in _contradictions(settings) if not wrong & names]
    problems += _tls(environ)
    if problems:
        raise ConfigurationError(tuple(problems))
    return settings


def _variables() -> Iterator[Variable]:
    return (variable for section in VARIABLES.values() for variable in section)


def _default_tmpfs(memory: int, request: int) -> int:
    """Two thirds of what files in memory may take beside the script, in whole MiB, from 2 to 64 of them."""
    share = (memory // 2 - request) * 2 // 3 // MIB * MIB
    return max(_LEAST_DEFAULT_TMPFS, min(share, _MOST_DEFAULT_TMPFS))


def _contradictions(settings: Settings) -> Iterator[tuple[frozenset[str], str]]:
    """Variables that are right each, but not together."""
    base = canonical(settings.base_image)
    if any(canonical(pool.image) == base for pool in settings.custom_pools):
        yield (
            frozenset({"BASE_IMAGE", "CUSTOM_POOLS"}),
            f"CUSTOM_POOLS names {settings.base_image}, which is BASE_IMAGE; the size of its pool is POOL_SIZE.",
        )
    if TEMPORARY in {settings.base_image, *(pool.image for pool in settings.custom_pools)}:
        yield (
            frozenset({"BASE_IMAGE", "CUSTOM_POOLS"}),
            f"{TEMPORARY} is what the figures call the pool of all other images; call this one {TEMPORARY}:latest.",
        )
    if settings.max_request_bytes > settings.max_waiting_bytes:
        yield (
            frozenset({"MAX_REQUEST_BYTES", "MAX_WAITING_BYTES"}),
            f"MAX_WAITING_BYTES is {size_text(settings.max_waiting_bytes)}, but one request alone may have "
            f"{size_text(settings.max_request_bytes)}, MAX_REQUEST_BYTES; it must be at least that.",
        )
    if settings.tmpfs_rest < _LEAST_REST:
        yield frozenset({"MEMORY_LIMIT", "TMPFS_SIZE", "MAX_REQUEST_BYTES"}), _too_little_memory(settings)


def _too_little_memory(settings: Settings) -> str:
    files = settings.tmpfs_size + settings.max_request_bytes + _LEAST_REST
    return (
        f"MEMORY_LIMIT is {size_text(settings.memory_limit)}, of which files in memory may take half; but "
        f"TMPFS_SIZE {size_text(settings.tmpfs_size)}, a script of MAX_REQUEST_BYTES "
        f"{size_text(settings.max_request_bytes)} and {size_text(_LEAST_REST)} for /dev/shm need {size_text(files)}; "
        f"set MEMORY_LIMIT to at least {size_text(2 * files)} or lower the others."
    )


def _tls(environ: Mapping[str, str]) -> list[str]:
    """Docker's own variables for TLS: left unheard, the connection would not be what the operator believes."""
    return [
        f"{name} is set, but this version speaks no TLS to the engine; unset it, and use a unix socket or a plain port."
        for name in ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
        if environ.get(name, "").strip()
    ]
