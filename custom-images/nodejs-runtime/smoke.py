#!/usr/bin/env python3
"""Whether the image does in a running server what its README shows.

    SCRIPT_EXECUTOR_URL=http://localhost:8080 ./smoke.py

IMAGE is its name there, if it has another; --figures prints what the programs of the README take.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from examples import client, image_name, main

IMAGE = image_name("nodejs-executor")


def test_from_anywhere() -> None:
    """The packages are found by scripts, by programs in /tmp and below, and by those of a command line."""
    program = "console.log(require('lodash').VERSION === require('lodash/package').version)"
    client.prints("true\n", f"#!/usr/bin/env node\n{program}", image=IMAGE)
    for command in (
        f'node -e "{program}"',
        f'echo "{program}" | node',
        f'mkdir -p a/b; echo "{program}" >a/b/main.js; cd /; node /tmp/a/b/main.js',
    ):
        client.prints("true\n", command, image=IMAGE)


def test_version() -> None:
    """It is Node.js 18 or newer."""
    version = client.output("node --version", image=IMAGE)
    assert int(version.removeprefix("v").split(".")[0]) >= 18, version


if __name__ == "__main__":
    main(Path(__file__).with_name("README.md"), IMAGE, globals())
