"""What a scrape says, read by the library's own parsers."""

from __future__ import annotations

from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text


def parsed(kind: str, text: bytes) -> list[Metric]:
    """The metrics of a text.  @param kind: its content type."""
    parse = parse_openmetrics if kind.startswith("application/openmetrics-text") else parse_text
    return list(parse(text.decode()))


def sampled(kind: str, text: bytes) -> dict[tuple[str, ...], float]:
    """The values by name and labels, the labels in the order of their names; none may be there twice."""
    found = [
        ((sample.name, *(sample.labels[name] for name in sorted(sample.labels))), sample.value)
        for family in parsed(kind, text)
        for sample in family.samples
    ]
    assert len(dict(found)) == len(found)
    return dict(found)
