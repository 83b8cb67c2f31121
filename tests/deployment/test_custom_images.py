"""The images of custom-images/, built of Debian's packages alone, and what their pages show, on a server."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.server_process import BUSYBOX, PROJECT, ServerProcess, make_images

IMAGES = PROJECT / "custom-images"
# The folders, and what people call the images.
NAMES = {
    "python-scientific": "python-scientific-executor",
    "nodejs-runtime": "nodejs-executor",
    "multi-language": "multi-language-executor",
}
BASE = "script-executor-base:debian"
CERTIFICATES = Path("/usr/local/share/ca-certificates")
CODE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

every_image = pytest.mark.parametrize("folder", NAMES)


def page(folder: str) -> str:
    return (IMAGES / folder / "README.md").read_text()


def dockerfile(folder: str) -> str:
    return (IMAGES / folder / "Dockerfile").read_text()


def arguments(folder: str) -> dict[str, str]:
    """The build arguments of a Dockerfile, with their defaults."""
    return dict(re.findall(r"^ARG (\w+)=(.*)$", dockerfile(folder), re.MULTILINE))


def name_here(folder: str) -> str:
    """An image of the tests': those that people have built stay theirs."""
    return f"script-executor-test:{folder}"


def output(*command: str | Path, **environ: str) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        command, env=os.environ | environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1500,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@every_image
def test_page_is_complete(folder: str) -> None:
    """It says how to build the image, explains each build argument, and each of its programs is one that is run."""
    text = page(folder)
    assert f"```bash\ndocker build -t {NAMES[folder]} .\n```" in text
    for name, default in arguments(folder).items():
        assert f"| `{name}` | {f'`{default}`' if default else ''}" in text, name
        assert re.search(rf"^#   {name} ", dockerfile(folder), re.MULTILINE), name
    kinds = [kind for kind, _ in CODE.findall(text) if kind != "bash"]
    assert len(kinds) == 2 * text.count("\n### ")
    assert set(kinds[1::2]) == {"text"}


@every_image
def test_dockerfile(folder: str) -> None:
    """Only what is needed is installed, nothing of apt's is left, and nothing is set that the server overrides."""
    text = dockerfile(folder)
    assert re.findall(r"apt-get install (?!-y --no-install-recommends )", text) == []
    *_, last = re.split(r"^FROM ", text.replace("\\\n", ""), flags=re.MULTILINE)
    stages = [stage for stage in text.replace("\\\n", "").split("\nFROM ") if not stage.startswith("base AS build")]
    for stage in stages:
        assert stage.count("apt-get update") == stage.count("rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*")
    assert "COPY ca-certificates" not in last
    assert re.findall(r"^(?:USER|ENTRYPOINT|CMD|HEALTHCHECK|WORKDIR|VOLUME)\b.*", last, re.MULTILINE) == []


@every_image
def test_wrong_image(folder: str, busybox: ServerProcess) -> None:
    """In an image that lacks everything each check fails, and says where."""
    environ = {"SCRIPT_EXECUTOR_URL": f"http://127.0.0.1:{busybox.port}", "IMAGE": BUSYBOX}
    command = [IMAGES / folder / "smoke.py"]
    done = subprocess.run(command, env=os.environ | environ, text=True, capture_output=True, timeout=100, check=False)
    *lines, last = done.stdout.splitlines()
    assert done.returncode == 1, done
    assert len(lines) >= 2 + page(folder).count("\n### ")
    for line in lines:
        assert re.match(r"FAILED .* \[(smoke|examples)\.py:\d+\] ", line), line
    assert f"{len(lines)} checks, {len(lines)} failed" in last


@pytest.fixture(scope="module")
def busybox() -> Iterator[ServerProcess]:
    """A server with the small image alone."""
    make_images("busybox")
    running = ServerProcess()
    try:
        yield running.ready()
    finally:
        running.discard()


@pytest.fixture(scope="module", params=NAMES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its name, when the image is built; what has not changed comes from the engine's cache."""
    found: str = request.param
    context = Path(shutil.copytree(IMAGES / found, tmp_path_factory.mktemp("images") / found))
    if (trusted := context / "ca-certificates").is_dir():
        for certificate in CERTIFICATES.glob("*.crt"):
            shutil.copy(certificate, trusted)
    if subprocess.run(["docker", "image", "inspect", BASE], capture_output=True, check=False).returncode:
        output(PROJECT / "deploy/base-images.sh", "debian")
    given = {name: os.environ[name] for name in arguments(found) if os.environ.get(name)} | {"BASE": BASE}
    options = [option for name, value in given.items() for option in ("--build-arg", f"{name}={value}")]
    output("nice", "docker", "build", "-t", name_here(found), *options, context)
    return found


@pytest.fixture(scope="module")
def server(folder: str) -> Iterator[ServerProcess]:
    """A server with the default limits, but time for a busy machine."""
    running = ServerProcess(POOL_SIZE="1", CUSTOM_POOLS=f"{name_here(folder)}=1", TIMEOUT="100")
    try:
        yield running.ready()
    finally:
        running.discard()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_programs(folder: str, server: ServerProcess) -> None:
    """Each program of the page prints what the page says, and the checks of the folder find nothing."""
    url = f"http://127.0.0.1:{server.port}"
    said = output(IMAGES / folder / "smoke.py", SCRIPT_EXECUTOR_URL=url, IMAGE=name_here(folder))
    for title in re.findall(r"^### (.+)$", page(folder), re.MULTILINE):
        assert re.search(rf"^ok .*  {re.escape(title)}$", said, re.MULTILINE), said
    assert " 0 failed, 0 skipped" in said


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_figures(folder: str, server: ServerProcess) -> None:
    """--figures has a line for each program of the page, and the page's table has the same lines."""
    url = f"http://127.0.0.1:{server.port}"
    said = output(IMAGES / folder / "smoke.py", "--figures", SCRIPT_EXECUTOR_URL=url, IMAGE=name_here(folder))
    head, rule, *lines = said.splitlines()
    assert f"{head}\n{rule}\n" in page(folder)
    for line in lines:
        assert f"\n{line[: line.index('|', 1)]}| " in page(folder), line


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_requests(folder: str, server: ServerProcess) -> None:
    """The requests of the page succeed."""
    requests = [code for kind, code in CODE.findall(page(folder)) if kind == "bash" and "/execute" in code]
    assert len(requests) == 1
    for request in requests:
        here = request.replace("localhost:8080", f"127.0.0.1:{server.port}").replace(NAMES[folder], name_here(folder))
        assert '"success":true' in output("bash", "-c", here.replace("curl ", "curl -sS --noproxy '*' "))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_readable_by_everyone(folder: str) -> None:
    """What was added for the scripts can be read by any user, and nothing of the build's authorities is left."""
    places = "/opt /node_modules /usr/local"
    look = f"find {places} ! -type l ! -perm -o=r 2>/dev/null; ls /usr/local/share/ca-certificates 2>/dev/null; true"
    assert (
        output("docker", "run", "--rm", "--network", "none", name_here(folder), *shlex.split(f"sh -c '{look}'")) == ""
    )
