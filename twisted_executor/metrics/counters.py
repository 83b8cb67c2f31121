"""What is counted as it happens."""

from __future__ import annotations

from collections import deque

from twisted.internet.interfaces import IReactorTime

from twisted_executor.boundaries import GONE, Answered, Execution
from twisted_executor.metrics import labels
from twisted_executor.metrics.instruments import Counter, Histogram

TIMES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)  # seconds
LAGS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
LAG_MEMORY = 60.0  # seconds
CANCELLED = "cancelled"  # the client went before it had its answer


class Counters:
    """All counts.  The labels of images are bounded here, whoever counts."""

    def __init__(self, images: labels.ImageLabels, clock: IReactorTime) -> None:
        self._label = images.of
        self._clock = clock
        self.runs = Counter("runs", "Runs by how they ended.", "image", "status")
        self.runs_by_key = Counter("runs_by_key", "Runs by API key and how they ended.", "key", "status")
        self.refused = Counter("refused", "Requests that were refused or not served to their end, by code.", "code")
        self.run_time = Histogram("run_seconds", "Time of the script itself.", "image", bounds=TIMES)
        self.queue_time = Histogram("queue_seconds", "Time that a run waited before it began.", "image", bounds=TIMES)
        self.take_time = Histogram(
            "take_seconds", "Time until a pool gave a container.", "image", "warm", bounds=TIMES
        )  # fmt: skip
        self.create_time = Histogram("create_seconds", "Time to make a container.", bounds=TIMES)
        self.call_time = Histogram("engine_call_seconds", "Time of a call to the engine.", "call", bounds=TIMES)
        self.call_errors = Counter("engine_errors", "Calls to the engine that failed.", "call", "error")
        self.requests = Counter("http_requests", "Requests that were answered.", "route", "method", "code")
        self.request_time = Histogram("http_request_seconds", "Time until the answer.", "route", bounds=TIMES)
        self.lag = Histogram("loop_lag_seconds", "How late the event loop was.", bounds=LAGS)
        self.total_run_time = 0.0
        self._lags: deque[tuple[float, float]] = deque()  # each larger than all after it

    def ran(self, execution: Execution, key: str) -> None:
        """A script came to an end.  @param key: the name of the API key, empty without keys."""
        outcome = execution.outcome
        image, status = self._label(execution.image), outcome.status.value
        self.runs.inc(image, status)
        if key:
            self.runs_by_key.inc(key, status)
        self.run_time.observe(outcome.execution_time, image)
        self.queue_time.observe(execution.queue_time, image)
        self.total_run_time += outcome.execution_time

    def taken(self, image: str, warm: bool, seconds: float) -> None:
        """A pool gave a container after so many seconds."""
        self.take_time.observe(seconds, self._label(image), "yes" if warm else "no")

    def made(self, seconds: float) -> None:
        """A container was made in so many seconds."""
        self.create_time.observe(seconds)

    def called(self, call: str, seconds: float, error: BaseException | None) -> None:
        """A call to the engine ended after so many seconds.  @param error: what it failed with."""
        self.call_time.observe(seconds, call)
        if error is not None:
            self.call_errors.inc(call, labels.engine_error(error))

    def answered(self, request: Answered) -> None:
        """A request had its answer, or its client has gone."""
        route = labels.route(request.path)
        self.requests.inc(route, labels.method(request.method), str(request.status))
        self.request_time.observe(request.seconds, route)
        if request.error is not None:
            self.refused.inc(request.error.code)
        elif request.status == GONE:
            self.refused.inc(CANCELLED)

    def lagged(self, seconds: float) -> None:
        """The event loop was so late."""
        self.lag.observe(seconds)
        while self._lags and self._lags[-1][1] <= seconds:
            self._lags.pop()
        self._lags.append((self._clock.seconds(), seconds))
        self.largest_lag()

    def largest_lag(self) -> float:
        """Of the last minute; older ones are forgotten."""
        while self._lags and self._clock.seconds() - self._lags[0][0] > LAG_MEMORY:
            self._lags.popleft()
        return self._lags[0][1] if self._lags else 0.0

    def text(self, strict: bool) -> str:
        """All of them for a scrape."""
        return "".join(one.text(strict) for one in vars(self).values() if isinstance(one, (Counter, Histogram)))
