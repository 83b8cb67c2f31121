"""How many files may be open, and how many are left for clients."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from twisted_executor.descriptors import LEAST, MOST, allowed, left_for_clients


def test_left_for_clients() -> None:
    """Containers and calls of the engine come first; some connections there always are."""
    few = left_for_clients(64, containers=4, calls=12)
    assert LEAST <= few < 64 - 8 - 12
    assert left_for_clients(1024, 4, 12) - few == 1024 - 64
    assert left_for_clients(64, containers=100, calls=12) == LEAST


def test_allowed() -> None:
    """As many as the hard limit says, but not without end."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert allowed() == (MOST if hard == resource.RLIM_INFINITY else min(hard, MOST))


@pytest.mark.parametrize(("soft", "hard", "after"), [(64, 128, 128), (64, 64, 64), (100, 1 << 19, MOST)])
def test_raise_limit(soft: int, hard: int, after: int) -> None:
    """The soft limit becomes what is allowed; the hard one stays."""
    program = (
        "import resource as r; from twisted_executor.descriptors import raise_limit\n"
        f"r.setrlimit(r.RLIMIT_NOFILE, ({soft}, min({hard}, r.getrlimit(r.RLIMIT_NOFILE)[1])))\n"
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; raise_limit(); raise_limit()\n"
        f"assert r.getrlimit(r.RLIMIT_NOFILE) == (min({after}, hard), hard)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
