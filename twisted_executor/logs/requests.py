"""One event for each HTTP request.  Nothing of what a script is, gets or says is in it."""

from __future__ import annotations

from collections.abc import Callable
from time import time

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import LogEvent, LogLevel, globalLogPublisher

from twisted_executor.boundaries import Answered, Execution
from twisted_executor.images import quoted
from twisted_executor.logs.standard import passing

GONE = 499
DELAY = 0.1  # seconds that an event may wait for others: written together they cost a quarter
MOST = 256  # events that wait
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


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
        self._waiting: list[LogEvent] = []
        self._later: IDelayedCall | None = None

    def stopService(self) -> None:
        """Tell what waits; what comes from now on is told at once."""
        super().stopService()
        self._tell()

    def __call__(self, answered: Answered) -> None:
        """Scripts, and what was refused, at info; all others, mostly probes, at debug."""
        if not self._scripts:
            return
        if answered.execution is not None:
            self._ran(answered, answered.execution)
        elif answered.error is not None:
            self._refused(answered, answered.error.code)
        elif answered.status == GONE:
            self._left(answered)
        elif self._others:
            sentence = "{method} {path}: {http_status}" + _whose(answered)
            self._add(LogLevel.debug, sentence, event="request", **_head(answered), **_about(answered))

    def _ran(self, answered: Answered, execution: Execution) -> None:
        outcome = execution.outcome
        self._add(
            LogLevel.info,
            "run of {image}: {status} in {execution_time} s, {seconds} s in all" + _whose(answered),
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

    def _refused(self, answered: Answered, code: str) -> None:
        """The code alone: the sentence of an error may quote what the client wrote."""
        sentence = "{method} {path} refused: {http_status} {code}" + _whose(answered)
        self._add(LogLevel.info, sentence, event="refused", code=code, **_head(answered), **_about(answered))

    def _left(self, answered: Answered) -> None:
        sentence = "{method} {path}: the client left after {seconds} s" + _whose(answered)
        self._add(LogLevel.info, sentence, event="client_left", **_head(answered), **_about(answered))

    def _add(self, level: object, sentence: str, **event: object) -> None:
        """As a Logger would, but later.  The answer itself, which may be large, is not kept for it."""
        event.update(log_level=level, log_format=sentence, log_namespace=__name__, log_time=self._now())
        self._waiting.append(event)
        if not self.running or len(self._waiting) >= MOST:
            self._tell()
        elif self._later is None:
            self._later = self._clock.callLater(DELAY, self._tell)

    def _tell(self) -> None:
        later, self._later = self._later, None
        if later is not None and later.active():
            later.cancel()
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            self._publish(event)


def _head(answered: Answered) -> dict[str, object]:
    """A line that is no request, such as one of a body whose length was wrong, is not shown."""
    known = answered.method in _METHODS
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
