"""What users install: the wheel, the source distribution, a checkout.  Each in an environment of its own."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
X86_64, AARCH64 = 62, 183  # e_machine of ELF
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "bin", "__pycache__", "*.egg-info", "dropin.cache")

pytestmark = pytest.mark.timeout(300)


def run(*command: str | Path, cwd: Path = Path("/")) -> str:
    """What the command prints; it must succeed, and sees nothing of this environment."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


def site_packages(environment: Path) -> Path:
    """Where an environment keeps its packages."""
    return Path(run(environment / "bin/python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project without anything that is built, so that a test changes nothing here."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("checkout") / "project", ignore=LEFT_OUT))


@pytest.fixture(scope="session")
def artifacts(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The source distribution, and the wheel that is built of it and of nothing else.

    The checkout has an old agent from somewhere, which must not get in.
    """
    built = tmp_path_factory.mktemp("dist")
    old = checkout / "twisted_executor/agent/bin/agent-x86_64"
    old.parent.mkdir()
    old.write_bytes(b"old")
    run(sys.executable, "-m", "build", "--outdir", built, checkout)
    shutil.rmtree(old.parent)
    (sdist,), (wheel,) = built.glob("*.tar.gz"), built.glob("*.whl")
    return {"sdist": sdist, "wheel": wheel}


@pytest.fixture(scope="session")
def dependencies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with what requirements.txt pins and nothing else."""
    folder = tmp_path_factory.mktemp("dependencies")
    pins = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line]
    (folder / "pins.txt").write_text("\n".join(pins))
    venv.create(folder / "venv", with_pip=True)
    run(folder / "venv/bin/python", "-m", "pip", "install", "-q", "-r", folder / "pins.txt")
    return folder / "venv"


def environment_with(target: Path, folder: Path, dependencies: Path, *options: str) -> Path:
    """A new environment with the project; it sees the dependencies, so that only the project is installed."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv/bin/python"
    (site_packages(folder / "venv") / "dependencies.pth").write_text(f"{site_packages(dependencies)}\n")
    before = installed(python)
    run(python, "-m", "pip", "install", "-q", *options, target)
    assert installed(python) - before == {"twisted-executor"}, "requirements.txt lacks what setup.cfg needs"
    run(python, "-m", "pip", "check")
    return python


def installed(python: Path) -> set[str]:
    """The names of the distributions that this Python sees."""
    return {line.split("==")[0] for line in run(python, "-m", "pip", "list", "--format=freeze").splitlines()}


def machines(folder: Path) -> set[int]:
    """The architectures of the programs in a folder, by their ELF headers."""
    found = set()
    for path in folder.iterdir():
        header = path.read_bytes()[:20]
        assert header.startswith(b"\x7fELF"), f"{path.name} is no program"
        found.add(struct.unpack_from("<H", header, 18)[0])
    return found


@pytest.mark.parametrize("kind", ["wheel", "sdist", "editable"])
def test_twistd_knows_the_server(
    kind: str, artifacts: dict[str, Path], checkout: Path, dependencies: Path, tmp_path: Path
) -> None:
    """After an installation twistd lists the subcommand from any folder, explains it, and both agents are there."""
    options = ("--editable",) if kind == "editable" else ()
    python = environment_with(artifacts.get(kind, checkout), tmp_path, dependencies, *options)
    twistd = dependencies / "bin/twistd"
    assert "script-executor" in run(python, twistd, "--help")
    assert "POOL_SIZE" in run(python, twistd, "script-executor", "--config-help")
    where = run(python, "-c", "import twisted_executor.agent as agent; print(*agent.__path__)").strip()
    assert machines(Path(where) / "bin") == {X86_64, AARCH64}
    run(python, "-c", "from twisted_executor.console import pages; assert pages(box=True)[b'/'].body")


def test_server_py(dependencies: Path, checkout: Path) -> None:
    """python server.py in a checkout, with nothing but requirements.txt installed, is the same command."""
    assert "POOL_SIZE" in run(dependencies / "bin/python", "server.py", "--config-help", cwd=checkout)


def test_wheel_is_for_every_platform(artifacts: dict[str, Path]) -> None:
    """One wheel serves all; it holds both agents, the plugin and the licence, and no cache of plugins."""
    assert artifacts["wheel"].name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(artifacts["wheel"]).namelist()
    assert "twisted/plugins/script_executor_plugin.py" in names
    assert "twisted_executor/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/")) or "dropin.cache" in name]
    assert not [name for name in names if name.startswith("twisted/") and name.endswith("__init__.py")]


def test_sdist_has_the_sources(artifacts: dict[str, Path]) -> None:
    """The source distribution has the agent's sources, and no program."""
    with tarfile.open(artifacts["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "twisted_executor/agent").glob("*.[ch]")}
    assert sources
    assert sources <= names
    assert not [name for name in names if "/bin/" in name]
