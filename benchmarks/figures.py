"""What a measurement gives: figures with names, claims about them, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

MEDIAN, P99, RATE = "median ms", "p99 ms", "runs/s"
POOL = 4  # containers, where nothing else is said
ECHO = f"echo hi, default limits, pool of {POOL}"  # the section that the picture shows


@dataclass(frozen=True)
class Row:
    """One contender.  @ivar figures: by their unit."""

    section: str
    name: str
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Claim:
    """A promise.  @ivar least: whether `limit` is the least that `value` may be, else it is the most."""

    name: str
    value: float
    limit: float
    least: bool = False
    unit: str = "times"

    @property
    def kept(self) -> bool:
        """Whether it holds."""
        return self.value >= self.limit if self.least else self.value <= self.limit


@dataclass
class Report:
    """All that was measured."""

    machine: Mapping[str, object]
    rows: list[Row] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    def add(self, section: str, name: str, figures: Mapping[str, float]) -> Mapping[str, float]:
        """Add a row, show it at once, and give its figures back."""
        row = Row(section, name, figures)
        if not self.rows or self.rows[-1].section != section:
            print(f"\n{section}")
        print("  " + line(row), flush=True)
        self.rows.append(row)
        return figures

    def claim(self, name: str, value: float, limit: float, least: bool = False, unit: str = "times") -> None:
        """Add a claim."""
        self.claims.append(Claim(name, value, limit, least, unit))

    def as_json(self) -> Mapping[str, object]:
        """Everything, as plain values."""
        return asdict(self) | {"claims": [asdict(claim) | {"kept": claim.kept} for claim in self.claims]}


def line(row: Row) -> str:
    """A row as a line of text."""
    return f"{row.name:44}" + "  ".join(f"{value:9.2f} {unit}" for unit, value in row.figures.items())


def verdicts(claims: Iterable[Claim]) -> str:
    """The claims as text."""
    return "\n".join(
        f"  {'yes' if claim.kept else 'NO '}  {claim.name}: {claim.value:.2f} {claim.unit}, "
        f"{'at least' if claim.least else 'at most'} {claim.limit:g}"
        for claim in claims
    )


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile of single calls."""
    ordered = sorted(seconds)
    return {MEDIAN: median(ordered) * 1e3, P99: ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1e3}


def in_turn(
    contenders: Mapping[str, Callable[[float], Mapping[str, float]]], rounds: int, seconds: float
) -> dict[str, dict[str, float]]:
    """Measure each contender in each round, so that all of them see the machine's good and bad moments.

    @param contenders: from a name to a function that measures for so many seconds.
    @return: by name, the median of each figure over the rounds.
    """
    found: dict[str, list[Mapping[str, float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            found[name].append(measure(seconds))
    return {name: {unit: median(one[unit] for one in all_) for unit in all_[0]} for name, all_ in found.items()}
