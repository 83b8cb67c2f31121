"""A sandbox, its agent played by the test, on a clock that the test advances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_executor import wire
from twisted_executor.boundaries import Fate, ISandbox, Job, Status
from twisted_executor.errors import EngineUnreachable, SandboxLost
from twisted_executor.logs.lines import as_json
from twisted_executor.run import (
    CANCEL_LIMIT,
    FATE_LIMIT,
    GREETING_LIMIT,
    PING_INTERVAL,
    PONG_LIMIT,
    RUN_GRACE,
    WIPE_LIMIT,
    RunPolicy,
)
from twisted_executor.sandbox import Sandbox

HELLO = wire.Hello(wire.VERSION, {})
JOB = Job(b"echo hi", 5.0, "r1")


class Engine:
    """As much of an engine as a sandbox asks."""

    def __init__(self) -> None:
        self.removed: list[str] = []
        self.fate_is: Deferred[Fate] = succeed(Fate(oom_killed=False, paused=False))

    def remove(self, container: str) -> Deferred[None]:
        self.removed.append(container)
        return succeed(None)

    def fate(self, container: str) -> Deferred[Fate]:
        return self.fate_is


class Stream:
    """What the sandbox sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False
        self.whole = True

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self) -> None:
        self.closed = True

    def frames(self) -> list[tuple[int, int, bytes]]:
        """All frames so far: type, run, payload."""
        data, found = b"".join(self.sent), []
        while data:
            length = int.from_bytes(data[4:8], "big")
            found.append((data[0], int.from_bytes(data[8:16], "big"), data[16 : 16 + length]))
            data = data[16 + length :]
        return found


class SandboxTests(SynchronousTestCase):
    """Sandbox."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.engine = Engine()
        self.stream = Stream()
        self.gone: list[str] = []
        self.numbers = iter(range(7, 1000))
        self.sandbox: Any = Sandbox(
            "box",
            "sha256:1",
            self.engine,  # type: ignore[arg-type]
            self.clock,
            RunPolicy(output=1000),
            lambda most: next(self.numbers) % most,
            self.gone.append,
        )
        self.sandbox.attached(self.stream)
        self.lost: list[str] = []
        self.sandbox.lost.addCallback(self.lost.append)
        self.sandbox.uids = (5000, 6000)

    def greet(self) -> None:
        self.sandbox.received(HELLO)
        self.successResultOf(self.sandbox.greeted)

    def begin(self, job: Job = JOB) -> tuple[Deferred[Any], int]:
        """Greet and run; the run's Deferred and its id."""
        self.greet()
        running = self.sandbox.run(job)
        return running, self.stream.frames()[-1][1]

    def end(self, run: int, **values: Any) -> wire.End:
        fields: dict[str, Any] = {
            "cause": 0, "stage": 0, "errno": 0, "wait_status": 0, "oom_kills": 0, "stdout_bytes": 3,
            "stderr_bytes": 0, "wall": 0.01, "cpu": 0.01, "memory_peak": 1 << 20,
        }  # fmt: skip
        return wire.End(run, **(fields | values))

    def test_interface(self) -> None:
        """It is what a pool lends."""
        verifyObject(ISandbox, self.sandbox)

    def test_run(self) -> None:
        """A job goes out in one write; its output and end make the outcome; the wipe makes it idle."""
        running, run = self.begin()
        self.assertEqual(len(self.stream.sent), 1)
        self.assertEqual([kind for kind, _, _ in self.stream.frames()], [wire.START, wire.SCRIPT, wire.STDIN])
        self.sandbox.received(wire.Output(run, 1, b"h"))
        self.sandbox.received(wire.Output(run, 2, b"e"))
        self.sandbox.received(wire.Output(run, 1, b"i\n"))
        settled = self.sandbox.settled()
        self.sandbox.received(self.end(run))
        outcome = self.successResultOf(running)
        self.assertEqual((outcome.stdout, outcome.stderr, outcome.status), (b"hi\n", b"e", Status.OK))
        self.assertNoResult(settled)
        self.sandbox.received(wire.Wiped(run, True, ""))
        self.assertIsNone(self.successResultOf(settled))
        self.sandbox.run(JOB)
        self.assertFalse(self.lost)

    def test_ids(self) -> None:
        """Each run has an id above zero and a uid of the range."""
        running, run = self.begin()
        self.assertGreater(run, 0)
        uid = int.from_bytes(self.stream.frames()[0][2][:4], "big")
        self.assertTrue(5000 <= uid <= 6000)
        self.assertNoResult(running)

    def test_stdin_against_credit(self) -> None:
        """Stdin is sent only as far as there is credit, and ends once."""
        data = bytes(range(256)) * 2000
        _, run = self.begin(Job(b"cat", 5.0, "r", stdin=data))

        def sent() -> bytes:
            return b"".join(payload for kind, _, payload in self.stream.frames() if kind == wire.STDIN)

        def ends() -> int:
            return sum(kind == wire.STDIN and not payload for kind, _, payload in self.stream.frames())

        self.assertEqual((len(sent()), ends()), (wire.CREDIT, 0))
        self.sandbox.received(wire.Credit(run, 1000))
        self.assertEqual(len(sent()), wire.CREDIT + 1000)
        self.sandbox.received(wire.Credit(run, 10**9))
        self.assertEqual((sent(), ends()), (data, 1))
        self.sandbox.received(wire.Credit(run, 10**9))
        self.assertEqual(ends(), 1)

    def test_spent(self) -> None:
        """After a timeout, an out of memory or an output limit it is not used again, however clean."""
        for values, word in (
            ({"cause": wire.TIMED_OUT, "wait_status": 9}, "timeout"),
            ({"cause": wire.OUTPUT_LIMIT, "wait_status": 9}, "output_limit"),
            ({"oom_kills": 1, "wait_status": 9}, "out_of_memory"),
        ):
            self.setUp()
            running, run = self.begin()
            settled = self.sandbox.settled()
            self.sandbox.received(self.end(run, **values))
            self.assertEqual(self.successResultOf(running).status.value, word)
            self.sandbox.received(wire.Wiped(run, True, ""))
            self.assertEqual(self.successResultOf(settled), word)

    def test_survived_out_of_memory(self) -> None:
        """A run that lost a child for memory and went on ends well; the container serves no other.

        The engine would tell of that event when a later run is lost, and cannot tell to which it belongs.
        """
        running, run = self.begin()
        settled = self.sandbox.settled()
        self.sandbox.received(self.end(run, oom_kills=1))
        self.assertEqual(self.successResultOf(running).status.value, "ok")
        self.sandbox.received(wire.Wiped(run, True, ""))
        self.assertEqual(self.successResultOf(settled), "out_of_memory")

    def test_dirty(self) -> None:
        """What is not clean is not used again."""
        _, run = self.begin()
        settled = self.sandbox.settled()
        self.sandbox.received(self.end(run))
        self.sandbox.received(wire.Wiped(run, False, "/tmp is not empty"))
        self.assertEqual(self.successResultOf(settled), "dirty")

    def test_cancel(self) -> None:
        """A cancelled run is ended by the agent, and the container serves on."""
        running, run = self.begin()
        settled = self.sandbox.settled()
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assertEqual(self.stream.frames()[-1], (wire.CANCEL, run, b""))
        self.sandbox.received(self.end(run, cause=wire.CANCELLED, wait_status=9))
        self.sandbox.received(wire.Wiped(run, True, ""))
        self.assertIsNone(self.successResultOf(settled))

    def test_cancel_deadline(self) -> None:
        """An agent that does not end a cancelled run loses its container."""
        running, _ = self.begin()
        settled = self.sandbox.settled()
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.clock.advance(CANCEL_LIMIT)
        self.assertEqual((self.engine.removed, self.successResultOf(settled)), (["box"], "lost"))

    def test_greeting_deadline(self) -> None:
        """An agent that does not greet loses its container."""
        self.clock.advance(GREETING_LIMIT)
        self.failureResultOf(self.sandbox.greeted, SandboxLost)
        self.assertEqual((self.engine.removed, len(self.lost)), (["box"], 1))

    def test_wrong_version(self) -> None:
        """An agent of another version loses its container."""
        self.sandbox.received(wire.Hello(wire.VERSION + 1, {}))
        self.failureResultOf(self.sandbox.greeted, SandboxLost)

    def test_run_deadline(self) -> None:
        """The server has the last word on time: the client gets a timeout with the output so far."""
        running, run = self.begin()
        settled = self.sandbox.settled()
        self.sandbox.received(wire.Output(run, 1, b"so far"))
        self.clock.advance(JOB.timeout + RUN_GRACE - 0.01)
        self.assertNoResult(running)
        self.clock.advance(0.01)
        outcome = self.successResultOf(running)
        self.assertEqual((outcome.status, outcome.stdout, outcome.exit_code), (Status.TIMEOUT, b"so far", 137))
        self.assertEqual((self.engine.removed, self.successResultOf(settled)), (["box"], "timeout"))

    def test_silent_in_a_frame(self) -> None:
        """A stream that stopped in the middle of what it says is lost: how the run ended may have been behind it."""
        running, _ = self.begin()
        self.stream.whole = False
        self.clock.advance(JOB.timeout + RUN_GRACE)
        self.assertIn("middle of a frame", str(self.failureResultOf(running, SandboxLost).value))

    def test_paused(self) -> None:
        """A container that somebody froze is lost, not timed out."""
        self.engine.fate_is = succeed(Fate(oom_killed=False, paused=True))
        running, _ = self.begin()
        self.clock.advance(JOB.timeout + RUN_GRACE)
        self.assertIn("paused", str(self.failureResultOf(running, SandboxLost).value))

    def test_wipe_deadline(self) -> None:
        """An agent that does not end its wipe loses its container; the client has its answer already."""
        running, run = self.begin()
        settled = self.sandbox.settled()
        self.sandbox.received(self.end(run))
        self.successResultOf(running)
        self.clock.advance(WIPE_LIMIT)
        self.assertEqual((self.engine.removed, self.successResultOf(settled)), (["box"], "lost"))

    def test_lost_in_mid_run(self) -> None:
        """A stream that ends in mid-run is a lost sandbox, at once."""
        running, _ = self.begin()
        settled = self.sandbox.settled()
        self.sandbox.closed("The stream ended.")
        self.assertIn("The stream ended.", str(self.failureResultOf(running, SandboxLost).value))
        self.assertEqual((self.successResultOf(settled), len(self.lost)), ("lost", 1))
        self.assertEqual(self.engine.removed, ["box"])

    def test_out_of_memory_of_all(self) -> None:
        """Where the engine saw an oom, the end of the stream is the script's memory."""
        self.engine.fate_is = succeed(Fate(oom_killed=True, paused=False))
        running, run = self.begin()
        self.sandbox.received(wire.Output(run, 1, b"so far"))
        self.sandbox.closed("The stream ended.")
        outcome = self.successResultOf(running)
        self.assertEqual((outcome.status, outcome.stdout), (Status.OUT_OF_MEMORY, b"so far"))

    def test_lost_with_the_engine(self) -> None:
        """Without an engine to ask the sandbox is lost all the same."""
        self.engine.fate_is = fail(EngineUnreachable("no engine"))
        running, _ = self.begin()
        self.sandbox.closed("The stream ended.")
        self.assertIn("no engine", str(self.failureResultOf(running, SandboxLost).value))

    def test_engine_that_hangs(self) -> None:
        """An engine that does not say what happened keeps nobody waiting, and nothing is guessed."""
        for lose in (
            lambda: self.sandbox.closed("The stream ended."),
            lambda: self.clock.advance(JOB.timeout + RUN_GRACE),
        ):
            self.setUp()
            self.engine.fate_is = Deferred()
            running, _ = self.begin()
            lose()
            self.clock.advance(FATE_LIMIT - 0.1)
            self.assertNoResult(running)
            self.clock.advance(0.1)
            self.failureResultOf(running, SandboxLost)

    def test_setup_failure(self) -> None:
        """A script that could not be confined has not run; the container goes."""
        running, run = self.begin()
        self.sandbox.received(self.end(run, stage=wire.STAGE_SETUP, errno=22, wait_status=0x100))
        self.failureResultOf(running, SandboxLost)
        self.assertEqual(self.engine.removed, ["box"])

    def test_forged_events(self) -> None:
        """Events of another run, or at the wrong time, cost the container."""
        for event in (
            wire.Output(1, 1, b"x"), wire.Credit(1, 1), self.end(1), wire.Wiped(1, True, ""), HELLO, wire.Fault("x"),
        ):  # fmt: skip
            self.setUp()
            running, run = self.begin()
            self.assertNotEqual(run, 1)
            self.sandbox.received(event)
            self.failureResultOf(running, SandboxLost)
            self.assertEqual(self.engine.removed, ["box"])

    def test_ping(self) -> None:
        """An idle agent is asked now and then; one that does not answer loses its container."""
        self.greet()
        self.clock.advance(PING_INTERVAL)
        self.assertEqual([kind for kind, _, _ in self.stream.frames()], [wire.PING])
        self.sandbox.received(wire.Pong())
        self.clock.advance(PONG_LIMIT)
        self.assertFalse(self.lost)
        self.clock.advance(PING_INTERVAL)
        self.clock.advance(PONG_LIMIT)
        self.assertEqual(self.engine.removed, ["box"])

    def test_destroy(self) -> None:
        """Destroying removes the container once, however often it is asked, and leaves no timer."""
        self.greet()
        self.successResultOf(self.sandbox.destroy())
        self.successResultOf(self.sandbox.destroy())
        self.assertEqual((self.engine.removed, self.gone, self.stream.closed), (["box"], ["box"], True))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        with self.assertRaises(SandboxLost):
            self.sandbox.run(JOB)

    def test_destroyed_in_mid_run(self) -> None:
        """Who waits for a run of a destroyed sandbox is told."""
        running, _ = self.begin()
        self.successResultOf(self.sandbox.destroy())
        self.failureResultOf(running, SandboxLost)

    def test_log(self) -> None:
        """What goes wrong in a run is logged with the request's id and its trace, and nothing of the script."""
        events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        job = Job(b"secret", 5.0, "r1", b"secret", (b"secret",), traceparent="00-trace")
        expected = {"name": "box", "request_id": "r1", "traceparent": "00-trace"}
        ends: tuple[tuple[str, Callable[[int], object]], ...] = (
            ("container_lost", lambda run: self.sandbox.closed("It is gone.")),
            ("container_dirty", lambda run: (
                self.sandbox.received(self.end(run)), self.sandbox.received(wire.Wiped(run, False, "why")))),
            ("wipe_failed", lambda run: (self.sandbox.received(self.end(run)), self.clock.advance(WIPE_LIMIT))),
        )  # fmt: skip
        for name, end in ends:
            self.setUp()
            running, run = self.begin(job)
            running.addErrback(lambda _: None)
            end(run)
            (event,) = (event for event in events if event.get("event") == name)
            self.assertEqual({key: event[key] for key in expected}, expected)
            self.assertNotIn("secret", as_json(event))

    def test_stop_is_no_loss(self) -> None:
        """A container that the server removes while it is wiped is not told of as lost."""
        events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        _, run = self.begin()
        self.sandbox.received(self.end(run))
        self.sandbox.destroy()
        self.assertEqual([event for event in events if event.get("event")], [])
