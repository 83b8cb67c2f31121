"""The real source on the real engine, in this process."""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass
from typing import Any

from twisted.internet.endpoints import UNIXClientEndpoint

from tests.engine.server_process import BUSYBOX
from twisted_executor.agent import agent_volume
from twisted_executor.confinement import Confinement
from twisted_executor.engine.control import DockerEngine, Limits
from twisted_executor.engine.credentials import Credentials
from twisted_executor.image_store import ImageStore, PullPolicy
from twisted_executor.run import RunPolicy
from twisted_executor.services import Threads
from twisted_executor.source import EngineSource, SourcePolicy

MIB = 1 << 20
SOCKET = "/var/run/docker.sock"


@dataclass
class Made:
    """A source and what it is made of."""

    source: EngineSource
    engine: DockerEngine
    instance: str
    reactor: Any


def make(reactor: Any, lanes: dict[str, Threads]) -> Made:
    instance = f"test{secrets.token_hex(4)}"
    engine = DockerEngine(
        f"unix://{SOCKET}", Limits(256 * MIB, 0.5, 128, 4 * MIB), 30, Credentials("", {}), reactor, **lanes
    )
    policy = SourcePolicy(
        instance=instance,
        fillers=(BUSYBOX,),
        tmp=64 * MIB,
        rest=60 * MIB,
        confinement=Confinement(256 * MIB, 0.5, 128, frozenset({"memory", "swap", "cpu", "pids"})),
        run=RunPolicy(MIB),
    )
    images = ImageStore(engine, PullPolicy("", 0, frozenset()), reactor, random.random)
    endpoint = UNIXClientEndpoint(reactor, SOCKET)
    source = EngineSource(engine, endpoint, images, agent_volume, policy, reactor, secrets.randbelow)
    return Made(source, engine, instance, reactor)
