"""docker-stack.yml on a swarm of one node: load by name while a server is killed, ended, and all are replaced.

Kernels of small machines have no IPVS, so that the routing mesh is left out: names lead to the servers themselves.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from tests.engine.server_process import BUSYBOX, PROJECT, free_port, make_images, wait_until
from twisted_executor.source import INSTANCE_LABEL, LABEL

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]
STACK, SERVICE, NETWORK = "scripts-test", "scripts-test_script-executor", "scripts-test_default"
BASE, SERVER, CLIENT = "script-executor-base:debian", "script-executor-test:server", "script-executor-test:python"
CLIENTS = 4  # of swarm_client.py: so many requests are under way when a server is killed
SETTINGS = {
    "SERVER_IMAGE": SERVER, "BASE_IMAGE": BUSYBOX, "POOL_SIZE": "2", "REPLICAS": "3",
    "PORT_MODE": "host", "HOST_PORT": "0", "ENDPOINT_MODE": "dnsrr",
}  # fmt: skip


def told(*command: str, **environ: str) -> str:
    done = subprocess.run(
        command, cwd=PROJECT, env=os.environ | environ, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def swarm() -> Iterator[None]:
    """Of this node alone, which has all images."""
    if subprocess.run(["docker", "image", "inspect", BASE], capture_output=True, check=False).returncode:
        told("deploy/base-images.sh", "debian")
    make_images("busybox", "python")
    for certificate in Path("/usr/local/share/ca-certificates").glob("*.crt"):
        (PROJECT / "deploy/ca-certificates" / certificate.name).write_bytes(certificate.read_bytes())
    group = str(os.stat("/var/run/docker.sock").st_gid)
    told("docker", "build", "-t", SERVER, "--build-arg", f"BASE={BASE}", "--build-arg", f"DOCKER_GID={group}", ".")
    told("docker", "swarm", "init", "--advertise-addr", "127.0.0.1")
    try:
        yield
    finally:
        told("docker", "swarm", "leave", "--force")


@pytest.fixture(scope="module")
def stack(swarm: None) -> Iterator[None]:
    """Three servers."""
    told("docker", "stack", "deploy", "-c", "docker-stack.yml", STACK, **SETTINGS)
    wait_until(lambda: len(healthy()) == 3, "three healthy servers", 90)
    yield
    told("docker", "stack", "rm", STACK)
    wait_until(lambda: not servers(), "no servers", 90)


def servers(service: str = SERVICE) -> list[str]:
    return told("docker", "ps", "-q", "--filter", f"label=com.docker.swarm.service.name={service}").split()


def healthy() -> list[str]:
    return told("docker", "ps", "-q", "--filter", f"name={SERVICE}", "--filter", "health=healthy").split()


def status(port: int, *headers: str) -> str:
    """Of the answer to a script on a port of this node; 000 without one."""
    options = [word for header in ("Content-Type: application/json", *headers) for word in ("-H", header)]
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *options, "-d", '{"script": "echo hi"}']
    url = f"http://127.0.0.1:{port}/execute"
    return subprocess.run([*command, url], capture_output=True, text=True, timeout=60, check=False).stdout


def instance(server: str) -> str:
    """What a server calls itself in the labels of its containers."""
    script = (
        "import json, urllib.request as u; print(json.load(u.urlopen('http://127.0.0.1:8080/metrics'))['instance'])"
    )
    return told("docker", "exec", server, "python3", "-c", script).strip()


def sandboxes(engine: docker.APIClient, of: str = "") -> list[str]:
    """The containers of all servers, or of one."""
    label = f"{INSTANCE_LABEL}={of}" if of else LABEL
    return [container["Id"] for container in engine.containers(filters={"label": label})]


@contextmanager
def load(seconds: int) -> Iterator[Callable[[], tuple[int, list[str]]]]:
    """From a container in the same network; what is given waits for its end: right answers, and what was not right."""
    command = ["docker", "run", "--rm", "-i", "--network", NETWORK, CLIENT, "python3", "-"]
    client = (Path(__file__).parent / "swarm_client.py").read_text()
    with subprocess.Popen(
        [*command, "http://script-executor:8080", str(seconds)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(client)
        process.stdin.close()

        def end() -> tuple[int, list[str]]:
            assert process.stdout is not None
            *others, last = map(json.loads, process.stdout.read().splitlines())
            return last["right"], [other["result"] for other in others]

        yield end


def test_a_server_is_killed(stack: None, engine: docker.APIClient) -> None:
    """Only what it was doing is lost; its containers are gone in seconds, those of the others stay."""
    first, *others = servers()
    dead, living = instance(first), {name: sandboxes(engine, name) for name in map(instance, others)}
    with load(30) as end:
        time.sleep(5)  # it is under way
        told("docker", "kill", first)
        wait_until(lambda: not sandboxes(engine, dead), "the containers of the dead one are gone", 5)
        assert {name: sandboxes(engine, name) for name in living} == living
        right, wrong = end()
    assert right > 100
    assert len(wrong) <= CLIENTS, wrong
    assert all(result.startswith("cut") for result in wrong), wrong
    wait_until(lambda: len(healthy()) == 3, "another has come", 60)


def test_a_server_is_ended(stack: None, engine: docker.APIClient) -> None:
    """It serves what it has, and says to the others that it leaves: nothing is lost."""
    first = servers()[0]
    dead = instance(first)
    with load(30) as end:
        time.sleep(5)  # it is under way
        told("docker", "stop", "--time", "60", first)
        assert not sandboxes(engine, dead)
        right, wrong = end()
    assert right > 100
    assert wrong == []
    wait_until(lambda: len(healthy()) == 3, "another has come", 60)


def test_all_are_replaced(stack: None, engine: docker.APIClient) -> None:
    """An update, one after the other: nothing is lost, and nothing of the old ones is left."""
    before = set(map(instance, servers()))
    with load(120) as end:
        told("docker", "service", "update", "--detach=false", "--env-add", "LOG_LEVEL=warn", SERVICE)
        right, wrong = end()
    assert right > 100
    assert wrong == []
    wait_until(lambda: len(servers()) == 3, "three servers", 90)
    assert not before & set(map(instance, servers()))
    assert not [name for name in before if sandboxes(engine, name)]


def test_a_wrong_update(stack: None) -> None:
    """Settings that the server refuses, or an image that nobody has, are taken back; the old ones serve on."""
    before = set(map(instance, servers()))
    for wrong in ("TIMEOUT=x", "BASE_IMAGE=127.0.0.1:9/absent"):
        with load(150) as end:
            update = ["docker", "service", "update", "--detach=false", "--env-add", wrong, SERVICE]
            done = subprocess.run(update, capture_output=True, text=True, timeout=300, check=False)
            assert "rolled back" in done.stdout + done.stderr
            right, failed = end()
        assert right > 100
        assert failed == []
        assert before <= set(map(instance, healthy()))


def test_keys_on_a_port_of_the_node(swarm: None, tmp_path: Path) -> None:
    """With the overlay nobody runs scripts without a key; other keys come with an update, on a port for one alone."""
    name, port = "scripts-test-keys", free_port()
    service = f"{name}_script-executor"
    settings = SETTINGS | {"REPLICAS": "1", "HOST_PORT": str(port), "UPDATE_ORDER": "stop-first"}

    def deploy(secret: str, text: str) -> None:
        (tmp_path / secret).write_text(text)
        told("docker", "secret", "create", secret, str(tmp_path / secret))
        files = ("-c", "docker-stack.yml", "-c", "deploy/stack.api-keys.yml")
        told("docker", "stack", "deploy", *files, name, **settings, API_KEYS_SECRET=secret)

    deploy("first-keys", f"first:{'1' * 16}\n")
    try:
        wait_until(lambda: status(port, f"Authorization: Bearer {'1' * 16}") == "200", "a server", 90)
        assert (status(port), status(port, f"Authorization: Bearer {'2' * 16}")) == ("401", "401")
        before = servers(service)
        seen = told("docker", "exec", before[0], "stat", "-c", "%a %u", "/run/secrets/api-keys")
        assert seen == "400 10001\n"
        deploy("second-keys", f"second:{'2' * 16}\n")
        wait_until(lambda: status(port, f"Authorization: Bearer {'2' * 16}") == "200", "another server", 90)
        assert not set(before) & set(servers(service))
        assert status(port, f"Authorization: Bearer {'1' * 16}") == "401"
    finally:
        told("docker", "stack", "rm", name)
        wait_until(lambda: not servers(service), "no server", 90)


def test_one_per_node(stack: None, engine: docker.APIClient) -> None:
    """A label on a node brings a server there, on the node's own port."""
    node = told("docker", "node", "ls", "-q").strip()
    told("docker", "node", "update", "--label-add", "script-executor=per-node", node)
    name = f"{STACK}_script-executor-per-node"
    wait_until(lambda: told("docker", "ps", "-q", "--filter", f"name={name}", "--filter", "health=healthy"), "it", 60)
    answer = told("curl", "-s", "-H", "Content-Type: application/json", "-d", '{"script": "echo hi"}',
                  "http://127.0.0.1:8081/execute")  # fmt: skip
    assert json.loads(answer)["stdout"] == "hi\n"
    told("docker", "node", "update", "--label-rm", "script-executor", node)
