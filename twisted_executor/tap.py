"""The composition root: `twistd script-executor`.  It knows all concrete names and does no I/O."""

from __future__ import annotations

import gc
import os
import random
import secrets
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any, cast
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from twisted.application.service import IService, MultiService
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, quoteStringArgument
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import ILogObserver
from twisted.python import usage

from twisted_executor import keys, web
from twisted_executor.agent import agent_binary
from twisted_executor.boundaries import IExecutor, IPool, ISandboxSource
from twisted_executor.canary import LIMIT, Canary
from twisted_executor.config import ConfigurationError, Settings, read
from twisted_executor.config_texts import config_help
from twisted_executor.confinement import Confinement
from twisted_executor.demand import Creations, WatchedExecutor, WatchedPool
from twisted_executor.descriptors import allowed, left_for_clients, raise_limit
from twisted_executor.engine.control import DockerEngine, Limits
from twisted_executor.engine.credentials import Credentials, CredentialsError
from twisted_executor.executor import Executor
from twisted_executor.hangup import Hangup
from twisted_executor.health import EngineWatch, Health
from twisted_executor.image_store import ImageStore, PullPolicy
from twisted_executor.images import canonical
from twisted_executor.lag import LagWatch
from twisted_executor.logs.requests import RequestLog
from twisted_executor.logs.setup import Logs
from twisted_executor.metrics.collectors import Watched, versions
from twisted_executor.metrics.registry import Metrics
from twisted_executor.metrics.wrappers import MeteredEngine, MeteredExecutor, MeteredPool, MeteredSource
from twisted_executor.planning import Capacity
from twisted_executor.pool import PoolPolicy, WarmPool
from twisted_executor.quota import Quota, QuotaExecutor
from twisted_executor.refresh import ImageRefresh
from twisted_executor.run import RunPolicy
from twisted_executor.server import ServerService
from twisted_executor.services import OrderedMultiService, StopOnce, Supervised, Threads, Watchdog, periodic
from twisted_executor.source import EngineSource, SourcePolicy
from twisted_executor.status import StatusBoard

WATCH_INTERVAL = 2.0  # seconds between questions to the engine
SWEEP_INTERVAL = 30.0
MOST_CONNECTIONS = 1000  # of clients; half of them from one address
OPEN = "There are no API keys: who reaches this port can run scripts. Set API_KEYS_FILE, or let only yourself reach it."
STOP_LIMIT = 20.0  # seconds that a stop may take beyond its drain


class Options(usage.Options):
    """The command line; an option wins over the environment."""

    synopsis = "[options]"
    longdesc = "Runs untrusted scripts in warm, hardened Docker containers.  Configured by environment variables."
    optParameters = (
        ("host", None, "127.0.0.1", "Address to listen on."),
        ("port", "p", None, "Port to listen on; default: HOST_PORT.", int),
    )
    optFlags = (
        ("debug", None, "Log at level debug."),
        ("check-config", None, "Check the configuration and exit."),
    )

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """@param environ: the environment variables; None: those of the process."""
        super().__init__()
        self._environ = os.environ if environ is None else environ
        self["listen"] = []

    def opt_listen(self, endpoint: str) -> None:
        """An endpoint to listen on, such as unix:/run/executor.sock; may be repeated.  Instead of host and port."""
        self["listen"].append(endpoint)

    opt_l = opt_listen

    def opt_config_help(self) -> None:
        """Explain every environment variable and exit."""
        print(config_help())
        sys.exit(0)

    def postOptions(self) -> None:
        """Read the environment; every problem is reported at once."""
        try:
            self.configuration = read(self._environ)
            path = self.configuration.api_keys_file
            self.api_keys = keys.KeyFile(path) if path else None
            self.credentials = Credentials(self.configuration.registry_auth_file, self._environ)
            self.credentials.check()
        except (ConfigurationError, keys.KeysError, CredentialsError) as error:
            raise usage.UsageError(f"The configuration is wrong:\n{error}") from error
        if self["check-config"]:
            print("The configuration is fine.")
            sys.exit(0)
        port = self.configuration.host_port if self["port"] is None else self["port"]
        if not self["listen"]:
            self["listen"] = [f"tcp:{port}:interface={quoteStringArgument(self['host'])}:backlog=1024"]


class Root(OrderedMultiService):
    """The whole server.  It gives twistd its log observer."""

    def __init__(self, observer: Callable[[], ILogObserver] | None) -> None:
        """@param observer: makes it; None: twistd's own is to be used."""
        super().__init__()
        self._observer = observer

    def startService(self) -> None:
        """Start; what is there by now stays, so the garbage collector need not look at it again and again."""
        raise_limit()
        super().startService()
        gc.collect()
        gc.freeze()

    def setServiceParent(self, parent: Any) -> None:
        """Where the parent is twistd's application, log through our observer."""
        if self._observer is not None and hasattr(parent, "setComponent"):
            parent.setComponent(ILogObserver, self._observer())
        super().setServiceParent(parent)


def makeService(options: Options, reactor: Any = None) -> IService:
    """Build the tree, leaves first.  @param reactor: None: the running process's."""
    last: tuple[IService, ...] = ()
    if reactor is None:
        from twisted.internet import reactor

        last = (StopOnce(),)
    settings = options.configuration
    logs = _logs(options, reactor)
    root = Root(logs.observer if logs is not None else None)

    policy = _source_policy(settings)
    lanes = {name: Threads(f"{name} threads", size, reactor) for name, size in _LANES.items()}
    watched = Watched(
        executor=lambda: refresh.noted(executor.stats()),
        lanes=lambda: {name: lane.load() for name, lane in lanes.items()},
        streams=lambda: source.streams,
        leaks=lambda: source.leaks,
        canary=lambda: canary.figures(),
        connections=lambda: sum(one.open_connections for one in sites),
        lost_events=lambda: logs.lost if logs is not None else {},
    )
    meters = Metrics(CollectorRegistry(), reactor, watched, _references(settings), policy.instance)
    counters = meters.counters
    pull_timeout = settings.custom_image_pull_timeout
    docker = DockerEngine(settings.docker_host, _limits(settings), pull_timeout, options.credentials, reactor, **lanes)
    engine = MeteredEngine(docker, counters.called, reactor)
    images = ImageStore(engine, _pull_policy(settings), reactor, random.random)
    source = EngineSource(
        engine, _endpoint(settings.docker_host, reactor), images, _agent, policy, reactor, secrets.randbelow
    )
    pools, temporary, watched_pools = _pools(MeteredSource(source, counters.made, reactor), settings, reactor)
    refresh = ImageRefresh(images, {image: pools[canonical(image)] for image in _references(settings)})

    def metered_pool(pool: IPool) -> IPool:
        return cast(IPool, MeteredPool(pool, counters.taken, reactor))

    executor = Executor(
        settings.base_image,
        {reference: metered_pool(pool) for reference, pool in watched_pools.items()},
        metered_pool(temporary),
        images,
        reactor,
        settings.queue_size,
        settings.drain_timeout,
    )
    watch = EngineWatch(engine)
    canary = _canary(pools, executor, settings, reactor)
    health = Health(executor.stats, watch, lambda: source.concessions, canary.figures)
    journals = [pool.journal for pool in watched_pools.values()]
    limited = _limited(WatchedExecutor(executor, journals, reactor), settings, reactor)
    metered = MeteredExecutor(limited, counters.ran)
    board = StatusBoard(reactor, executor.stats, health, versions()[0])
    api = web.API(metered, health, meters, board, _web_rules(options), partial(secrets.token_hex, 8))

    requests = RequestLog(_level(options), reactor)
    site = api.site(reactor, counters.answered, board.answered, requests)
    figures = api.figures_site(reactor, counters.answered, requests)
    sites = (site, figures)

    for service in () if logs is None else logs.services:
        service.setServiceParent(root)
    requests.setServiceParent(root)
    if options.api_keys is not None:
        Hangup(options.api_keys, reactor).setServiceParent(root)
    for service in lanes.values():
        service.setServiceParent(root)
    Supervised("engine watch", periodic(watch.look, reactor, WATCH_INTERVAL), reactor).setServiceParent(root)
    Supervised("sweep", periodic(source.sweep, reactor, SWEEP_INTERVAL), reactor).setServiceParent(root)
    LagWatch(reactor, counters.lagged).setServiceParent(root)
    if settings.metrics_listen:  # before the pools, so that it is there until they are empty
        beside = ServerService([settings.metrics_listen], figures, lambda: None, 0.0, reactor)
        beside.setName("figures")
        beside.setServiceParent(root)
    every_pool = MultiService()
    for pool in (*pools.values(), temporary):
        pool.setServiceParent(every_pool)
    every_pool.setServiceParent(root)
    if (interval := settings.image_refresh_interval) > 0:
        Supervised("image refresh", periodic(refresh.look, reactor, interval), reactor).setServiceParent(root)
    executor.setServiceParent(root)
    if settings.canary_interval:
        Supervised("canary", canary.watch, reactor).setServiceParent(root)
    caution = OPEN if options.api_keys is None else ""
    listening = ServerService(options["listen"], site, executor.drain, settings.drain_delay, reactor, caution)
    listening.setServiceParent(root)
    limit = settings.drain_delay + settings.drain_timeout + STOP_LIMIT
    for told_first in (Watchdog(limit, partial(os._exit, 1)), *last):
        told_first.setServiceParent(root)
    return root


# How many calls of each kind run at once.
_LANES = {"control": 6, "removal": 4, "pulls": 2}


def _logs(options: Options, reactor: Any) -> Logs | None:
    """Ours, writing where twistd would; None where twistd was told to log elsewhere (--syslog, --logger)."""
    parent = cast("Mapping[str, Any]", getattr(options, "parent", None) or {})
    if parent.get("syslog") or parent.get("logger"):
        return None
    settings = options.configuration
    path = parent.get("logfile") or ("-" if parent.get("nodaemon", True) else "twistd.log")
    return Logs(_level(options), settings.log_format, path, settings.syslog, reactor)


def _level(options: Options) -> str:
    return "debug" if options["debug"] else options.configuration.log_level


def _references(settings: Settings) -> tuple[str, ...]:
    """All configured images, as the operator wrote them, the default one first."""
    return (settings.base_image, *(pool.image for pool in settings.custom_pools))


def _web_rules(options: Options) -> web.WebRules:
    settings = options.configuration
    allowed = settings.allowed_images
    return web.WebRules(
        timeout=settings.timeout,
        body=settings.max_request_bytes,
        waiting=settings.max_waiting_bytes,
        connections=min(MOST_CONNECTIONS, _left_for_clients(settings)),
        hosts=settings.allowed_hosts,
        keys=options.api_keys,
        allowed=allowed,
        allowed_canonical=frozenset(map(canonical, (*allowed, *_references(settings)))) if allowed else frozenset(),
        console=settings.console,
    )


def _left_for_clients(settings: Settings) -> int:
    """Descriptors for connections, of all that this process may have."""
    containers = settings.pool_size + sum(pool.size for pool in settings.custom_pools) + settings.max_temporary
    figures = web.FEW if settings.metrics_listen else 0
    return left_for_clients(allowed(), containers, sum(_LANES.values()) + figures)


def _limits(settings: Settings) -> Limits:
    return Limits(
        memory=settings.memory_limit,
        cpu=settings.cpu_limit,
        pids=settings.pids_limit,
        script=settings.max_request_bytes,
        runtime=settings.container_runtime,
        ptrace="ptrace" in settings.seccomp_allow,
    )


def _pull_policy(settings: Settings) -> PullPolicy:
    return PullPolicy(
        registry=settings.custom_image_registry,
        retries=settings.custom_image_pull_retries,
        plain=frozenset({settings.base_image}),
    )


def _source_policy(settings: Settings) -> SourcePolicy:
    return SourcePolicy(
        instance=secrets.token_hex(6),
        fillers=_references(settings),
        tmp=settings.tmpfs_size,
        rest=settings.tmpfs_rest,
        confinement=Confinement(
            settings.memory_limit, settings.cpu_limit, settings.pids_limit, settings.require_limits
        ),
        run=RunPolicy(settings.max_output_bytes),
    )


def _pools(
    source: ISandboxSource, settings: Settings, reactor: Any
) -> tuple[dict[str, WarmPool], WarmPool, dict[str, WatchedPool]]:
    """The configured pools by canonical reference, the default one first; the temporary one; the first, watched."""

    def pool(source: ISandboxSource, label: str, capacity: Capacity, idle_ttl: float | None = None) -> WarmPool:
        policy = PoolPolicy(
            label=label,
            capacity=capacity,
            queue_size=settings.queue_size,
            queue_timeout=settings.queue_timeout,
            max_uses=settings.container_max_uses,
            max_age=settings.container_max_age,
            idle_ttl=idle_ttl,
        )
        return WarmPool(source, policy, reactor, random.random)

    sizes = {settings.base_image: settings.pool_size} | {p.image: p.size for p in settings.custom_pools}
    standing: dict[str, WarmPool] = {}
    watched: dict[str, WatchedPool] = {}
    for image, size in sizes.items():
        creations = Creations()
        name = canonical(image)
        standing[name] = pool(MeteredSource(source, creations.made, reactor), image, Capacity(size, image))
        watched[name] = WatchedPool(standing[name], creations, reactor)
    temporary = pool(source, "temporary", Capacity(settings.max_temporary, None), settings.temporary_idle_ttl)
    return standing, temporary, watched


def _canary(pools: Mapping[str, WarmPool], executor: Executor, settings: Settings, reactor: Any) -> Canary:
    """Of all pools, or of none."""
    looks = [(pool.stats(), pool) for pool in pools.values()] if settings.canary_interval else []
    return Canary(
        [(stats.image, stats.target, pool) for stats, pool in looks],
        lambda: executor.stats().draining,
        reactor,
        settings.canary_interval,
        min(LIMIT, settings.timeout),
    )


def _limited(executor: IExecutor, settings: Settings, reactor: Any) -> IExecutor:
    """The executor behind the quota of each tenant, if there is one."""
    if settings.tenant_max_running is None:
        return executor
    quota = Quota(settings.tenant_max_running, settings.tenant_max_waiting, settings.queue_timeout)
    return cast(IExecutor, QuotaExecutor(executor, quota, reactor))


def _endpoint(docker_host: str, reactor: Any) -> IStreamClientEndpoint:
    url = urlsplit(docker_host)
    if url.scheme == "unix":
        return UNIXClientEndpoint(reactor, url.path, timeout=10)
    return HostnameEndpoint(reactor, url.hostname or "localhost", url.port or 2375)


@lru_cache(maxsize=4)
def _agent(architecture: str) -> tuple[str, bytes]:
    """The volume of the agent for this architecture, named by its digest, and its binary."""
    binary = agent_binary(architecture)
    return f"twisted-executor-agent-{sha256(binary).hexdigest()[:16]}", binary
