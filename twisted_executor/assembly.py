"""All parts of one server, put together.  It knows all concrete names and does no I/O."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from twisted.application.service import IService, MultiService
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from twisted_executor import policies
from twisted_executor.agent import agent_volume
from twisted_executor.boundaries import ExecutorStats, IExecutor, IPool, ISandboxSource, Status
from twisted_executor.canary import LIMIT, Canary
from twisted_executor.demand import Creations, WatchedExecutor, WatchedPool
from twisted_executor.engine.control import DockerEngine
from twisted_executor.engine.credentials import Credentials
from twisted_executor.executor import Executor
from twisted_executor.hangup import Hangup
from twisted_executor.health import EngineWatch, Health
from twisted_executor.image_store import ImageStore
from twisted_executor.images import canonical
from twisted_executor.lag import LagWatch
from twisted_executor.logs.requests import RequestLog
from twisted_executor.logs.setup import Logs
from twisted_executor.metrics.collectors import Watched, versions
from twisted_executor.metrics.registry import Metrics
from twisted_executor.metrics.wrappers import MeteredEngine, MeteredExecutor, MeteredPool, MeteredSource
from twisted_executor.options import Options
from twisted_executor.pool import WarmPool
from twisted_executor.quota import QuotaExecutor
from twisted_executor.refresh import ImageRefresh
from twisted_executor.server import ServerService
from twisted_executor.services import Supervised, Threads, periodic
from twisted_executor.source import EngineSource
from twisted_executor.status import StatusBoard
from twisted_executor.web import API

LANES = {"control": 6, "removal": 4, "pulls": 2}  # how many calls of each kind run at once
WATCH_INTERVAL = 2.0  # seconds between questions to the engine
SWEEP_INTERVAL = 30.0
OPEN = "There are no API keys: who reaches this port can run scripts. Set API_KEYS_FILE, or let only yourself reach it."

OPEN_FIGURES = "Who reaches this port sees all figures, without a key. Let only your Prometheus reach it."


class Assembly:
    """The parts, each with those that it needs; nothing of it runs before its services start.

    @ivar logs: None where twistd was told to log elsewhere (--syslog, --logger).
    """

    def __init__(self, options: Options, reactor: Any) -> None:
        self._settings = settings = options.configuration
        self._reactor = reactor
        self._keys = options.api_keys
        self._listen = options["listen"]
        self.logs = own_logs(options, reactor)
        self._requests = RequestLog(options.level, reactor)
        self._lanes = {name: Threads(f"{name} threads", size, reactor) for name, size in LANES.items()}

        instance = secrets.token_hex(6)
        configured = policies.references(settings)
        meters = Metrics(CollectorRegistry(), reactor, self._watched(), configured, instance)
        self._counters = counters = meters.counters
        engine = self._engine(options.credentials)
        self._watch = EngineWatch(engine)
        images = ImageStore(engine, policies.pull_policy(settings), reactor, random.random)
        self._source = EngineSource(
            engine,
            _endpoint(settings.docker_host, reactor),
            images,
            agent_volume,
            policies.source_policy(settings, instance),
            reactor,
            secrets.randbelow,
        )
        source = MeteredSource(self._source, counters.made, reactor)
        self._pools, watched = self._standing(source)
        self._temporary = WarmPool(source, policies.temporary_policy(settings), reactor, random.random)
        self._refresh = ImageRefresh(images, {image: self._pools[canonical(image)] for image in configured})
        self._executor = Executor(
            settings.base_image,
            {reference: self._metered(pool) for reference, pool in watched.items()},
            self._metered(self._temporary),
            images,
            reactor,
            settings.queue_size,
            settings.drain_timeout,
        )
        self._canary = self._all_canaries()
        health = Health(self._executor.stats, self._watch, lambda: self._source.concessions, self._canary.figures)
        board = StatusBoard(reactor, self._stats, health, versions()[0])
        rules = policies.web_rules(settings, self._keys, sum(LANES.values()))
        front = self._front([pool.journal for pool in watched.values()])
        api = API(front, health, meters, board, rules, partial(secrets.token_hex, 8))
        self._site = api.site(reactor, counters.answered, board.answered, self._requests)
        self._figures = api.figures_site(reactor, counters.answered, self._requests)

    def _stats(self) -> ExecutorStats:
        """The executor's, with what the refresh of images has to say."""
        return self._refresh.noted(self._executor.stats())

    def _watched(self) -> Watched:
        """What the figures are read from, whenever somebody asks."""
        return Watched(
            executor=self._stats,
            lanes=lambda: {name: lane.load() for name, lane in self._lanes.items()},
            streams=lambda: self._source.streams,
            leaks=lambda: self._source.leaks,
            canary=lambda: self._canary.figures(),
            connections=lambda: self._site.open_connections + self._figures.open_connections,
            lost_events=lambda: self.logs.lost if self.logs is not None else {},
        )

    def _engine(self, credentials: Credentials) -> MeteredEngine:
        settings = self._settings
        limits, pull_timeout = policies.limits(settings), settings.custom_image_pull_timeout
        docker = DockerEngine(settings.docker_host, limits, pull_timeout, credentials, self._reactor, **self._lanes)
        return MeteredEngine(docker, self._counters.called, self._reactor)

    def _standing(self, source: ISandboxSource) -> tuple[dict[str, WarmPool], dict[str, WatchedPool]]:
        """The configured pools by canonical reference, the default one first; and the same, watched."""
        pools: dict[str, WarmPool] = {}
        watched: dict[str, WatchedPool] = {}
        for name, policy in policies.pool_policies(self._settings).items():
            creations = Creations()
            timed = MeteredSource(source, creations.made, self._reactor)
            pools[name] = WarmPool(timed, policy, self._reactor, random.random)
            watched[name] = WatchedPool(pools[name], creations, self._reactor)
        return pools, watched

    def _metered(self, pool: IPool) -> IPool:
        return cast(IPool, MeteredPool(pool, self._counters.taken, self._reactor))

    def _all_canaries(self) -> Canary:
        """Of all pools, or of none."""
        settings = self._settings
        pools = self._pools.values() if settings.canary_interval else ()
        return Canary(
            [(pool.stats().image, pool) for pool in pools],
            lambda: self._executor.draining,
            lambda image: self._counters.runs.get(image, Status.OK.value),
            self._reactor,
            settings.canary_interval,
            min(LIMIT, settings.timeout),
        )

    def _front(self, journals: list[Any]) -> IExecutor:
        """The executor as requests meet it: counted, each tenant within its quota, refusals noted for the pools."""
        executor: IExecutor = cast(IExecutor, WatchedExecutor(self._executor, journals, self._reactor))
        if (quota := policies.quota(self._settings)) is not None:
            executor = cast(IExecutor, QuotaExecutor(executor, quota, self._reactor))
        return cast(IExecutor, MeteredExecutor(executor, self._counters.ran))

    def services(self) -> Iterator[IService]:
        """In the order of their start; they stop in the reverse, one after another."""
        settings, reactor = self._settings, self._reactor
        yield from () if self.logs is None else self.logs.services
        yield self._requests
        if self._keys is not None:
            yield Hangup(self._keys, reactor)
        yield from self._lanes.values()
        yield Supervised("engine watch", periodic(self._watch.look, reactor, WATCH_INTERVAL), reactor)
        yield Supervised("sweep", periodic(self._source.sweep, reactor, SWEEP_INTERVAL), reactor)
        yield LagWatch(reactor, self._counters.lagged)
        if settings.metrics_listen:  # before the pools, so that it is there until they are empty
            yield self._figures_server()
        yield self._every_pool()
        if settings.image_refresh_interval:
            yield Supervised(
                "image refresh", periodic(self._refresh.look, reactor, settings.image_refresh_interval), reactor
            )
        yield self._executor
        if settings.canary_interval:
            yield Supervised("canary", self._canary.watch, reactor)
        caution = OPEN if self._keys is None else ""
        yield ServerService(self._listen, self._site, self._executor.drain, settings.drain_delay, reactor, caution)

    def _figures_server(self) -> IService:
        where = [self._settings.metrics_listen]
        server = ServerService(where, self._figures, lambda: None, 0.0, self._reactor, OPEN_FIGURES)
        server.setName("figures")
        return server

    def _every_pool(self) -> IService:
        """All at once: none of them needs another."""
        every = MultiService()
        for pool in (*self._pools.values(), self._temporary):
            pool.setServiceParent(every)
        return every


def own_logs(options: Options, reactor: Any) -> Logs | None:
    """Ours, writing where twistd would; None where twistd was told to log elsewhere (--syslog, --logger)."""
    parent = cast("Mapping[str, Any]", getattr(options, "parent", None) or {})
    if parent.get("syslog") or parent.get("logger"):
        return None
    settings = options.configuration
    path = parent.get("logfile") or ("-" if parent.get("nodaemon", True) else "twistd.log")
    return Logs(options.level, settings.log_format, path, settings.syslog, reactor)


def _endpoint(docker_host: str, reactor: Any) -> IStreamClientEndpoint:
    url = urlsplit(docker_host)
    if url.scheme == "unix":
        return UNIXClientEndpoint(reactor, url.path, timeout=10)
    return HostnameEndpoint(reactor, url.hostname or "localhost", url.port or 2375)
