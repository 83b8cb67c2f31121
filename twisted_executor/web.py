"""The HTTP API.  The only module that knows Klein, and the only one that knows status codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from klein import Klein
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WrongMethod

from twisted_executor import errors
from twisted_executor.boundaries import Answered, HealthReport, IExecutor, IHealth, IMetrics, IStatus
from twisted_executor.console import PAGE_HEADERS, pages
from twisted_executor.errors import ExecutorError, MethodNotAllowed, NoSuchResource, Overloaded
from twisted_executor.gate import Gate, GateRules, extra_headers, request_id, traceparent
from twisted_executor.guard import GuardedSite, SiteLimits
from twisted_executor.images import quoted
from twisted_executor.incoming import GuardedRequest
from twisted_executor.keys import KeyFile, Keys
from twisted_executor.schema import JobRules, decode_job, encode, encode_execution, encode_refusal, encode_report

JSON = "application/json"
FEW = 32  # connections to the port of the figures alone

# The most special type of an error's class decides.
STATUS: dict[type[ExecutorError], int] = {
    errors.InvalidRequest: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.ImageNotAllowed: 403,
    errors.NoSuchResource: 404,
    errors.MethodNotAllowed: 405,
    errors.RequestTooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.ImageNotFound: 422,
    errors.TooManyRequests: 429,
    errors.Unavailable: 503,
    ExecutorError: 500,
}


def status_of(error: ExecutorError) -> int:
    """The HTTP status of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


@dataclass(frozen=True, slots=True)
class WebRules:
    """What the operator decided about requests.  Sizes in bytes, times in seconds.

    @ivar waiting: the bodies of all requests that wait or run together; again, of all that are on their way; and again,
    answers that have not been read.
    @ivar connections: of clients, at most.
    @ivar allowed: references as the operator wrote them; empty: any image.
    @ivar allowed_canonical: the same and those of the pools, in canonical form.
    @ivar console: the status page has a box to run scripts.
    """

    timeout: float
    body: int
    waiting: int
    connections: int
    hosts: tuple[str, ...]
    keys: Keys | KeyFile | None
    allowed: tuple[str, ...]
    allowed_canonical: frozenset[str]
    console: bool = False


class API:
    """The routes."""

    app = Klein()
    log = Logger()

    def __init__(
        self,
        executor: IExecutor,
        health: IHealth,
        metrics: IMetrics,
        status: IStatus,
        rules: WebRules,
        fresh_id: Callable[[], str],
    ) -> None:
        """@param fresh_id: an id for a request or an incident that has none."""
        self._executor = executor
        self._health = health
        self._metrics = metrics
        self._status = status
        self._pages = pages(rules.console)
        self._rules = rules
        self._jobs = JobRules(rules.timeout, rules.allowed_canonical)
        self._fresh_id = fresh_id
        self._held = 0

    def site(self, reactor: IReactorTime, *answered: Callable[[Answered], object]) -> GuardedSite:
        """What is to be served on a port.  @param answered: told of every request that has had its answer."""
        rules = self._rules
        keyless = frozenset(self._pages)
        gate = Gate(GateRules(rules.hosts, rules.keys, rules.body, keyless=keyless), lambda: self._check_room(site))
        limits = SiteLimits(rules.body, rules.waiting, rules.connections)
        site = self._guarded(gate, limits, answered, reactor)
        return site

    def figures_site(self, reactor: IReactorTime, *answered: Callable[[Answered], object]) -> GuardedSite:
        """The figures and health alone, without API keys, for a port of their own."""
        body = self._rules.body  # nobody reads one, but whoever sends one gets a true sentence
        only = GateRules(self._rules.hosts, keys=None, most=body, paths=frozenset({b"/metrics"}))
        limits = SiteLimits(body, arriving=body, connections=FEW)
        return self._guarded(Gate(only, lambda: None), limits, answered, reactor)

    def _guarded(
        self, gate: Gate, limits: SiteLimits, answered: Sequence[Callable[[Answered], object]], reactor: IReactorTime
    ) -> GuardedSite:
        def tell(exchange: Answered) -> None:
            for listener in answered:
                try:
                    listener(exchange)
                except Exception:  # the answer must not suffer
                    self.log.failure("{listener} failed", event="listener_fault", listener=listener)

        return GuardedSite(self.app.resource(), gate, limits, self._refused, tell, reactor)

    def _check_room(self, site: GuardedSite) -> None:
        if site.unread > self._rules.waiting:
            raise Overloaded(f"Answers that their clients do not read hold {site.unread} bytes.")
        self._executor.check_room()

    # Routes

    @app.route("/execute", methods=["POST"])
    async def execute(self, request: GuardedRequest) -> bytes:
        """Run a script."""
        assert request.content is not None
        body = request.content.read()
        trace = traceparent(request.requestHeaders)
        job = decode_job(body, self._jobs, self._id_of(request), request.key, trace)
        if self._held + len(body) > self._rules.waiting:
            raise Overloaded(f"The waiting requests hold {self._held} bytes, which is all that they may.", 1.0)
        self._held += len(body)
        try:
            execution = await self._executor.execute(job)
        except ExecutorError:
            # Nobody is there to be told, and Klein would log it as a fault.
            if request.gone:
                raise CancelledError from None
            raise
        finally:
            self._held -= len(body)
        request.execution = execution
        return self._answer(request, 200, encode_execution(execution))

    @app.route("/health", methods=["GET"])
    def health(self, request: GuardedRequest) -> bytes:
        """Whether scripts can run, and why not."""
        report = self._health.report()
        return self._report(request, 503 if report.status == "unhealthy" else 200, report)

    @app.route("/health/live", methods=["GET"])
    def live(self, request: GuardedRequest) -> bytes:
        """Whether this process lives; the engine has no part in it."""
        return self._answer(request, 200, encode({"status": "alive"}))

    @app.route("/health/ready", methods=["GET"])
    def ready(self, request: GuardedRequest) -> bytes:
        """Whether requests may be sent here."""
        report = self._health.report()
        return self._report(request, 200 if report.ready else 503, report)

    @app.route("/metrics", methods=["GET"])
    def metrics(self, request: GuardedRequest) -> bytes:
        """All figures: JSON, or text for Prometheus when Accept asks for it."""
        accept = b",".join(request.requestHeaders.getRawHeaders(b"accept") or ()).decode("latin-1")
        request.setHeader(b"Vary", b"Accept")
        # Who takes JSON as well, as axios says by default, gets JSON; Prometheus never does.
        if JSON not in accept and ("text/plain" in accept or "openmetrics" in accept):
            kind, text = self._metrics.as_text(accept)
            return self._answer(request, 200, text, kind)
        return self._answer(request, 200, encode(self._metrics.as_json()))

    @app.route("/images", methods=["GET"])
    def images(self, request: GuardedRequest) -> bytes:
        """What is warm, and what is allowed.

        {"pools": [{"image", "pool_size", "available_containers", "busy_containers"}, ...], "allowed": [reference, ...]}
        with references as the operator wrote them; "allowed" is "any" where there is no list.  Pools are always
        allowed.
        """
        pools = [
            {
                "image": pool.image,
                "pool_size": pool.target,
                "available_containers": pool.idle,
                "busy_containers": pool.busy,
            }
            for pool in self._executor.stats().pools
            if not pool.temporary
        ]
        allowed: Sequence[str] | str = self._rules.allowed or "any"
        return self._answer(request, 200, encode({"pools": pools, "allowed": allowed}))

    @app.route("/status", methods=["GET"])
    def status(self, request: GuardedRequest) -> bytes:
        """What the status page shows, for it and for anybody else."""
        return self._answer(request, 200, encode(self._status.as_json()))

    @app.route("/", methods=["GET"])
    @app.route("/console.css", methods=["GET"])
    @app.route("/console.js", methods=["GET"])
    @app.route("/box.js", methods=["GET"])
    @app.route("/favicon.svg", methods=["GET"])
    def page(self, request: GuardedRequest) -> bytes:
        """The status page, which has no figures in it, and its files."""
        found = self._pages.get(request.path)
        if found is None:
            raise _nothing_at(request)
        body = self._answer(request, 200, found.body, found.kind)
        for name, value in PAGE_HEADERS:
            request.setHeader(name, value)
        return body

    # Errors

    @app.handle_errors(ExecutorError)  # type: ignore[arg-type]
    def refused(self, request: GuardedRequest, failure: Any) -> bytes:
        """What went wrong has a type and a sentence."""
        return self._refusal(request, failure.value)

    @app.handle_errors(HTTPException)  # type: ignore[arg-type]
    def misrouted(self, request: GuardedRequest, failure: Any) -> bytes:
        """Klein found no route."""
        cause = failure.value
        if isinstance(cause, WrongMethod):
            methods = ", ".join(sorted(cause.valid_methods or ()))
            request.setHeader("Allow", methods)
            return self._refusal(request, MethodNotAllowed(f"What {_path(request)} understands is {methods}."))
        return self._refusal(request, _nothing_at(request))

    @app.handle_errors(Exception)  # type: ignore[arg-type]
    def broken(self, request: GuardedRequest, failure: Any) -> bytes:
        """A fault of ours; the log says more under the incident's id."""
        incident = self._fresh_id()
        about: dict[str, Any] = {"request_id": self._id_of(request)}
        if trace := traceparent(request.requestHeaders):
            about["traceparent"] = trace
        sentence = "incident {incident} of request {request_id}"
        self.log.failure(sentence, failure, event="incident", incident=incident, **about)
        error = ExecutorError("The server failed; its log says more under this incident.")
        return self._refusal(request, error, incident)

    # Answers

    def _refusal(self, request: GuardedRequest, error: ExecutorError, incident: str | None = None) -> bytes:
        request.refusal = error
        for name, value in extra_headers(error):
            request.setHeader(name, value)
        return self._answer(request, status_of(error), encode_refusal(error, self._id_of(request), incident))

    def _refused(
        self, request: GuardedRequest | None, error: ExecutorError
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body for what never comes to a route."""
        name = self._fresh_id() if request is None else self._id_of(request)
        headers = [*_headers(JSON, name), *extra_headers(error)]
        return (
            status_of(error),
            [(key.encode("ascii"), value.encode("ascii")) for key, value in headers],
            encode_refusal(error, name),
        )

    def _report(self, request: GuardedRequest, status: int, report: HealthReport) -> bytes:
        return self._answer(request, status, encode_report(report))

    def _answer(self, request: GuardedRequest, status: int, body: bytes, kind: str = JSON) -> bytes:
        request.setResponseCode(status)
        for name, value in _headers(kind, self._id_of(request)):
            request.setHeader(name, value)
        request.setHeader("Content-Length", str(len(body)))
        return body

    def _id_of(self, request: GuardedRequest) -> str:
        """The client's id of this request, else one of ours, the same each time."""
        if request.id is None:
            request.id = request_id(request.requestHeaders) or self._fresh_id()
        return request.id


def _path(request: GuardedRequest) -> str:
    return quoted(request.path.decode("ascii"))


def _nothing_at(request: GuardedRequest) -> NoSuchResource:
    return NoSuchResource(f"There is nothing at {_path(request)}.")


def _headers(kind: str, name: str) -> tuple[tuple[str, str], ...]:
    """What every answer has beside its length."""
    return (
        ("Server", "script-executor"),
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-store"),
        ("Content-Type", kind),
        ("X-Request-ID", name),
    )
