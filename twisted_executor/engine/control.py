"""The control plane: docker-py in threads.

Each thread has a client of its own, which keeps no connection after a call: docker-py's keeps one for each URL, up to
25, and closes those in use when it has more (its num_pools is overlooked but for ssh).

Every failure becomes an L{EngineError} here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

from docker import APIClient
from docker.types import LogConfig, Mount, Ulimit
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from twisted_executor.boundaries import (
    ContainerSpec,
    ContainerSummary,
    Created,
    EngineInfo,
    Fate,
    IEngine,
    ImageInfo,
)
from twisted_executor.engine import calls
from twisted_executor.engine.calls import AGENT_FOLDER, CALL_LIMIT
from twisted_executor.engine.credentials import Credentials
from twisted_executor.engine.pulling import late, pull
from twisted_executor.engine.translation import LOOK, translated
from twisted_executor.errors import EngineError, EngineTimeout
from twisted_executor.services import Threads, shielded

T = TypeVar("T")

SCRIPT_FOLDER = "/.script"
LATE = f"The engine did not answer within {CALL_LIMIT:g} seconds; {LOOK}."
THREAD_LIMIT = 600.0  # seconds that a call waits for a thread; its own limit counts from then
INODES = 16384  # of each tmpfs: it bounds the time of a wipe
TMPFS_OPTIONS = f"nr_inodes={INODES},nosuid,nodev,exec"


@dataclass(frozen=True, slots=True)
class Limits:
    """What every container gets.

    @ivar memory: bytes, swap included.  @ivar cpu: processors.  @ivar script: bytes, of the script's own tmpfs.
    @ivar runtime: the engine's name of it; empty: its default.  @ivar ptrace: for debuggers and sanitizers.
    """

    memory: int
    cpu: float
    pids: int
    script: int
    runtime: str = ""
    ptrace: bool = False


class _Client(APIClient):
    """docker-py sends some calls (pull, events, attach) without any timeout.

    And it would read docker's own file for each client, and make none where that is malformed.
    """

    @property
    def _general_configs(self) -> dict[str, Any]:
        return {"proxies": {}}  # an empty one it would take for none, and look for the file again

    @_general_configs.setter
    def _general_configs(self, found: object) -> None:
        pass

    def send(self, request: Any, **kwargs: Any) -> Any:
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self.timeout
        return super().send(request, **kwargs)


@implementer(IEngine)
class DockerEngine:
    """One Docker engine.

    Three pools of threads, so that a slow pull never delays a creation and nothing delays a kill.
    """

    def __init__(
        self,
        url: str,
        limits: Limits,
        pull_timeout: float,
        credentials: Credentials,
        clock: IReactorTime,
        control: Threads,
        removal: Threads,
        pulls: Threads,
    ) -> None:
        """@param url: unix:///path or tcp://host:port.  @param pull_timeout: seconds for one attempt."""
        self._url = url
        self._limits = limits
        self._pull_timeout = pull_timeout
        self._credentials = credentials
        self._clock = clock
        self._control = control
        self._removal = removal
        self._pulls = pulls
        self._local = threading.local()

    def info(self) -> Deferred[EngineInfo]:
        """Ask the engine who it is."""
        return self._call(self._control, self._info)

    def now(self) -> Deferred[float]:
        """The engine's own clock."""
        return self._call(self._control, lambda client: calls.seconds(client.info()["SystemTime"]))

    def create(self, spec: ContainerSpec) -> Deferred[Created]:
        """Create a container with all limits."""
        return self._call(self._control, self._create, spec)

    def start(self, container: str) -> Deferred[None]:
        """Start it."""
        return self._call(self._control, lambda client: client.start(container))

    def remove(self, container: str) -> Deferred[None]:
        """Kill and remove it, with its anonymous volumes."""
        return self._call(self._removal, calls.remove, container)

    def containers(self, labels: Mapping[str, str]) -> Deferred[tuple[ContainerSummary, ...]]:
        """All containers with these labels."""
        return self._call(self._control, calls.containers, labels)

    def fate(self, container: str) -> Deferred[Fate]:
        """What happened to it."""
        return self._call(self._control, calls.fate, container)

    def image(self, reference: str) -> Deferred[ImageInfo]:
        """Look at an image."""
        return self._call(self._control, calls.image, reference)

    def pull(self, reference: str) -> Deferred[None]:
        """One attempt, within the pull timeout."""
        limit = self._pull_timeout
        args = (self._url, reference, self._credentials, limit)
        return self._call(self._pulls, pull, *args, limit=limit, late=late(limit))

    def fill_volume(
        self, volume: str, image: str, name: str, labels: Mapping[str, str], agent: bytes
    ) -> Deferred[None]:
        """Put the agent into the volume."""
        return self._call(self._control, calls.fill_volume, volume, image, name, labels, agent)

    # In a thread

    def _call(
        self, threads: Threads, work: Callable[..., T], *args: Any, limit: float = CALL_LIMIT, late: str = LATE
    ) -> Deferred[T]:
        def blocking() -> T:
            try:
                with closing(self._client(limit)) as client:  # of its connections; it can be used again
                    return work(client, *args)
            except EngineError:
                raise
            except Exception as error:
                raise translated(error, self._url) from error

        async def bounded() -> T:
            begun, answer = threads.begin(blocking)
            try:
                await shielded(begun).addTimeout(THREAD_LIMIT, self._clock)
                # The client's own limit is for each read, so this one is later and is for the whole.
                return await answer.addTimeout(limit + 1.0, self._clock)
            except TimeoutError:
                if not begun.called:
                    raise EngineTimeout(
                        f"The engine has been busy with others for {THREAD_LIMIT:g} seconds; {LOOK}."
                    ) from None
                raise EngineTimeout(late) from None

        return Deferred.fromCoroutine(bounded())

    def _client(self, timeout: float) -> APIClient:
        client: APIClient | None = getattr(self._local, "client", None)
        if client is None:
            client = _Client(base_url=self._url, version="auto", timeout=int(timeout))
            client.trust_env = False  # else HTTP_PROXY catches tcp:// engines
            self._local.client = client
        client.timeout = int(timeout)
        return client

    def _info(self, client: APIClient) -> EngineInfo:
        info = client.info()
        return EngineInfo(
            version=info["ServerVersion"],
            api_version=client.api_version,
            architecture=info["Architecture"],
            cgroup_version=info.get("CgroupVersion", "1"),
            runtimes=frozenset(info.get("Runtimes") or ()),
        )

    def _create(self, client: APIClient, spec: ContainerSpec) -> Created:
        answer = client.create_container(
            image=spec.image.id,
            entrypoint=[f"{AGENT_FOLDER}/agent"],
            command=[*(["ptrace"] if self._limits.ptrace else []), *spec.tmpfs],
            user="0:0",
            working_dir="/",
            hostname="sandbox",
            name=spec.name,
            labels=dict(spec.labels),
            stdin_open=True,  # and not detached, which makes docker-py set StdinOnce
            healthcheck={"test": ["NONE"]},
            use_config_proxy=False,
            host_config=self._host_config(client, spec),
        )
        return Created(answer["Id"], tuple(answer.get("Warnings") or ()))

    def _host_config(self, client: APIClient, spec: ContainerSpec) -> dict[str, Any]:
        limits = self._limits
        tmpfs = {where: f"size={size},mode=1777,{TMPFS_OPTIONS}" for where, size in spec.tmpfs.items()}
        tmpfs[SCRIPT_FOLDER] = f"size={limits.script},mode=0755,{TMPFS_OPTIONS}"
        config: dict[str, Any] = client.create_host_config(
            network_mode="none",
            read_only=True,
            ipc_mode="private",
            cap_drop=["ALL"],
            cap_add=["SETUID", "SETGID", "KILL"],
            security_opt=["no-new-privileges:true"],
            mem_limit=limits.memory,
            memswap_limit=limits.memory,
            nano_cpus=int(limits.cpu * 1e9),
            pids_limit=limits.pids,
            tmpfs=tmpfs,
            mounts=[Mount(AGENT_FOLDER, spec.volume, read_only=True, no_copy=True)],
            sysctls={"net.ipv4.tcp_max_tw_buckets": "0"},  # else a port stays taken for the next run
            ulimits=[
                Ulimit(name="nofile", soft=1024, hard=4096),
                Ulimit(name="core", soft=1, hard=1),  # 1, not 0: only that ends a piped core_pattern (core(5))
                Ulimit(name="msgqueue", soft=0, hard=0),
            ],
            log_config=LogConfig(type="none"),
            auto_remove=True,
            runtime=limits.runtime or None,  # in create_container the engine would overlook it
        )
        return config
