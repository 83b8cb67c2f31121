"""What the status page shows, from what is told of requests."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from tests.unit.web_client import Server
from twisted_executor.boundaries import (
    Answered,
    Demand,
    Execution,
    ExecutorStats,
    HealthReport,
    IStatus,
    Outcome,
    Status,
)
from twisted_executor.errors import Overloaded
from twisted_executor.keys import parse
from twisted_executor.status import MOST_RECENT, SECONDS, StatusBoard
from twisted_executor.testing import HELLO, MemoryHealth, pool_stats

KEYS = parse("alice:alices-secret-0001\n")


def ran(seconds: float = 0.001, status: Status = Status.OK, **more: Any) -> Answered:
    """A run that took so long."""
    outcome = replace(HELLO, execution_time=seconds, status=status)
    return Answered(200, "POST", "/execute", execution=Execution(outcome, 0.0001, True, "alpine", "id"), **more)


REFUSED = Answered(503, "POST", "/execute", error=Overloaded("Too many wait.", 1.0))


class Board:
    """A board on a clock that the test moves."""

    def __init__(self, now: float = 1000.5) -> None:
        self.clock = Clock()
        self.clock.advance(now)
        self.stats = ExecutorStats((), 0, 0, draining=False)
        self.board = StatusBoard(self.clock, lambda: self.stats, MemoryHealth(), "1.2.3")

    def tell(self, *exchanges: Answered) -> None:
        """These are over now."""
        for exchange in exchanges:
            self.board.answered(exchange)

    @property
    def shown(self) -> Any:
        """What the page gets."""
        return msgspec.json.decode(msgspec.json.encode(self.board.as_json()))

    @property
    def rates(self) -> Any:
        """The part of it about seconds."""
        return self.shown["rates"]


def test_interface() -> None:
    """The board is what the API asks for."""
    verifyObject(IStatus, Board().board)


def test_at_first() -> None:
    """Before anything has happened there is nothing, and all of it can be shown."""
    shown = Board(0.0).shown
    assert shown["health"] == {"status": "healthy", "reasons": [], "ready": True, "advice": []}
    assert (shown["version"], shown["uptime_seconds"], shown["recent"], shown["pools"]) == ("1.2.3", 0.0, [], [])
    empty = [0] * SECONDS
    nothing = [None] * SECONDS
    assert shown["rates"] == {
        "seconds": SECONDS, "runs": empty, "failed": empty, "refused": empty, "p50": nothing, "p95": nothing,
        "last_minute": {"p50": None, "p95": None},
    }  # fmt: skip


def test_recent() -> None:
    """A run is there with what is known of it, and with how long ago it was."""
    board = Board()
    outcome = Outcome(Status.SIGNALED, 137, "SIGKILL", b"out", b"err", 3, 3, 0.0123456789, 0, 0.1, 1, "It was killed.")
    board.tell(Answered(200, "POST", "/execute", key="alice", execution=Execution(outcome, 0.5, False, "p:3", "mine")))
    board.clock.advance(2.5)
    assert board.shown["recent"] == [
        {
            "seconds_ago": 2.5, "number": 1, "image": "p:3", "status": "signaled", "exit_code": 137,
            "execution_time": 0.012346, "queue_time": 0.5, "warm": False, "key": "alice", "request_id": "mine",
        }
    ]  # fmt: skip


def test_newest_first() -> None:
    """The newest are kept, newest first, and no more of them than there is room for."""
    board = Board()
    board.tell(*(ran() for _ in range(3 * MOST_RECENT)))
    numbers = [run["number"] for run in board.shown["recent"]]
    assert numbers == list(range(3 * MOST_RECENT, 2 * MOST_RECENT, -1))


def test_outputs_are_not_kept() -> None:
    """What a script has written, which may be megabytes, is let go."""
    board = Board()
    outcomes = [replace(HELLO, stdout=b"%d" % number) for number in range(10)]
    board.tell(*(Answered(200, execution=Execution(one, 0.0, True, "a", "i")) for one in outcomes))
    gc.collect()
    assert [one for one in outcomes if any(isinstance(other, Execution) for other in gc.get_referrers(one))] == []


def test_rates() -> None:
    """A second counts when it is over; failures and refusals stand beside the runs."""
    board = Board(1000.0)
    board.tell(ran(), ran(), ran(status=Status.TIMEOUT), REFUSED)
    assert sum(board.rates["runs"]) == 0
    board.clock.advance(1)
    board.tell(ran())
    board.clock.advance(1)
    rates = board.rates
    assert rates["runs"][-3:] == [0, 3, 1]
    assert rates["failed"][-3:] == [0, 1, 0]
    assert rates["refused"][-3:] == [0, 1, 0]


def test_others_are_no_runs() -> None:
    """Requests that are no scripts, and clients that go, change nothing."""
    board = Board(1000.0)
    board.tell(Answered(200, "GET", "/health"), Answered(499, "POST", "/execute"))
    board.tell(Answered(404, "GET", "/nothing", error=REFUSED.error), Answered(400, error=REFUSED.error))
    board.clock.advance(1)
    shown = board.shown
    assert shown["recent"] == []
    assert sum(shown["rates"]["runs"]) + sum(shown["rates"]["refused"]) == 0


def test_old_seconds_are_forgotten() -> None:
    """After five minutes a second is gone, whether others have come or not."""
    board = Board(1000.0)
    board.tell(ran())
    board.clock.advance(SECONDS)
    assert board.rates["runs"] == [1] + [0] * (SECONDS - 1)
    board.clock.advance(1)
    assert sum(board.rates["runs"]) == 0
    board.clock.advance(10 * SECONDS)
    board.tell(ran())
    board.clock.advance(1)
    assert board.rates["runs"] == [0] * (SECONDS - 1) + [1]


@given(st.lists(st.floats(min_value=0.00001, max_value=86400), min_size=1, max_size=200))
def test_times(seconds: list[float]) -> None:
    """The quicker half and nineteen of twenty took no longer, within 5 %."""
    board = Board(1000.0)
    board.tell(*map(ran, seconds))
    board.clock.advance(1)
    ordered = sorted(seconds)
    rates = board.rates
    for name, share in (("p50", 50), ("p95", 95)):
        true = ordered[-(-len(ordered) * share // 100) - 1]
        assert rates["last_minute"][name] == rates[name][-1] == pytest.approx(true, rel=0.05)


def test_odd_times() -> None:
    """No time at all is one too."""
    board = Board(1000.0)
    board.tell(ran(0.0), ran(-1.0))
    board.clock.advance(1)
    assert board.rates["last_minute"]["p50"] < 0.00001


def test_last_minute() -> None:
    """It is about sixty seconds, and not about those before."""
    board = Board(1000.0)
    board.tell(*[ran(1.0)] * 100)
    board.clock.advance(60)
    assert board.rates["last_minute"]["p50"] == pytest.approx(1.0)
    board.tell(ran(0.001))
    board.clock.advance(1)
    assert board.rates["last_minute"]["p50"] == pytest.approx(0.001, rel=0.05)


def test_clock_that_goes_back() -> None:
    """A clock that is set back breaks nothing."""
    board = Board(1000.0)
    board.tell(ran())
    board.clock.rightNow = 900.0
    board.tell(ran())
    assert sum(board.rates["runs"]) == 0


def test_memory_is_bounded() -> None:
    """However many runs there are, only so many seconds and so many runs are kept."""
    board = Board(0.0)
    for number in range(5000):
        board.tell(ran(1e-5 * 1.01**number if number < 2000 else 1.0))
        board.clock.advance(0.3)
    assert len(board.board._ring) == SECONDS + 1
    assert len(board.shown["recent"]) == MOST_RECENT
    assert sum(board.rates["runs"]) == pytest.approx(SECONDS / 0.3, abs=4)


def test_pools() -> None:
    """A pool is there with its demand, where somebody watches that."""
    board = Board()
    demand = Demand(300.0, 10, 0.1, 0.2, 0.3, None)
    pools = (pool_stats("alpine", idle=1, retired={"used": 2}), pool_stats("python", demand=demand))
    board.stats = ExecutorStats(pools, 3, 4, draining=True)
    shown = board.shown
    assert (shown["running"], shown["waiting"], shown["draining"]) == (3, 4, True)
    assert (shown["pools"][0]["image"], shown["pools"][0]["idle"], shown["pools"][0]["demand"]) == ("alpine", 1, None)
    assert shown["pools"][1]["demand"]["waited_share"] == 0.1


def test_over_http() -> None:
    """GET /status is JSON, with the reasons of /health, and nothing in it of scripts, inputs or outputs."""
    server = Server(replace(HELLO, stdout=b"secret-stdout", stderr=b"secret-stderr", error="secret-error"))
    server.health.state = HealthReport("degraded", ("One pool is empty.",), ready=True)
    server.execute(
        {"script": "secret-script", "stdin": "secret-stdin", "args": ["secret-arg"], "env": {"A": "secret-env"},
         "tenant": "secret-tenant"}, "X-Request-ID: mine",
    )  # fmt: skip
    answer = server.request("GET", "/status")
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json["health"] == {
        "status": "degraded",
        "reasons": ["One pool is empty."],
        "ready": True,
        "advice": [],
    }
    assert answer.json["recent"][0]["request_id"] == "mine"
    assert b"secret" not in answer.body


def test_key() -> None:
    """With keys it needs one, as /metrics does, and says the names of keys, never their secrets."""
    server = Server(HELLO, keys=KEYS)
    for path in ("/status", "/metrics"):
        answer = server.request("GET", path)
        assert (answer.status, answer.json["code"]) == (401, "unauthorized")
    bearer = "Authorization: Bearer alices-secret-0001"
    server.execute({"script": "true"}, bearer)
    answer = server.request("GET", "/status", bearer)
    assert answer.json["recent"][0]["key"] == "alice"
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    "header", ["Origin: http://evil.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"]
)
def test_other_pages(header: str) -> None:
    """A page of another origin gets nothing, and no header that would let it read."""
    answer = Server().request("GET", "/status", header)
    assert (answer.status, answer.json["code"]) == (403, "forbidden")
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_rebound_name() -> None:
    """A name that somebody gave this address does not open it."""
    assert Server().request("GET", "/status", host="evil.example").status == 403
    assert Server().request("GET", "/", host="evil.example").status == 403
