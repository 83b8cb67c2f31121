"""A tag that means another image while the server runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker

from tests.engine.registry import Registry
from tests.engine.server_process import BUSYBOX, ServerProcess, wait_until

IMAGE = "team/app:1"
LOCAL = "script-executor-test-local:1"


def version(registry: Registry, engine: docker.APIClient, number: int, *lines: str) -> str:
    """One of these, as IMAGE in the registry and as LOCAL on the engine only; its id."""
    made = registry.make(f"ENV VERSION={number}", *lines)
    engine.tag(made, LOCAL)
    registry.push(made, IMAGE)
    return made


def images_of(engine: docker.APIClient, server: ServerProcess) -> set[str]:
    """The ids of the images of all containers of this server."""
    label = f"twisted-executor.instance={server.instance}"
    return {found["ImageID"] for found in engine.containers(all=True, filters={"label": label})}


def test_newer_image(registry: Registry, start: Callable[..., ServerProcess], engine: docker.APIClient) -> None:
    """Under load all runs go over to the newer image, none fails, and what is of the older one goes."""
    older = version(registry, engine, 1)
    server = start(
        BASE_IMAGE=LOCAL, POOL_SIZE="1", CUSTOM_IMAGE_REGISTRY=registry.address, CUSTOM_POOLS=f"{IMAGE}=3",
        IMAGE_REFRESH_INTERVAL="1",
    ).ready()  # fmt: skip
    assert server.output("echo $VERSION", image=IMAGE) == "1\n"
    assert images_of(engine, server) == {older}
    answers: list[Any] = []
    ends = time.monotonic() + 60
    over = False

    def load() -> None:
        while not over and time.monotonic() < ends:
            answers.append(server.execute("echo $VERSION; sleep 0.05", image=IMAGE))

    with ThreadPoolExecutor(5) as clients:
        loads = [clients.submit(load) for _ in range(4)]
        long = clients.submit(server.execute, "sleep 3; echo $VERSION", image=IMAGE)
        wait_until(lambda: len(answers) > 20, "there is load")
        newer = version(registry, engine, 2, "VOLUME /new")
        wait_until(lambda: images_of(engine, server) == {newer}, "all is new", 50)
        count = len(answers)
        wait_until(lambda: len(answers) > count + 20, "new ones serve")
        over = True
        for each in loads:
            each.result()
        assert long.result()["stdout"] == "1\n"
    assert [answer for answer in answers if answer.status != 200 or not answer["success"]] == []
    told = [answer["stdout"] for answer in answers]
    assert set(told) == {"1\n", "2\n"}
    assert set(told[-10:]) == {"2\n"}
    assert server.output("echo x > /new/mine && cat /new/mine", image=IMAGE) == "x\n"
    assert server.output("echo $VERSION") == "2\n"  # nobody was asked for this one
    pools = server.get("/metrics")["pool_metrics"]
    assert (pools[IMAGE]["containers_retired"], pools[LOCAL]["containers_retired"]) == ({"image": 3}, {"image": 1})
    for image in (IMAGE, LOCAL):
        assert f"{image} is now {newer}" in server.log
    assert "cannot be refreshed" not in server.log
    assert "Traceback" not in server.log


def test_registry_goes_and_comes(registry: Registry, start: Callable[..., ServerProcess]) -> None:
    """Without its registry all goes on with what is there; that is told once, counted, and over when it is back."""
    image = f"{registry.address}/team/small:1"
    server = start(
        CUSTOM_POOLS=f"{image}=1", IMAGE_REFRESH_INTERVAL="1", CUSTOM_IMAGE_PULL_RETRIES="0", POOL_SIZE="1"
    ).ready()
    registry.stop()
    wait_until(lambda: server.pool(image)["refresh_failure"], "it is noticed")
    time.sleep(2.5)  # for two more that fail
    assert "connection refused" in server.pool(image)["refresh_failure"]
    assert server.log.count("cannot be refreshed") == 1
    assert server.get("/health")["status"] == "healthy"
    text = server.get("/metrics", Accept="text/plain").body.decode()
    assert f'script_executor_image_refresh_failing{{image="{image}"}} 1\n' in text
    assert f'script_executor_image_refresh_failing{{image="{BUSYBOX}"}} 0\n' in text
    assert server.output("echo here", image=image) == "here\n"
    registry.start()
    wait_until(lambda: server.pool(image)["refresh_failure"] is None, "it is over")
    assert server.log.count("can be refreshed again") == 1
    assert server.pool(image)["containers_created"] == 1
