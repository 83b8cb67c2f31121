"""Every single call to the engine fails in every way, in every operation; afterwards all is as it was."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from uuid import uuid4

import docker
import pytest

from tests.engine.server_process import Answer, ServerProcess, wait_until
from tests.robustness.impatient import impatient
from tests.robustness.invariants import RECOVERY, Invariants
from tests.robustness.proxy import Proxy, Way, every, of_operations

NOSHELL = "script-executor-test:noshell"
NOWHERE = "127.0.0.1:9/absent"  # nobody listens there
TRUTHFUL = {"engine_unavailable", "image_unavailable", "sandbox_lost", "overloaded"}
MOST_CALLS = 40  # of one operation
NOTHING_LEFT = 15.0  # seconds after the end of a server
QUICK = (Way.RESET, Way.BROKEN, Way.LATE)
LONG = [pytest.mark.long, pytest.mark.timeout(1200)]

quick_ways = pytest.mark.parametrize(
    "way", [way if way in QUICK else pytest.param(way, marks=LONG) for way in Way], ids=str
)
all_ways = pytest.mark.parametrize("way", [pytest.param(way, marks=LONG) for way in Way], ids=str)


def each_call(proxy: Proxy, ways: Callable[[int], Way], operate: Callable[[int], None], background: bool) -> None:
    """Do it with its first call failing, its second, and so on, until no call of it is left to fail.

    @param background: whether what the server asks by itself counts too.
    """
    for k in range(1, MOST_CALLS):
        proxy.arm(k, ways(k), every if background else of_operations)
        try:
            operate(k)
        except BaseException as error:
            error.add_note(f"call {k} is {ways(k)}: {proxy.hit} of {[str(call) for call in proxy.calls]}")
            raise
        if proxy.disarm() is None:
            assert k > 1, "nothing was called"
            return
    raise AssertionError(f"the operation has more than {MOST_CALLS} calls")


@contextmanager
def behind(proxy: Proxy, volume: str = "", **settings: str) -> Iterator[ServerProcess]:
    """An impatient server whose engine is behind the proxy."""
    server = ServerProcess(twistd=impatient(volume), DOCKER_HOST=proxy.url, **{"POOL_SIZE": "1"} | settings)
    try:
        yield server
    finally:
        server.discard()


def truthful(answer: Answer, nonce: str) -> None:
    """It is the answer to this request, or says why there is none."""
    if answer.status == 200:
        assert answer["stdout"] == f"{nonce}\n", answer
    elif answer.status == 503:
        assert answer["code"] in TRUTHFUL, answer
        assert int(answer.headers["Retry-After"]) >= 1
    else:
        assert (answer.status, answer["code"]) == (422, "image_not_found"), answer


def echo(server: ServerProcess) -> Answer:
    """Run a script that any server can run; the answer is looked at."""
    nonce = uuid4().hex
    answer = server.execute(f"echo {nonce}")
    truthful(answer, nonce)
    return answer


def nothing_left(engine: docker.APIClient, instance: str) -> None:
    """No container of a server that has ended is there any more, soon."""
    label = {"label": f"twisted-executor.instance={instance}"}
    wait_until(lambda: not engine.containers(all=True, filters=label), "no container is left", NOTHING_LEFT)


def starts(proxy: Proxy, engine: docker.APIClient, **settings: str) -> None:
    """Start, answer while it starts, become ready, be whole then, and leave nothing."""
    with behind(proxy, **settings) as server, ThreadPoolExecutor() as threads:
        wait_until(server.listening, "it listens")
        early = threads.submit(echo, server)
        server.ready(RECOVERY)
        early.result(RECOVERY)
        server.full()
        proxy.disarm()
        Invariants.of(server, engine).check()
        instance = server.instance
    nothing_left(engine, instance)


def test_start(proxy: Proxy, engine: docker.APIClient) -> None:
    """Each call of the start fails in one way, another for the next."""
    each_call(proxy, lambda k: QUICK[k % len(QUICK)], lambda _: starts(proxy, engine), background=True)


@all_ways
def test_start_every_way(proxy: Proxy, engine: docker.APIClient, way: Way) -> None:
    """Each call of the start fails."""
    each_call(proxy, lambda _: way, lambda _: starts(proxy, engine), background=True)


@all_ways
def test_start_that_fills(proxy: Proxy, engine: docker.APIClient, way: Way) -> None:
    """Each call of a start fails that also has to bring the agent to the engine."""

    def operate(_: int) -> None:
        volume = f"twisted-executor-agent-test-{uuid4().hex[:12]}"
        try:
            starts(proxy, engine, volume=volume)
        finally:
            for left in engine.containers(all=True, filters={"volume": volume}):
                engine.remove_container(left["Id"], force=True)
            with suppress(docker.errors.NotFound):
                engine.remove_volume(volume)

    each_call(proxy, lambda _: way, operate, background=True)


@quick_ways
def test_execute_and_refill(proxy: Proxy, engine: docker.APIClient, way: Way) -> None:
    """Each call fails that replaces a container after a run that took too long."""
    with behind(proxy) as server:
        invariants = Invariants.of(server.ready(), engine)

        def operate(_: int) -> None:
            nonce = uuid4().hex
            answer = server.execute(f"echo {nonce}; sleep 20", timeout=0.5)
            assert (answer.status, answer["status"], answer["stdout"]) == (200, "timeout", f"{nonce}\n")
            echo(server)
            invariants.check()

        each_call(proxy, lambda _: way, operate, background=False)


@all_ways
def test_temporary(proxy: Proxy, engine: docker.APIClient, way: Way) -> None:
    """Each call fails that makes and removes a container of an image without a pool."""
    with behind(proxy, TEMPORARY_IDLE_TTL="0", CUSTOM_IMAGE_PULL_RETRIES="0") as server:
        invariants = Invariants.of(server.ready(), engine)

        def empty() -> bool:
            pool = server.pool("temporary")
            return not any(pool[f"{state}_containers"] for state in ("available", "busy", "creating", "retiring"))

        def operate(_: int) -> None:
            nonce = uuid4().hex
            truthful(server.execute(f"#!/bin/busybox sh\necho {nonce}", image=NOSHELL), nonce)
            wait_until(empty, "the temporary container is gone", RECOVERY)
            invariants.check()

        each_call(proxy, lambda _: way, operate, background=False)


@all_ways
def test_failing_pull(proxy: Proxy, engine: docker.APIClient, way: Way) -> None:
    """Each call fails of a request whose image cannot be had anyway."""
    names = count()
    with behind(proxy, CUSTOM_IMAGE_PULL_RETRIES="1", CUSTOM_IMAGE_PULL_TIMEOUT="2") as server:
        invariants = Invariants.of(server.ready(), engine)

        def operate(_: int) -> None:
            answer = server.execute("echo never", image=f"{NOWHERE}:{next(names)}")
            truthful(answer, "no script can run")
            invariants.check()

        each_call(proxy, lambda _: way, operate, background=False)


@all_ways
def test_shutdown(proxy: Proxy, engine: docker.APIClient, way: Way) -> None:
    """Each call of a stop fails; the process ends and its containers with it."""

    def operate(k: int) -> None:
        proxy.disarm()
        with behind(proxy, POOL_SIZE="2", DRAIN_TIMEOUT="1") as server:
            server.ready().full()
            instance = server.instance
            proxy.arm(k, way, of_operations)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(60) in (-signal.SIGTERM, 1)
            nothing_left(engine, instance)
            assert "Traceback" not in server.log, server.log

    each_call(proxy, lambda _: way, operate, background=False)
