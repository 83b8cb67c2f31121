"""What the settings mean for each part of the server.  Pure but for a look at how many descriptors there may be."""

from __future__ import annotations

from twisted_executor.config import TEMPORARY, Settings
from twisted_executor.confinement import Confinement
from twisted_executor.descriptors import allowed as allowed_descriptors
from twisted_executor.descriptors import left_for_clients
from twisted_executor.engine.control import Limits
from twisted_executor.image_store import PullPolicy
from twisted_executor.images import canonical
from twisted_executor.keys import KeyFile
from twisted_executor.planning import Capacity
from twisted_executor.pool import PoolPolicy
from twisted_executor.quota import Quota
from twisted_executor.run import RunPolicy
from twisted_executor.source import SourcePolicy
from twisted_executor.web import FEW, WebRules

MOST_CONNECTIONS = 1000  # of clients; half of them from one address


def references(settings: Settings) -> tuple[str, ...]:
    """All configured images, as the operator wrote them, the default one first."""
    return (settings.base_image, *(pool.image for pool in settings.custom_pools))


def web_rules(settings: Settings, keys: KeyFile | None, calls: int) -> WebRules:
    """What requests may be.  @param calls: to the engine, at most at once."""
    allowed = settings.allowed_images
    return WebRules(
        timeout=settings.timeout,
        body=settings.max_request_bytes,
        waiting=settings.max_waiting_bytes,
        connections=min(MOST_CONNECTIONS, _left_for_clients(settings, calls)),
        hosts=settings.allowed_hosts,
        keys=keys,
        allowed=allowed,
        allowed_canonical=frozenset(map(canonical, (*allowed, *references(settings)))) if allowed else frozenset(),
        console=settings.console,
    )


def _left_for_clients(settings: Settings, calls: int) -> int:
    """Descriptors for connections, of all that this process may have."""
    containers = settings.pool_size + sum(pool.size for pool in settings.custom_pools) + settings.max_temporary
    figures = FEW if settings.metrics_listen else 0
    return left_for_clients(allowed_descriptors(), containers, calls + figures)


def limits(settings: Settings) -> Limits:
    """What every container gets."""
    return Limits(
        memory=settings.memory_limit,
        cpu=settings.cpu_limit,
        pids=settings.pids_limit,
        script=settings.max_request_bytes,
        runtime=settings.container_runtime,
        ptrace="ptrace" in settings.seccomp_allow,
    )


def pull_policy(settings: Settings) -> PullPolicy:
    """Where images come from."""
    return PullPolicy(
        registry=settings.custom_image_registry,
        retries=settings.custom_image_pull_retries,
        plain=frozenset({settings.base_image}),
    )


def source_policy(settings: Settings, instance: str) -> SourcePolicy:
    """How containers are made."""
    return SourcePolicy(
        instance=instance,
        fillers=references(settings),
        tmp=settings.tmpfs_size,
        rest=settings.tmpfs_rest,
        confinement=Confinement(
            settings.memory_limit, settings.cpu_limit, settings.pids_limit, settings.require_limits
        ),
        run=RunPolicy(settings.max_output_bytes),
    )


def pool_policies(settings: Settings) -> dict[str, PoolPolicy]:
    """Of the configured pools by canonical reference, the default one first."""
    sizes = {settings.base_image: settings.pool_size} | {pool.image: pool.size for pool in settings.custom_pools}
    return {canonical(image): _pool_policy(settings, image, Capacity(size, image)) for image, size in sizes.items()}


def temporary_policy(settings: Settings) -> PoolPolicy:
    """Of the pool for all other images."""
    return _pool_policy(settings, TEMPORARY, Capacity(settings.max_temporary, None), settings.temporary_idle_ttl)


def _pool_policy(settings: Settings, label: str, capacity: Capacity, idle_ttl: float | None = None) -> PoolPolicy:
    return PoolPolicy(
        label=label,
        capacity=capacity,
        queue_size=settings.queue_size,
        queue_timeout=settings.queue_timeout,
        max_uses=settings.container_max_uses,
        max_age=settings.container_max_age,
        idle_ttl=idle_ttl,
    )


def quota(settings: Settings) -> Quota | None:
    """How much one tenant may have; None: all."""
    if settings.tenant_max_running is None:
        return None
    return Quota(settings.tenant_max_running, settings.tenant_max_waiting, settings.queue_timeout)
