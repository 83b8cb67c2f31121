"""What the benchmarks do with what they measure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from xml.etree import ElementTree

import pytest

from benchmarks.figures import ECHO, MEDIAN, P99, RATE, Claim, Report, in_turn, spread, verdicts
from benchmarks.plot import picture


def test_spread() -> None:
    """The median and the 99th percentile, in milliseconds."""
    assert spread([0.001 * n for n in range(100, 0, -1)]) == {MEDIAN: pytest.approx(50.5), P99: pytest.approx(100)}
    assert spread([0.002]) == {MEDIAN: 2.0, P99: 2.0}


def test_in_turn() -> None:
    """Each contender has its turn in each round, and of each figure the median counts."""
    calls = []

    def contender(name: str, values: list[float]) -> Callable[[float], Mapping[str, float]]:
        rest = iter(values)

        def measure(seconds: float) -> Mapping[str, float]:
            calls.append((name, seconds))
            return {RATE: next(rest)}

        return measure

    found = in_turn({"a": contender("a", [1, 9, 2]), "b": contender("b", [5, 5, 8])}, 3, 0.5)
    assert found == {"a": {RATE: 2}, "b": {RATE: 5}}
    assert calls == [("a", 0.5), ("b", 0.5)] * 3


@pytest.mark.parametrize(
    ("value", "least", "kept"), [(2.0, False, True), (2.6, False, False), (2.6, True, True), (2.5, True, True)]
)
def test_claims(value: float, least: bool, kept: bool) -> None:
    """A claim that is not kept is shown as such, not hidden."""
    claim = Claim("ours to theirs", value, 2.5, least)
    assert claim.kept is kept
    assert verdicts([claim]).split()[0] == ("yes" if kept else "NO")


def test_report(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows are shown as they come, under the title of their section, and all is kept for the file."""
    report = Report({"processors": 2})
    report.add("one", "a", {MEDIAN: 1.234})
    report.add("one", "b", {RATE: 5.0})
    report.claim("b to a", 4.0, 3.0)
    shown = capsys.readouterr().out.split("\n")
    assert shown[1] == "one"
    assert shown[2].split() == ["a", "1.23", "median", "ms"]
    assert len(shown) == 5
    found = json.loads(json.dumps(report.as_json()))
    assert found["machine"] == {"processors": 2}
    assert [row["name"] for row in found["rows"]] == ["a", "b"]
    assert found["claims"][0]["kept"] is False


def test_picture() -> None:
    """It is SVG, with a bar for what was measured, the longest for the largest."""
    report = Report({})
    for name, middle in (("subprocess, one at a time", 1.0), ("ours, connections: 1", 2.0)):
        report.add(ECHO, name, {MEDIAN: middle})
    # Another section has a contender of the same name.
    report.add("another", "ours, connections: 1", {MEDIAN: 9.0})
    drawn = ElementTree.fromstring(picture(report))
    bars = [float(bar.get("width", "")) for bar in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(bars) == 2
    assert 0 < bars[0] < bars[1] < 800
    assert "2" in [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]


def test_picture_of_nothing() -> None:
    """Where nothing was measured there is no bar."""
    assert "<rect x" not in picture(Report({}))
