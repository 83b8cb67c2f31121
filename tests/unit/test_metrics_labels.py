"""Clients cannot make the figures grow."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from tests.unit.scraping import sampled
from twisted_executor import errors
from twisted_executor.boundaries import METHODS, Answered, ExecutorStats, Job
from twisted_executor.metrics import labels
from twisted_executor.metrics.collectors import Watched
from twisted_executor.metrics.counters import Counters
from twisted_executor.metrics.instruments import Counter, Histogram
from twisted_executor.metrics.registry import Metrics
from twisted_executor.testing import HELLO, execution

PLAIN = "text/plain"
JOB = Job(script=b"id", timeout=30.0, request_id="id-1")


def fresh() -> Metrics:
    """Nothing has happened."""
    return Metrics(CollectorRegistry(), Clock(), Watched(lambda: ExecutorStats((), 0, 0, False)), ("alpine:latest",))


def test_images() -> None:
    """Of ten thousand images ten have labels of their own, beside the configured ones, and none is uncounted."""
    metrics = fresh()
    for number in range(10_000):
        image = f"image-{number}"
        metrics.counters.ran(execution(dataclasses.replace(JOB, image=image)), "")
        metrics.counters.taken(image, warm=False, seconds=0.1)
    metrics.counters.ran(execution(dataclasses.replace(JOB, image="alpine")), "")
    samples = sampled(*metrics.as_text(PLAIN))
    name = "script_executor_runs_total"
    runs = {key[1]: value for key, value in samples.items() if key[0] == name}
    first = {f"docker.io/library/image-{number}:latest": 1 for number in range(labels.MOST_OTHERS)}
    assert runs == {**first, labels.OTHER: 9990, "alpine:latest": 1}
    assert samples["script_executor_take_seconds_count", labels.OTHER, "no"] == 9990
    assert len(samples) < 1000


def test_spellings_share_a_label() -> None:
    """An image that nobody configured has one label, however it is spelt."""
    found = labels.ImageLabels(["python:3"])
    spellings = ("busybox", "busybox:latest", "docker.io/library/busybox")
    assert {found.of(one) for one in spellings} == {"docker.io/library/busybox:latest"}
    assert found.of("docker.io/library/python:3") == "python:3"
    assert [found.of(f"i{number}") for number in range(10)][-1] == labels.OTHER


def test_requests() -> None:
    """Nor do ten thousand paths and methods make more than one series each."""
    metrics = fresh()
    for number in range(10_000):
        metrics.counters.answered(Answered(404, f"M{number}", f"/path/{number}"))
    samples = sampled(*metrics.as_text(PLAIN))
    # The labels are in the order of their names: code, method, route.
    assert samples["script_executor_http_requests_total", "404", labels.OTHER, labels.OTHER] == 10_000
    assert len([key for key in samples if "http_request" in key[0]]) < 30


@given(st.text(), st.text())
def test_any_path_and_method(path: str, method: str) -> None:
    """Whatever is written, the labels are of a fixed list."""
    assert labels.route(path) in labels.ROUTES | {labels.OTHER}
    assert labels.method(method) in METHODS | {labels.OTHER}


@given(st.text())
def test_any_value(value: str) -> None:
    """Whatever a label holds, both parsers read it back."""
    text = "".join(c for c in value if c.isprintable() or c in '\n"\\%')
    counter, histogram = Counter("c", "Help.", "l"), Histogram("h", "Help.", "l", bounds=(1.0,))
    counter.inc(text)
    histogram.observe(0.5, text)
    found = counter.text(strict=False) + histogram.text(strict=False)
    samples = sampled(PLAIN, found.encode())
    assert samples["script_executor_c_total", text] == 1
    assert samples["script_executor_h_sum", text] == 0.5
    strict = counter.text(strict=True) + histogram.text(strict=True) + "# EOF\n"
    assert sampled("application/openmetrics-text", strict.encode()) == samples


@given(st.lists(st.floats(0, 1000)))
def test_histogram(values: list[float]) -> None:
    """Each bucket has all that is at most its bound."""
    bounds = (0.1, 1.0, 10.0, 300.0)
    histogram = Histogram("h", "Help.", bounds=bounds)
    for value in values:
        histogram.observe(value)
    samples = sampled(PLAIN, histogram.text(strict=False).encode())
    for bound in bounds:
        assert samples["script_executor_h_bucket", str(bound)] == sum(value <= bound for value in values)
    assert samples["script_executor_h_bucket", "+Inf"] == samples["script_executor_h_count",] == len(values)
    assert samples["script_executor_h_sum",] == sum(values)
    averages = dict(histogram.averages())
    assert averages == ({(): sum(values) / len(values)} if values else {})


def test_engine_errors() -> None:
    """Every error of the engine has the name of its type, and what is none has a name as well."""
    names = {kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type)}
    found = {
        labels.engine_error(kind("x", True) if kind is errors.PullFailed else kind("x"))
        for kind in names.values()
        if issubclass(kind, errors.EngineError)
    }
    assert found == {
        "engine_error", "engine_unreachable", "engine_timeout", "not_found", "agent_missing", "conflict", "pull_failed",
    }  # fmt: skip
    assert labels.engine_error(CancelledError()) == "cancelled"
    assert labels.engine_error(ZeroDivisionError()) == labels.OTHER


def test_refusals() -> None:
    """Requests that are not served are counted by the code of their answer, those whose client has gone too."""
    counters = Counters(labels.ImageLabels([]), Clock())
    for status, error in ((503, errors.Overloaded("Too many wait.")), (401, errors.Unauthorized("A key is needed."))):
        counters.answered(Answered(status, "POST", "/execute", error=error))
    counters.answered(Answered(499, "POST", "/execute"))
    counters.answered(Answered(200, "POST", "/execute", execution=execution(JOB, HELLO)))
    assert counters.refused.by("code") == {"overloaded": 1, "unauthorized": 1, "cancelled": 1}
    assert counters.requests.by("code") == {"503": 1, "401": 1, "499": 1, "200": 1}
