"""Runs: what goes in, what comes out, how they end."""

from __future__ import annotations

from tests.agent.harness import Agent


def test_echo(box: Agent) -> None:
    """A script without an interpreter is one of /bin/sh; all that it says comes back, and nothing stays."""
    run = box.run("echo hi; echo oh >&2")
    assert (run.stdout, run.stderr, run.code) == (b"hi\n", b"oh\n", 0)
    assert run.wiped.clean
