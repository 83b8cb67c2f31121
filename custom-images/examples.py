"""Runs the programs that a README shows, through a running server, and compares what they print.

A program is a heading, a block of code, and a block of text that is its whole output.  SCRIPT_EXECUTOR_URL and
SCRIPT_EXECUTOR_KEY are those of tests/live; IMAGE is the image's name where it is not the usual one.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.live import client

# A heading, perhaps a sentence, the program, and its output.
EXAMPLE = re.compile(
    r"^### ([^\n]+)\n(?:[^#`\n][^\n]*\n|\n)*```\w+\n(.*?)^```\n+```text\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
RUNS = 5


class Example(NamedTuple):
    """A program, and what it prints."""

    title: str
    script: str
    output: str

    def run(self, image: str) -> client.Answer:
        """Run it; fail unless it prints this and nothing else."""
        return client.execute(self.script, image=image).shows(
            200, status="ok", success=True, error=None, stdout=self.output, stderr="", oom_kills=0
        )


def image_name(usual: str) -> str:
    """The image to run programs in."""
    return os.environ.get("IMAGE") or usual


def read(readme: Path) -> list[Example]:
    """The examples of a README, in its order."""
    return [Example(*found) for found in EXAMPLE.findall(readme.read_text())]


def main(readme: Path, image: str, names: Mapping[str, Any]) -> None:
    """Run all of them and the checks among these names; with --figures print what each takes instead.  Exit as
    tests/live do: 0 all is well, 1 something is not, 2 nothing could be checked.
    """
    examples = read(readme)
    if sys.argv[1:] == ["--figures"]:
        sys.exit(client.problem() or print_figures(examples, image))
    client.main(dict(names) | {f"test_{example.title}": _check(example, image) for example in examples})


def _check(example: Example, image: str) -> Callable[[], None]:
    def check() -> None:
        example.run(image)

    check.__doc__ = example.title
    return check


def print_figures(examples: list[Example], image: str) -> None:
    """Print a table of the least of some runs, in seconds and in MB of 10^6 bytes."""
    print("| program | seconds | of a processor | largest process |\n|---|---|---|---|")
    for example in examples:
        example.run(image)  # what it reads is in the engine's memory then
        answers = [example.run(image) for _ in range(RUNS)]
        time, cpu, memory = (
            min(answer[field] for answer in answers) for field in ("execution_time", "cpu_time", "memory_peak")
        )
        print(f"| {example.title} | {time:.2f} | {cpu:.2f} | {memory / 1e6:.0f} MB |")
