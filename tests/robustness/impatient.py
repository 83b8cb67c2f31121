"""twistd that soon gives up a call to the engine: python -m tests.robustness.impatient SECONDS VOLUME [its arguments].

VOLUME is where the agent is, in place of the volume that is named by its digest; "" leaves that.  Only for tests, which
cannot wait for the end of each of many calls that hang.
"""

from __future__ import annotations

import sys

from twisted.scripts.twistd import run

from twisted_executor.engine import calls

LIMIT = 2.0  # seconds; the two processors may be busy with others


def impatient(volume: str = "") -> list[str]:
    """The command, with a limit of `LIMIT`.  @param volume: of the agent; a new one has to be filled."""
    return [sys.executable, "-m", "tests.robustness.impatient", str(LIMIT), volume]


def main(limit: float, volume: str) -> None:
    """Become that server."""
    calls.CALL_LIMIT = limit
    # Only now: the control plane takes the limit when it is imported.
    from twisted_executor import assembly, source

    source.ATTACH_LIMIT = limit
    if volume:
        ours = assembly.agent_volume
        assembly.agent_volume = lambda architecture: (volume, ours(architecture)[1])  # type: ignore[assignment]
    run()


if __name__ == "__main__":
    seconds, name = sys.argv[1:3]
    del sys.argv[1:3]
    main(float(seconds), name)
