"""How many containers a pool should have, by what was asked of it: pure.

docs/health.md says what the rule promises, and where it cannot know better.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twisted_executor.boundaries import Demand

MINUTE = 60.0  # seconds that are counted together
MINUTES = 15  # that are remembered, the present one among them
PROMISE = 0.05  # the share of requests that may wait in a pool of the recommended size
LEAST_REQUESTS = 20  # fewer tell nothing
LEAST_SECONDS = 10.0  # of a server's first minute, before its rate is believed
MOST = 1000  # what POOL_SIZE may be


@dataclass(slots=True)
class Minute:
    """What was counted in one minute.

    @ivar number: of the minute; each is one more than the one before.
    @ivar waited: requests for which no container was there at once, refused ones among them.
    @ivar waits: of these, those whose wait is over; refused ones do not wait.
    @ivar waiting: seconds that these waited, together.
    @ivar holds: runs whose container was ready again.
    @ivar held: seconds from its lending until then, together.
    @ivar present: requests by how many earlier ones would not have been through with their container yet, had none of
        them waited.
    @ivar apart: requests by how many other tenants have come since the last one of their own tenant; not the first one
        of a tenant.
    """

    number: int
    requests: int = 0
    waited: int = 0
    waits: int = 0
    waiting: float = 0.0
    longest: float = 0.0
    holds: int = 0
    held: float = 0.0
    present: dict[int, int] = field(default_factory=dict)
    apart: dict[int, int] = field(default_factory=dict)


def erlang_c(servers: int, load: float) -> float:
    """The probability that an arrival has to wait: Poisson arrivals, one line, any number of places in it.

    @param servers: at least 1.  @param load: arrivals in the time that one is served, 0 or more.
    """
    if load >= servers:
        return 1.0
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = _blocked(count, load, blocked)
    return _waits(servers, load, blocked)


def _blocked(servers: int, load: float, with_one_less: float) -> float:
    """Erlang B, from that of one server less: without the factorials, which overflow."""
    return load * with_one_less / (servers + load * with_one_less)


def _waits(servers: int, load: float, blocked: float) -> float:
    """Erlang C from Erlang B."""
    return blocked / (1 - load / servers * (1 - blocked))


def servers_for(load: float) -> int:
    """The fewest servers of which at most L{PROMISE} of the arrivals find none free; at most L{MOST}."""
    blocked = 1.0
    for count in range(1, MOST):
        blocked = _blocked(count, load, blocked)
        if load < count and _waits(count, load, blocked) <= PROMISE:
            return count
    return MOST


def covering(counts: Mapping[int, int]) -> int:
    """The least number, 1 to L{MOST}, that at most L{PROMISE} of what was counted reach or exceed."""
    allowed = PROMISE * sum(counts.values())
    for value in sorted(counts, reverse=True):
        allowed -= counts[value]
        if allowed < 0:
            return min(value + 1, MOST)
    return 1


def demand(minutes: Sequence[Minute], size: int, window: float, replacing: float) -> Demand:
    """Look at a pool.

    @param minutes: those of the window in which something happened.  @param size: of the pool now.

    @param window: seconds.  @param replacing: seconds that making containers took, for each run on average.
    """
    requests = sum(minute.requests for minute in minutes)
    waited = sum(minute.waited for minute in minutes)
    waits = sum(minute.waits for minute in minutes)
    share = waited / requests if requests else 0.0
    return Demand(
        window=window,
        requests=requests,
        waited_share=share,
        average_wait=sum(minute.waiting for minute in minutes) / waits if waits else 0.0,
        longest_wait=max((minute.longest for minute in minutes), default=0.0),
        recommended_size=_recommended(minutes, size if share > PROMISE else 1, window, replacing)
        if requests >= LEAST_REQUESTS
        else None,
    )


def _recommended(minutes: Sequence[Minute], least: int, window: float, replacing: float) -> int:
    """Enough for the busiest minute, for what comes at once, and for the tenants that take turns.

    None of the three depends on how large the pool was, so that a change of its size does not change the advice.
    """
    present: Counter[int] = Counter()
    apart: Counter[int] = Counter()
    for minute in minutes:
        present.update(minute.present)
        apart.update(minute.apart)
    return max(least, servers_for(_busiest(minutes, window, replacing)), covering(present), covering(apart))


def _busiest(minutes: Sequence[Minute], window: float, replacing: float) -> float:
    """The largest load of a minute: its requests in a second, times the seconds for which each holds a container."""
    holds = sum(minute.holds for minute in minutes)
    usual = sum(minute.held for minute in minutes) / holds if holds else 0.0
    seconds = min(MINUTE, max(window, LEAST_SECONDS))
    return max(
        minute.requests
        / seconds
        * ((minute.held / minute.holds if minute.holds >= LEAST_REQUESTS else usual) + replacing)
        for minute in minutes
    )
