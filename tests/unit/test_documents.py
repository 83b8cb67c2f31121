"""The documents: what they name is there, and says what they say that it says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from twisted_executor.config import VARIABLES
from twisted_executor.tap import Options

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("custom-images/**/*.md")])
# Those for who runs the server; the others speak of C and of images, too.
FOR_OPERATORS = [ROOT / "README.md"] + [
    ROOT / f"docs/{name}.md"
    for name in (
        "air-gapped",
        "api",
        "deployment",
        "kubernetes",
        "operations",
        "registries",
        "sizing",
        "swarm",
        "troubleshooting",
    )
]
DOCKERS_OWN = {"DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"}
SCRIPTS = {path.name: path for path in [*ROOT.glob("*.sh"), *ROOT.glob("deploy/*.sh")]}
DEFAULTS = {variable.name: variable.default for section in VARIABLES.values() for variable in section}

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
NAME = re.compile(r"(?<![\w$.-])[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9]\b|(?<![\w$.-])[A-Z][A-Z0-9]+(?==)")
SHELL_NAME = re.compile(r"\$\{?([A-Z][A-Z0-9_]+)|^ARG ([A-Z_]+)|environ(?:\.get\(|\[)[\"']([A-Z_]+)", re.MULTILINE)


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code(path: Path) -> list[str]:
    """All that stands between backticks, and all blocks."""
    text = path.read_text()
    blocks = re.findall(r"^ *```[^\n]*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [*blocks, *re.findall(r"`([^`]+)`", rest)]


def anchors(path: Path) -> set[str]:
    """The headings as GitHub links to them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def literals() -> Iterator[str]:
    """The pieces of text that the server can say, each without what is put into it."""
    for path in ROOT.glob("twisted_executor/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_links(path: Path) -> None:
    """Whatever is linked to is in the repository, headings too."""
    for target in LINK.findall(path.read_text()):
        if "://" in target:
            continue
        place, _, heading = target.partition("#")
        found = (path.parent / place).resolve() if place else path
        assert found.is_relative_to(ROOT), target
        assert found.exists(), f"{target} is linked to, but is not there"
        assert not heading or heading in anchors(found), f"{target} is linked to, but has no such heading"


@pytest.mark.parametrize("path", FOR_OPERATORS, ids=ids)
def test_variables(path: Path) -> None:
    """Each variable is one of the server, or of a file that runs it or tries it."""
    patterns = ("*.yml", "*.sh", "Dockerfile", "deploy/*", "custom-images/**/Dockerfile", "tests/live/*.py")
    texts = [source.read_text() for pattern in patterns for source in ROOT.glob(pattern) if source.is_file()]
    known = (
        {name for text in texts for found in SHELL_NAME.findall(text) for name in found} | set(DEFAULTS) | DOCKERS_OWN
    )
    named = {name for text in code(path) for name in NAME.findall(text)}
    assert named <= known, f"nobody reads {', '.join(sorted(named - known))}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_flags(path: Path) -> None:
    """Each script of ours that is named is there, and knows the options that it is given."""
    for text in code(path):
        for command in re.split(r"[\n;|&]|  #", text):
            for found in re.finditer(r"(?:^|[\s/])([a-z-]+\.sh)\b(.*)", command):
                name, rest = found.groups()
                assert name in SCRIPTS or name == "build.sh", f"there is no {name}"
                for flag in re.findall(r"(?<=\s)--[a-z][a-z-]*", rest):
                    assert flag in SCRIPTS[name].read_text(), f"{name} does not know {flag}"
            if server := re.search(r"twistd .*script-executor (--.*)|server\.py (--.*)", command):
                for flag in re.findall(r"--([a-z][a-z-]*)", server[1] or server[2]):
                    assert flag in {name.rstrip("=") for name in Options({}).longOpt}, f"the server has no --{flag}"


def test_defaults() -> None:
    """The README's table has the defaults of the settings."""
    rows = re.findall(r"^\| (`[A-Z][^|]*) \| ([^|]*)\|", (ROOT / "README.md").read_text(), re.MULTILINE)
    checked = 0
    for names, values in rows:
        for name, value in zip(re.findall(r"`([A-Z_]+)`", names), re.findall(r"`([^`]+)`", values), strict=False):
            assert DEFAULTS[name] == value, name
            checked += 1
    assert checked >= 10


def test_sentences() -> None:
    """What the page for troubles says that is said is said, by the server or by a script."""
    page = (ROOT / "docs/troubleshooting.md").read_text()
    said = [*literals(), *(path.read_text() for path in SCRIPTS.values())]
    others = {"Network is unreachable", "Resource temporarily unavailable", "No space left on device",
              "Operation not permitted", "executable file not found",
              "required variable ... is missing a value", 'Missing mandatory value for "..." option'}  # fmt: skip
    cells = [cell for row in re.findall(r"^\|(.*)\|$", page, re.MULTILINE) for cell in row.split(" | ")[:2]]
    sentences = {text for cell in cells for text in re.findall(r"`([A-Za-z(][^`]* [^`]* [^`]*)`", cell)} - others
    sentences = {text for text in sentences if not text.startswith(("docker", "sudo", "ssh", "DOCKER_CLI=1"))}
    assert len(sentences) > 40
    pieces = {part.strip(" :,;().") for sentence in sentences for part in sentence.split("...")}
    assert not [piece for piece in sorted(pieces) if not any(piece in text for text in said)]
