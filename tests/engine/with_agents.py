"""twistd with agents that a test has built: python with_agents.py FOLDER [twistd's arguments].

FOLDER has bin/agent-x86_64 and the like.  Only for tests and benchmarks: the server itself has no such option.
"""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.scripts.twistd import run

from twisted_executor import agent

if __name__ == "__main__":
    folder = Path(sys.argv.pop(1))
    agent.files = lambda package: folder
    run()
