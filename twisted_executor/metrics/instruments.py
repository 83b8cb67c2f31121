"""What is counted, and its text.

prometheus_client's own classes take 6 microseconds for a line, which with fifty pools holds the event loop for 30
milliseconds at each scrape (docs/decisions/0016-own-exposition.md).  These are for one thread, the reactor's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import accumulate


class Family:
    """A metric of the text: its head, and a line for each of its samples.

    @ivar name: without "_total".  @ivar kind: "counter", "gauge" or "histogram".  @ivar labels: their names.
    """

    __slots__ = ("help", "kind", "labels", "name")

    def __init__(self, name: str, kind: str, help: str, *labels: str) -> None:
        self.name = f"script_executor_{name}"
        self.kind = kind
        self.help = help
        self.labels = labels

    def head(self, strict: bool) -> str:
        """@param strict: for OpenMetrics, where a counter's name has no "_total" here."""
        name = f"{self.name}_total" if self.kind == "counter" and not strict else self.name
        return f"# HELP {name} {self.help}\n# TYPE {name} {self.kind}\n"

    def text(self, samples: Iterable[tuple[tuple[str, ...], float]], strict: bool) -> str:
        """A counter or a gauge with these samples: the values of the labels, and the value."""
        name = f"{self.name}_total" if self.kind == "counter" else self.name
        lines = [f"{name}{labelled(self.labels, values)} {value}\n" for values, value in samples]
        return self.head(strict) + "".join(lines)


@lru_cache(maxsize=4096)
def labelled(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Labels in braces; nothing without any."""
    return _braced(names, values)


def _braced(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    pairs = [f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class Counter:
    """A count for each combination of labels, which has to be one of few."""

    def __init__(self, name: str, help: str, *labels: str) -> None:
        self.family = Family(name, "counter", help, *labels)
        self._counts: dict[tuple[str, ...], int] = {}

    def inc(self, *values: str) -> None:
        """One more."""
        self._counts[values] = self._counts.get(values, 0) + 1

    def get(self, *values: str) -> int:
        """The count of one combination."""
        return self._counts.get(values, 0)

    def by(self, label: str) -> Mapping[str, int]:
        """The counts by one label, summed over all others."""
        place = self.family.labels.index(label)
        found: dict[str, int] = {}
        for values, count in self._counts.items():
            found[values[place]] = found.get(values[place], 0) + count
        return found

    def items(self) -> Iterable[tuple[tuple[str, ...], int]]:
        """All counts."""
        return self._counts.items()

    def text(self, strict: bool) -> str:
        """For a scrape."""
        return self.family.text(self._counts.items(), strict)


class Histogram:
    """How often something took how long, for each combination of labels, which has to be one of few."""

    def __init__(self, name: str, help: str, *labels: str, bounds: tuple[float, ...]) -> None:
        """@param bounds: of the buckets, upwards, in seconds."""
        self.family = Family(name, "histogram", help, *labels)
        self._bounds = bounds
        self._series: dict[tuple[str, ...], _Series] = {}
        if not labels:
            self._add(())

    def observe(self, seconds: float, *values: str) -> None:
        """It took so long."""
        series = self._series.get(values) or self._add(values)
        series.counts[bisect_left(self._bounds, seconds)] += 1
        series.sum += seconds

    def _add(self, values: tuple[str, ...]) -> _Series:
        series = self._series[values] = _Series(self.family, values, self._bounds)
        return series

    def averages(self) -> Iterator[tuple[tuple[str, ...], float]]:
        """The mean of each combination that has one."""
        for values, series in self._series.items():
            if count := sum(series.counts):
                yield values, series.sum / count

    def text(self, strict: bool) -> str:
        """For a scrape."""
        return self.family.head(strict) + "".join(series.text() for series in self._series.values())


class _Series:
    """One combination of labels.  @ivar counts: of each bucket alone, the last one without a bound."""

    __slots__ = ("_template", "counts", "sum")

    def __init__(self, family: Family, values: tuple[str, ...], bounds: tuple[float, ...]) -> None:
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        edges = (*(repr(float(bound)) for bound in bounds), "+Inf")
        buckets = [f"_bucket{_braced((*family.labels, 'le'), (*values, edge))}" for edge in edges]
        plain = _braced(family.labels, values)
        ends = (*buckets, f"_count{plain}", f"_sum{plain}")
        # In one piece: a line at a time takes four times as long.
        self._template = "".join(f"{family.name}{end}".replace("%", "%%") + " %s\n" for end in ends)

    def text(self) -> str:
        totals = list(accumulate(self.counts))
        return self._template % (*totals, totals[-1], self.sum)
