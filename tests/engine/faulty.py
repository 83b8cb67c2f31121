"""twistd with faults that say what they were given: python -m tests.engine.faulty [its arguments].

A script that begins with "# fault" and a name raises that exception in the server, with the script as its words: while
its client waits, and once more where nobody handles it.  Only for tests.
"""

from __future__ import annotations

import builtins
import sys
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python import log as legacy
from twisted.python.failure import Failure
from twisted.scripts.twistd import run

from twisted_executor.boundaries import Execution, Job
from twisted_executor.executor import Executor

FAULTY = (sys.executable, "-m", "tests.engine.faulty")
execute = Executor.execute


def faulty(executor: Executor, job: Job) -> Deferred[Execution]:
    """As ever, but for those scripts."""
    mark, _, rest = job.script.decode().partition(" fault ")
    if mark != "#":
        return execute(executor, job)
    kind: Any = getattr(builtins, rest.split()[0])
    try:
        raise kind(rest, job)
    except Exception:
        failure = Failure()
    fail(failure)
    legacy.err(failure, "a fault")
    raise kind(rest, job)


if __name__ == "__main__":
    Executor.execute = faulty  # type: ignore[method-assign]
    run()
