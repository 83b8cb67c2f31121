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

IMAGE = image_name("python-scientific-executor")
PACKAGES = "numpy, pandas, scipy, matplotlib, sklearn"

FONT_CACHE = """#!/usr/bin/env python3
import matplotlib.pyplot, os
for entry in os.scandir(os.environ["MPLCONFIGDIR"]):
    print(entry.is_symlink(), entry.name)
"""


def test_every_python() -> None:
    """The packages are there for every command that starts Python."""
    for command in ("python3", "python", "/usr/bin/env python3", "$(command -v python3) -I"):
        client.prints("", f"{command} -c 'import {PACKAGES}'", image=IMAGE)


def test_font_cache() -> None:
    """matplotlib makes no font cache, it links to the image's."""
    linked = client.output(FONT_CACHE, image=IMAGE)
    assert linked.startswith("True fontlist-"), linked
    assert linked.count("\n") == 1, linked


def test_own_font_cache() -> None:
    """A script may have a place of its own for it."""
    script = "#!/usr/bin/env python3\nimport matplotlib.pyplot, os\nprint(os.path.isdir(os.environ['MPLCONFIGDIR']))"
    for place in ("/tmp/own", "/tmp"):
        client.prints("True\n", script, image=IMAGE, env={"MPLCONFIGDIR": place})


if __name__ == "__main__":
    main(Path(__file__).with_name("README.md"), IMAGE, globals())
