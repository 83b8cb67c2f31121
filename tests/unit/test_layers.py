"""Imports go one way: a module imports only modules that stand before it in the list."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "twisted_executor"

ORDER = (
    # The vocabulary.
    ("errors", "boundaries"),
    # Pure: no reactor, nothing that waits.
    (
        "images",
        "values",
        "config",
        "config_texts",
        "frames",
        "wire",
        "verdict",
        "confinement",
        "turns",
        "planning",
        "sizing",
        "keys",
        "descriptors",
    ),
    ("schema", "gate"),
    # Services.
    (
        "transports",
        "services",
        "lag",
        "waiting",
        "lease",
        "pool",
        "executor",
        "demand",
        "quota",
        "canary",
        "health",
        "hangup",
        "refresh",
    ),
    # Edges.
    (
        "agent",
        "attach",
        "engine",
        "image_store",
        "run",
        "sandbox",
        "source",
        "logs",
        "metrics",
        "status",
        "console",
        "incoming",
        "guard",
        "web",
        "server",
    ),
    # Composition.
    ("options", "policies", "assembly", "tap"),
    # For tests, and a program of its own.
    ("testing", "health_check"),
)
RANK = {module: rank for rank, module in enumerate(module for layer in ORDER for module in layer)}
PURE = {module for layer in ORDER[:3] for module in layer}

# Each library is known to one module, which also translates its exceptions.
OWNERS = {
    "docker": {"engine"},
    "requests": {"engine"},
    "urllib3": {"engine"},
    "docker_image": {"images"},
    "msgspec": {"schema"},
    "klein": {"web"},
    "werkzeug": {"web"},
    "prometheus_client": {"metrics", "assembly"},
}

# Who is called by twistd without arguments, and asks for the reactor.
ROOTS = {"tap.py", "logs/named.py"}


def module_of(path: Path) -> str:
    """The module, or package, of ours that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """The full names of all modules that a file imports, also inside of functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: write the full name of what you import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    """A file imports only what stands before it; a new module has to be given its place in the list."""
    module = module_of(path)
    assert module in RANK, f"give {module} its place in ORDER"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "twisted_executor" and parts[1] != module:
            assert RANK[parts[1]] < RANK[module], f"{module} imports {parts[1]}, which stands after it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_libraries_have_one_owner(path: Path) -> None:
    """Only its owner imports a library, only the root the reactor, and pure modules import nothing that waits."""
    module = module_of(path)
    for name in imported(path):
        assert module in OWNERS.get(name.split(".")[0], {module})
        assert name != "twisted.internet.reactor" or path.relative_to(PACKAGE).as_posix() in ROOTS
        assert (
            module not in PURE or not name.startswith("twisted.internet.") or name == "twisted.internet.defer.Deferred"
        )


def test_list_is_current() -> None:
    """The list has each module once, and none that is not there."""
    assert len(RANK) == sum(len(layer) for layer in ORDER)
    assert set(RANK) <= {module_of(path) for path in FILES}
