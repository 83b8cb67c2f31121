"""One container, spoken to through its agent."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from twisted_executor.attach import Attachment
from twisted_executor.boundaries import IEngine, ISandbox, Job, Outcome, Status
from twisted_executor.errors import EngineError, SandboxLost
from twisted_executor.run import (
    CANCEL_LIMIT,
    FATE_LIMIT,
    GREETING_LIMIT,
    OUTPUT_END,
    PING_INTERVAL,
    PONG_LIMIT,
    RUN_GRACE,
    SPENT,
    WIPE_LIMIT,
    Run,
    RunPolicy,
)
from twisted_executor.services import follow
from twisted_executor.verdict import outcome, unfinished
from twisted_executor.wire import (
    CREDIT,
    STAGE_SETUP,
    VERSION,
    Credit,
    End,
    Event,
    Fault,
    Hello,
    Output,
    Pong,
    Wiped,
    cancel_frame,
    ping_frame,
    start_frames,
    stdin_frames,
)


class State(Enum):
    """What the container is doing."""

    GREETING = "greeting"
    IDLE = "idle"
    RUNNING = "running"
    WIPING = "wiping"
    DEAD = "dead"


@implementer(ISandbox)
class Sandbox:
    """A container from its creation to its removal.

    @ivar greeted: fires with the agent's greeting, or errbacks with L{SandboxLost}.
    @ivar lost: fires once, with a reason, when the container cannot be used again.
    """

    log = Logger()

    def __init__(
        self,
        name: str,
        image_id: str,
        engine: IEngine,
        clock: IReactorTime,
        policy: RunPolicy,
        random_below: Callable[[int], int],
        gone: Callable[[str], None],
    ) -> None:
        """@param random_below: an unpredictable number from 0 up to below its argument.

        @param gone: called with the name when the engine has removed the container, or failed to.
        """
        self.name = name
        self.greeted: Deferred[Hello] = Deferred()
        self.lost: Deferred[str] = Deferred()
        self.uids = (0, 0)
        self.image_id = image_id
        self._engine = engine
        self._clock = clock
        self._policy = policy
        self._random_below = random_below
        self._gone = gone
        self._state = State.GREETING
        self._stream: Attachment | None = None
        self._run: Run | None = None
        self._unfit: str | None = None
        self._settling: Deferred[str | None] | None = None
        self._about: dict[str, str] = {}  # the last run
        self._destroyed: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = clock.callLater(
            GREETING_LIMIT, self._die, "The agent did not greet in time."
        )
        self._ping = clock.callLater(PING_INTERVAL, self._send_ping)

    def attached(self, stream: Attachment) -> None:
        """The stream through which all is said, opened before the container starts."""
        self._stream = stream

    # Running

    def run(self, job: Job) -> Deferred[Outcome]:
        """Run a job; only on an idle sandbox."""
        if self._state is not State.IDLE:
            raise SandboxLost(f"The container is {self._state.value}.")
        assert self._stream is not None
        first, last = self.uids
        run = Run(
            id=1 + self._random_below(2**64 - 1),
            job=job,
            began=self._clock.seconds(),
            finished=Deferred(self._cancel),
            stdin=job.stdin,
            sent=min(len(job.stdin), CREDIT),
        )
        self._run, self._state, self._unfit = run, State.RUNNING, None
        self._settling = Deferred()
        self._about = run.about
        self._set_deadline(job.timeout + RUN_GRACE, self._overdue)
        kept = self._policy.output
        self._stream.send(
            start_frames(job, run.id, first + self._random_below(last - first + 1), kept, kept * OUTPUT_END)
            + stdin_frames(run.id, run.stdin[: run.sent], run.sent == len(run.stdin))
        )
        return run.finished

    def settled(self) -> Deferred[str | None]:
        """Fires after the run when it is known whether the container can serve another."""
        if self._settling is None:
            return succeed(self._unfit)
        return follow(self._settling)

    def _cancel(self, finished: Deferred[Outcome]) -> None:
        if self._state is State.RUNNING and self._run is not None and self._run.finished is finished:
            assert self._stream is not None
            self._stream.send(cancel_frame(self._run.id))
            self._set_deadline(CANCEL_LIMIT, self._die, "The agent did not end a cancelled run in time.")

    # What the agent says

    def received(self, event: Event) -> None:
        """Called by the stream with each event."""
        if isinstance(event, Output):
            if self._of_run(event.run):
                assert self._run is not None
                self._run.output[event.stream].append(event.data)
        elif isinstance(event, Credit):
            if self._of_run(event.run):
                self._send_stdin(event.amount)
        elif isinstance(event, End):
            if self._of_run(event.run):
                self._ended(event)
        elif isinstance(event, Wiped):
            self._wiped(event)
        elif isinstance(event, Hello):
            self._hello(event)
        elif isinstance(event, Fault):
            self._die(f"The agent gave up: {event.reason}")
        elif isinstance(event, Pong):
            self._pong()

    def _of_run(self, run_id: int) -> bool:
        if self._state is State.RUNNING and self._run is not None and self._run.id == run_id:
            return True
        self._die("The agent spoke of a run that is not under way.")
        return False

    def _hello(self, hello: Hello) -> None:
        if self._state is not State.GREETING or hello.version != VERSION:
            self._die(f"The agent's greeting is not understood: version {hello.version}.")
            return
        self._clear_deadline()
        self._state = State.IDLE
        self.greeted.callback(hello)

    def _send_stdin(self, amount: int) -> None:
        run = self._run
        assert run is not None
        assert self._stream is not None
        if run.sent == len(run.stdin):
            return
        until = min(len(run.stdin), run.sent + amount)
        self._stream.send(stdin_frames(run.id, run.stdin[run.sent : until], until == len(run.stdin)))
        run.sent = until

    def _ended(self, end: End) -> None:
        run = self._run
        assert run is not None
        if end.stage == STAGE_SETUP:
            self._die(f"The agent could not confine the script (error number {end.errno}).")
            return
        result = outcome(end, run.job, run.text(1), run.text(2), self._policy.output * OUTPUT_END)
        self._state = State.WIPING
        if result.status in SPENT:
            self._unfit = result.status.value
        elif result.oom_kills:
            # A later run that is lost would be taken for one that ran out of memory: the engine's events say no run.
            self._unfit = Status.OUT_OF_MEMORY.value
        self._set_deadline(WIPE_LIMIT, self._die, "The agent did not wipe in time.")
        self._finish(run, result)

    def _finish(self, run: Run, result: Outcome | SandboxLost) -> None:
        self._run = None
        if run.finished.called:
            return  # it was cancelled
        if isinstance(result, Outcome):
            run.finished.callback(result)
        else:
            run.finished.errback(result)

    def _wiped(self, wiped: Wiped) -> None:
        if self._state is not State.WIPING:
            self._die("The agent wiped when nothing had run.")
            return
        self._clear_deadline()
        if not wiped.clean:
            sentence = "{name} is dirty after request {request_id}: {reason}"
            self.log.warn(sentence, event="container_dirty", name=self.name, reason=wiped.reason, **self._about)
            self._unfit = self._unfit or "dirty"
        self._state = State.IDLE
        self._settle()

    def _settle(self) -> None:
        settling, self._settling = self._settling, None
        if settling is not None:
            settling.callback(self._unfit)

    # Silence

    def _send_ping(self) -> None:
        self._ping = self._clock.callLater(PING_INTERVAL, self._send_ping)
        if self._state is State.IDLE and self._deadline is None:
            assert self._stream is not None
            self._stream.send(ping_frame())
            self._set_deadline(PONG_LIMIT, self._die, "The idle agent did not answer.")

    def _pong(self) -> None:
        if self._state is State.IDLE:
            self._clear_deadline()

    def _set_deadline(self, seconds: float, late: Callable[..., None], *args: str) -> None:
        self._clear_deadline()
        self._deadline = self._clock.callLater(seconds, late, *args)

    def _clear_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()

    # The end

    def closed(self, reason: str) -> None:
        """Called by the stream when it has ended."""
        self._die(reason)

    def _overdue(self) -> None:
        """The agent has not ended the run at its limit; the server does."""
        assert self._stream is not None
        if self._stream.whole:
            self._die("The run was over its limit and the agent did not end it.", overdue=True)
        else:
            self._die("The container's stream fell silent in the middle of a frame.")

    def _die(self, reason: str, overdue: bool = False) -> None:
        if self._state is State.DEAD:
            return
        state, self._state = self._state, State.DEAD
        self._clear_deadline()
        run, self._run = self._run, None
        self._unfit = "timeout" if overdue else "lost"
        if run is not None and not run.finished.called:
            sentence = "{name} was lost while request {request_id} ran: {reason}"
            self.log.warn(sentence, event="container_lost", name=self.name, reason=reason, **run.about)
            Deferred.fromCoroutine(self._tell(run, reason, overdue)).addBoth(lambda _: self.destroy())
        else:
            if state is State.WIPING and self._destroyed is None:
                sentence = "{name} was lost while it was wiped after request {request_id}: {reason}"
                self.log.warn(sentence, event="wipe_failed", name=self.name, reason=reason, **self._about)
            self.destroy()
        self._settle()
        if state is State.GREETING:
            self.greeted.errback(SandboxLost(reason))
        self.lost.callback(reason)

    async def _tell(self, run: Run, reason: str, overdue: bool) -> None:
        """Find out what happened and tell the client: the script's memory, its time, or our loss."""
        elapsed = self._clock.seconds() - run.began
        try:
            fate = await self._engine.fate(self.name).addTimeout(FATE_LIMIT, self._clock)
        except (EngineError, TimeoutError) as error:
            fate = None
            reason = f"{reason} {str(error) or 'The engine does not say why.'}"
        if fate is not None and fate.oom_killed:
            status = Status.OUT_OF_MEMORY
        elif overdue and fate is not None and not fate.paused:
            status = Status.TIMEOUT
        else:
            paused = "The container was paused from outside. " if fate is not None and fate.paused else ""
            self._finish(run, SandboxLost(f"The container was lost while the script ran. {paused}{reason}"))
            return
        self._finish(run, unfinished(status, run.job, run.text(1), run.text(2), elapsed, self._policy.output))

    def destroy(self) -> Deferred[None]:
        """Kill and remove it.  Any number of times."""
        if self._destroyed is None:
            self._destroyed = Deferred()
            self._die("The server removed the container.")
            if self._ping.active():
                self._ping.cancel()
            Deferred.fromCoroutine(self._remove()).addErrback(
                lambda failure: self.log.failure(
                    "{name} was not removed", failure, event="removal_fault", name=self.name
                )
            )
        return follow(self._destroyed)

    async def _remove(self) -> None:
        try:
            await self._engine.remove(self.name)
        except EngineError as error:
            self.log.warn("{name} was not removed: {error}", event="not_removed", name=self.name, error=str(error))
        except CancelledError:
            self.log.warn("the removal of {name} was given up", event="removal_given_up", name=self.name)
        if self._stream is not None:
            self._stream.close()
        self._gone(self.name)
        destroyed = self._destroyed
        assert destroyed is not None
        destroyed.callback(None)
