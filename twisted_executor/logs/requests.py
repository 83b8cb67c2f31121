"""One event for each HTTP request.  Nothing of what a script is, gets or says is in it."""

from __future__ import annotations

from collections.abc import Callable
from time import time

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import LogEvent, LogLevel, globalLogPublisher

from twisted_executor.boundaries import GONE, METHODS, Answered, Execution
from twisted_executor.images import quoted
from twisted_executor.logs.standard import passing

DELAY = 0.1  # seconds that an event may wait for others: written together they cost a quarter
MOST = 256  # events that wait
SMALL = 4096  # bytes of output that may be kept for so long


class RequestLog(Service):
    """Listens to what was answered.  Its events carry their own time, and reach the log together, a little later."""

    def __init__(
        self,
        level: str,
        clock: IReactorTime,
        publish: Callable[[LogEvent], object] = globalLogPublisher,
        now: Callable[[], float] = time,
    ) -> None:
        """@param level: of the log; what it would not show is not put together.  @param now: seconds since 1970."""
        self.setName("request log")
        shown = {getattr(one, "name", "") for one in passing(level)}
        self._scripts = "info" in shown
        self._others = "debug" in shown
        self._clock = clock
        self._publish = publish
        self._now = now
        self._waiting: list[LogEvent | tuple[Answered, float]] = []
        self._later: IDelayedCall | None = None

    def stopService(self) -> None:
        """Tell what waits; what comes from now on is told at once."""
        super().stopService()
        self._tell()

    def __call__(self, answered: Answered) -> None:
        """Scripts, and what was refused, at info; all others, mostly probes, at debug."""
        if not self._scripts:
            return
        execution = answered.execution
        if execution is not None and len(execution.outcome.stdout) + len(execution.outcome.stderr) <= SMALL:
            self._waiting.append((answered, self._now()))
        elif execution is not None or answered.error is not None or answered.status == GONE or self._others:
            # At once: an output may be large, and an error holds the frames that it came through, with the request.
            self._waiting.append(_event(answered, self._now()))
        else:
            return
        if not self.running or len(self._waiting) >= MOST:
            self._tell()
        elif self._later is None:
            self._later = self._clock.callLater(DELAY, self._tell)

    def _tell(self) -> None:
        later, self._later = self._later, None
        if later is not None and later.active():
            later.cancel()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            self._publish(_event(*one) if isinstance(one, tuple) else one)


def _event(answered: Answered, moment: float) -> LogEvent:
    whose = _whose(answered)
    if answered.execution is not None:
        return _ran(answered, answered.execution, moment, whose)
    head = _head(answered) | _about(answered)
    if answered.error is not None:
        # The code alone: the sentence of an error may quote what the client wrote.
        sentence = "{method} {path} refused: {http_status} {code}" + whose
        return _made(LogLevel.info, sentence, moment, event="refused", code=answered.error.code, **head)
    if answered.status == GONE:
        sentence = "{method} {path}: the client left after {seconds} s" + whose
        return _made(LogLevel.info, sentence, moment, event="client_left", **head)
    return _made(LogLevel.debug, "{method} {path}: {http_status}" + whose, moment, event="request", **head)


def _ran(answered: Answered, execution: Execution, moment: float, whose: str) -> LogEvent:
    outcome = execution.outcome
    return _made(
        LogLevel.info,
        "run of {image}: {status} in {execution_time} s, {seconds} s in all" + whose,
        moment,
        event="run",
        image=execution.image,
        status=outcome.status.value,
        exit_code=outcome.exit_code,
        execution_time=round(outcome.execution_time, 6),
        queue_time=round(execution.queue_time, 6),
        warm=execution.warm,
        http_status=answered.status,
        **_about(answered),
    )


def _made(level: object, sentence: str, moment: float, **event: object) -> LogEvent:
    """As a Logger would."""
    event.update(log_level=level, log_format=sentence, log_namespace=__name__, log_time=moment)
    return event


def _head(answered: Answered) -> dict[str, object]:
    """A line that is no request, such as one of a body whose length was wrong, is not shown."""
    known = answered.method in METHODS
    return {
        "method": answered.method if known else "-",
        "path": quoted(answered.path)[1:-1] if known else "-",
        "http_status": answered.status,
    }


def _whose(answered: Answered) -> str:
    """The end of a sentence, as a format."""
    request = "; request {request_id}" if answered.request_id else "; a request"
    key = " of {key}" if answered.key else ""
    return request + key + " from {peer}" if answered.peer else request + key


def _about(answered: Answered) -> dict[str, object]:
    """What is known of every request; what is not is left out."""
    about: dict[str, object] = {"seconds": round(answered.seconds, 6)}
    if answered.peer:
        about["peer"] = answered.peer
    if answered.key:
        about["key"] = answered.key
    if answered.request_id:
        about["request_id"] = answered.request_id
    if answered.traceparent:
        about["traceparent"] = answered.traceparent
    return about
