"""twistd with something left out, to see what that protects: python -m tests.engine.weakened CHANGES [its arguments].

CHANGES is JSON: "agents", a folder with bin/agent-x86_64 and the like; "host", fields of the engine's HostConfig that
replace ours; "probe", false when a container is used whatever the agent sees in it.  Only for tests and benchmarks: the
server itself has no such option.
"""

from __future__ import annotations

import json
import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from twisted.scripts.twistd import run

from build_backend import agent_build
from twisted_executor import agent
from twisted_executor.boundaries import ContainerSpec
from twisted_executor.confinement import Confinement
from twisted_executor.engine.control import DockerEngine


def weakened(**changes: Any) -> list[str]:
    """The command."""
    return [sys.executable, "-m", "tests.engine.weakened", json.dumps(changes)]


def built(folder: Path, switched_off: str) -> str:
    """Build an agent without these protections; the name of the volume in which a server puts it."""
    target = folder / "bin" / f"agent-{os.uname().machine}"
    target.parent.mkdir(parents=True)
    agent_build.compile(os.uname().machine, target, *([f"-DSWITCHED_OFF={switched_off}"] if switched_off else []))
    return f"twisted-executor-agent-{sha256(target.read_bytes()).hexdigest()[:16]}"


def use_agents(folder: Path) -> None:
    """Take the agents from there."""
    agent.files = lambda package: folder


def change_containers(fields: dict[str, Any]) -> None:
    """Let these fields of HostConfig replace ours."""
    ours = DockerEngine._host_config

    def changed(engine: DockerEngine, client: Any, spec: ContainerSpec) -> dict[str, Any]:
        return ours(engine, client, spec) | fields

    DockerEngine._host_config = changed  # type: ignore[method-assign]


def main(changes: dict[str, Any]) -> None:
    """Become that server."""
    if "agents" in changes:
        use_agents(Path(changes["agents"]))
    change_containers(changes.get("host", {}))
    if not changes.get("probe", True):
        Confinement.check = lambda *arguments: []  # type: ignore[method-assign]
    run()


if __name__ == "__main__":
    main(json.loads(sys.argv.pop(1)))
