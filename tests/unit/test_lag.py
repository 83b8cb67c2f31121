"""How late the event loop is."""

from __future__ import annotations

from twisted.internet.task import Clock

from twisted_executor.lag import INTERVAL, LagWatch


def test_lag() -> None:
    """What comes in time is not late, and what is held for a while is late by so much."""
    clock, seen = Clock(), list[float]()
    watch = LagWatch(clock, lambda lag: seen.append(round(lag, 6)))
    watch.startService()
    clock.pump([INTERVAL] * 3)
    clock.advance(INTERVAL + 0.05)
    clock.advance(INTERVAL)
    assert seen == [0, 0, 0, 0.05, 0]


def test_stop() -> None:
    """A stopped one leaves nothing in the reactor, and can be started again."""
    clock, seen = Clock(), list[float]()
    watch = LagWatch(clock, seen.append)
    for _ in range(2):
        watch.startService()
        watch.stopService()
        assert clock.getDelayedCalls() == []
    clock.advance(1)
    assert seen == []
