"""The lists in setup.cfg, which are kept by hand."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIG = ConfigParser(interpolation=None)
CONFIG.read(ROOT / "setup.cfg")


def test_every_package_is_listed() -> None:
    """A package that setup.cfg does not name would be missing in the wheel only."""
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("twisted_executor/**/__init__.py")}
    assert found | {"twisted_executor.agent", "twisted.plugins"} == set(CONFIG["options"]["packages"].split())


def test_files_of_the_status_page_are_listed() -> None:
    """A file that setup.cfg does not name would be missing in the wheel only."""
    patterns = CONFIG["options.package_data"]["twisted_executor.console"].split()
    found = [path for path in (ROOT / "twisted_executor/console").iterdir() if path.suffix != ".py" and path.is_file()]
    assert found
    assert [path.name for path in found if not any(path.match(pattern) for pattern in patterns)] == []


def test_plugin_folders_are_no_packages() -> None:
    """An __init__.py under twisted/ would hide Twisted itself or the plugins of others."""
    assert not list((ROOT / "twisted").rglob("__init__.py"))


def test_requirements_pin_what_setup_cfg_needs() -> None:
    """requirements.txt has an exact version of each requirement, and installs the project."""
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[-1] == "-e ."
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9.]*", line) for line in lines[:-1])
    pinned = {normal(line.split("==")[0]) for line in lines[:-1]}
    needed = {normal(re.split("[<>=]", line)[0]) for line in CONFIG["options"]["install_requires"].split()}
    assert needed <= pinned


def normal(name: str) -> str:
    """The name of a distribution as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
