"""Images: pools, temporary containers, pulls, and images that mean ill."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import docker

from tests.engine.registry import Registry
from tests.engine.server_process import ServerProcess, free_port, wait_until

REPOSITORY = "script-executor-test"


def test_custom_pool(start: Callable[..., ServerProcess]) -> None:
    """A configured pool is warm, and found by any spelling of its image."""
    image = f"{REPOSITORY}:volumes"
    server = start(CUSTOM_POOLS=f"{image}=1").ready()
    assert server.pool(image)["pool_size"] == 1
    answer = server.execute("echo hi", image=f"docker.io/library/{image}")
    assert (answer["stdout"], answer["warm"], answer.json["success"]) == ("hi\n", True, True)
    assert server.pool(image)["total_executions"] == 1
    assert server.get("/metrics")["pools_active"] == 2


def test_image_settings(start: Callable[..., ServerProcess]) -> None:
    """An image's entrypoint, user, folder and health check do not matter; its environment and volumes do."""
    image = f"{REPOSITORY}:volumes"
    server = start(CUSTOM_POOLS=f"{image}=1").ready()
    assert server.output("echo $GREETING; pwd", image=image) == "from the image\n/tmp\n"
    server.output("echo x > /data/mine; echo y > '/var/lib/cache dir/mine'", image=image)
    assert server.output("ls -A /data '/var/lib/cache dir'", image=image).split() == [
        "/data:",
        "/var/lib/cache",
        "dir:",
    ]
    assert server.execute("head -c 300m /dev/zero > /data/x", image=image)["exit_code"] == 1


def test_temporary(start: Callable[..., ServerProcess]) -> None:
    """An image without a pool works; the second request finds the container warm."""
    server = start().ready()
    image = f"{REPOSITORY}:volumes"
    first = server.execute("echo hi", image=image)
    assert (first["stdout"], first["warm"], first["image"]) == ("hi\n", False, image)
    second = wait_until(lambda: server.execute("echo hi", image=image), "an answer")
    assert second["warm"] is True


def test_temporary_idle_ttl(
    start: Callable[..., ServerProcess], containers_of: Callable[[ServerProcess], list[str]]
) -> None:
    """A temporary container goes after its rest."""
    server = start(TEMPORARY_IDLE_TTL="1", POOL_SIZE="1").ready()
    server.output("echo hi", image=f"{REPOSITORY}:volumes")
    assert len(containers_of(server)) == 2
    wait_until(lambda: len(containers_of(server)) == 1, "it is gone", 10)


def test_most_temporary(start: Callable[..., ServerProcess]) -> None:
    """At the most temporary containers the one that has rested longest goes."""
    server = start(MAX_TEMPORARY="1").ready()
    for name in ("volumes", "fake-agent", "volumes"):
        assert server.execute("echo hi", image=f"{REPOSITORY}:{name}")["warm"] is False


def test_image_that_does_not_exist(start: Callable[..., ServerProcess]) -> None:
    """An image that nobody has is 422, or 503 where no registry can be asked; again, at once, from memory."""
    server = start(CUSTOM_IMAGE_PULL_RETRIES="0").ready()
    answer = server.execute("echo hi", image="localhost:1/no/such")
    assert answer.status in (422, 503)
    assert "localhost:1/no/such" in answer["error"]
    began = time.monotonic()
    assert server.execute("echo hi", image="localhost:1/no/such").status == answer.status
    assert time.monotonic() - began < 0.5


def test_registry_without_the_image(start: Callable[..., ServerProcess], registry: Registry) -> None:
    """An image that its registry does not have is 422 image_not_found."""
    server = start().ready()
    answer = server.execute("echo hi", image=f"{registry.address}/team/missing:1")
    assert (answer.status, answer["code"], answer["exit_code"]) == (422, "image_not_found", None)


def test_unreachable_registry(start: Callable[..., ServerProcess]) -> None:
    """A registry that cannot be reached is 503 image_unavailable, after the retries."""
    server = start(CUSTOM_IMAGE_PULL_RETRIES="1").ready()
    began = time.monotonic()
    answer = server.execute("echo hi", image=f"127.0.0.1:{free_port()}/x:1")
    assert (answer.status, answer["code"]) == (503, "image_unavailable")
    assert "Retry-After" in answer.headers
    assert time.monotonic() - began > 0.5


def test_pull(start: Callable[..., ServerProcess], registry: Registry) -> None:
    """An image that only the registry has is pulled once for all, and runs."""
    server = start().ready()
    image = f"{registry.address}/team/small:1"
    assert server.output("echo pulled", image=image) == "pulled\n"
    assert server.log.count('"event": "pulling"') == 1


def test_custom_image_registry(start: Callable[..., ServerProcess], registry: Registry) -> None:
    """A name without a registry is looked for in the configured one, for requests and for pools."""
    server = start(CUSTOM_IMAGE_REGISTRY=f"http://{registry.address}/", CUSTOM_POOLS="team/small:1=1").ready()
    assert server.pool("team/small:1")["available_containers"] == 1
    assert server.execute("echo hi", image="team/small:1")["warm"] is True


def test_image_with_its_own_agent(start: Callable[..., ServerProcess], engine: docker.APIClient) -> None:
    """An image that brings a file where our agent is mounted gets ours all the same, even to fill the volume."""
    image = f"{REPOSITORY}:fake-agent"
    for volume in engine.volumes(filters={"name": "twisted-executor-agent-"})["Volumes"] or ():
        with contextlib.suppress(docker.errors.APIError):  # in use by the server of another test: filled already
            engine.remove_volume(volume["Name"])
    server = start(BASE_IMAGE=image).ready()
    assert server.output("echo ours") == "ours\n"


def test_image_without_a_shell(start: Callable[..., ServerProcess]) -> None:
    """An image without /bin/sh says so; what names its interpreter runs."""
    image = f"{REPOSITORY}:noshell"
    server = start(CUSTOM_POOLS=f"{image}=1").ready()
    answer = server.execute("echo hi", image=image)
    assert (answer.status, answer["exit_code"]) == (200, 127)
    assert "/bin/sh" in answer["error"]
    assert server.output("#!/bin/busybox echo", image=image) == "/.script/script\n"


def test_python(start: Callable[..., ServerProcess]) -> None:
    """Python scripts run in a Python image."""
    image = f"{REPOSITORY}:python"
    server = start(CUSTOM_POOLS=f"{image}=1").ready()
    script = "#!/usr/bin/python3\nimport sys, os\nprint(sum(range(10)), sys.stdin.read(), sys.argv[1:])"
    assert server.output(script, image=image, stdin="in", args=["a"]) == "45 in ['a']\n"
    out = server.output("python3 -c 'import multiprocessing as m; print(m.Pool(2).map(abs, [-1, 2]))'", image=image)
    assert out == "[1, 2]\n"


def test_failing_pool(start: Callable[..., ServerProcess]) -> None:
    """A custom pool that cannot be filled makes the server degraded, in words; the others serve."""
    image = f"127.0.0.1:{free_port()}/gone:1"
    server = start(CUSTOM_POOLS=f"{image}=1", CUSTOM_IMAGE_PULL_RETRIES="0")
    wait_until(server.listening, "it listens")
    wait_until(lambda: server.get("/health").status == 200, "it is not unhealthy")
    report = wait_until(
        lambda: (found := server.get("/health").json)["status"] == "degraded" and image in str(found) and found,
        "degraded",
    )
    assert report["reasons"]
    assert server.output("echo hi") == "hi\n"
    assert server.execute("echo hi", image=image).status == 503
