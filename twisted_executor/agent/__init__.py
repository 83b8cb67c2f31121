"""The agent: a static program, PID 1 of every sandbox.  This package holds its source and, once built, its binaries."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from importlib.resources import files

from twisted_executor.errors import EngineError

# What engines and images call the architectures that we build for.
ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


def agent_binary(architecture: str) -> bytes:
    """The agent for an engine of this architecture, as `uname -m` or as Docker says it.

    @raise EngineError: there is none for it, or this installation was not built.
    """
    name = ARCHITECTURES.get(architecture)
    if name is None:
        raise EngineError(f"There is no agent for the architecture {architecture!r}, only for x86_64 and aarch64.")
    try:
        return files(__name__).joinpath("bin", f"agent-{name}").read_bytes()
    except FileNotFoundError:
        raise EngineError(
            f"The agent for {name} has not been built; install the package with pip, which builds it."
        ) from None


@lru_cache(maxsize=4)
def agent_volume(architecture: str) -> tuple[str, bytes]:
    """The name of the volume that holds the agent for this architecture, made of its digest, and its binary.

    @raise EngineError: as L{agent_binary} does.
    """
    binary = agent_binary(architecture)
    return f"twisted-executor-agent-{sha256(binary).hexdigest()[:16]}", binary
