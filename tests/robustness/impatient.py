"""twistd that soon gives up a call to the engine: python -m tests.robustness.impatient SECONDS VOLUME [its arguments].

VOLUME is where the agent is, in place of the volume that is named by its digest; "" leaves that.  Only for tests, which
cannot wait for the end of each of many calls that hang.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from twisted.scripts.twistd import run

from tests.engine.server_process import BUSYBOX, PROJECT, ServerProcess, free_port
from twisted_executor.engine import calls

LIMIT = 2.0  # seconds; the two processors may be busy with others


class ImpatientServer(ServerProcess):
    """A server as a process that waits for the engine only for `LIMIT` seconds, with a pool of one container."""

    def __init__(self, *, volume: str = "", **environ: str) -> None:
        """@param volume: of the agent; a new one has to be filled."""
        self.port = free_port()
        defaults = {"BASE_IMAGE": BUSYBOX, "POOL_SIZE": "1", "PATH": os.environ["PATH"]}
        log, self._log = tempfile.mkstemp(prefix="server-", suffix=".log")
        begin = [sys.executable, "-m", "tests.robustness.impatient", str(LIMIT), volume]
        self.process = subprocess.Popen(
            [*begin, "-n", "--pidfile=", "script-executor", "--port", str(self.port)],
            env=defaults | environ,
            cwd=PROJECT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        os.close(log)


def main(limit: float, volume: str) -> None:
    """Become that server."""
    calls.CALL_LIMIT = limit
    # Only now: the control plane takes the limit when it is imported.
    from twisted_executor import source, tap

    source.ATTACH_LIMIT = limit
    if volume:
        ours = tap._agent
        tap._agent = lambda architecture: (volume, ours(architecture)[1])  # type: ignore[assignment]
    run()


if __name__ == "__main__":
    seconds, name = sys.argv[1:3]
    del sys.argv[1:3]
    main(float(seconds), name)
