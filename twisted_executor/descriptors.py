"""How many files this process may have open, and how many of them are left for clients."""

from __future__ import annotations

import resource

MOST = 1 << 16  # more is of no use, and some engines allow a thousand millions
OURS = 24  # the reactor, the log, the port, and what an import opens for a moment
LEAST = 8  # connections, however few descriptors there are


def allowed() -> int:
    """How many files may be open when the limit has been raised."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)


def raise_limit() -> None:
    """Let as many files be open as are allowed (setrlimit(2)); a soft limit of 1,024 is usual, for select's sake."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < allowed():
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed(), hard))


def left_for_clients(files: int, containers: int, calls: int) -> int:
    """Connections of clients that leave room for all else.

    @param files: that may be open.  @param containers: each has a stream, and a successor that is made before it goes.
    @param calls: of the engine at once, each on a connection of its own.
    """
    return max(LEAST, files - OURS - 2 * containers - calls)
