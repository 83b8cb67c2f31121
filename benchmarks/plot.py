"""A picture of the table, for the documents: bars, which need no library; readable in light and in dark."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from benchmarks.figures import ECHO, MEDIAN, RATE, Report

LEFT, BAR, WIDTH = 210, 26, 800
STYLE = """text { font: 15px sans-serif; fill: #1f2328 } .title { font-weight: bold } rect { fill: #8c959f }
.ours { fill: #0969da } .name { text-anchor: end }
@media (prefers-color-scheme: dark) { text { fill: #f0f6fc } rect { fill: #656d76 } .ours { fill: #4493f8 } }"""


def picture(report: Report) -> str:
    """The medians of `echo hi` and its runs per second, as SVG; empty panels where a section was not measured."""
    found = {row.name: row.figures for row in report.rows if row.section == ECHO}
    latency = {
        "plain subprocess": "subprocess, one at a time",
        "this server": "ours, connections: 1",
        "docker exec": "docker exec, at once: 1",
        "docker run --rm": "docker run --rm, one at a time",
    }
    medians = {name: found[row][MEDIAN] for name, row in latency.items() if row in found}
    execs = [figures[RATE] for name, figures in found.items() if name.startswith("docker exec")]
    rates = {"docker exec, at its best": max(execs)} if execs else {}
    if "ours, connections: 8" in found:
        rates["this server, 8 connections"] = found["ours, connections: 8"][RATE]
    upper, height = _panel("echo hi: median in milliseconds (logarithmic)", medians, 0, logarithmic=True)
    lower, height = _panel("echo hi: runs per second", rates, height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="Benchmark">\n<style>{STYLE}</style>\n{upper}{lower}</svg>\n'
    )


def _panel(title: str, values: Mapping[str, float], top: int, logarithmic: bool = False) -> tuple[str, int]:
    """The elements of one panel, and where the next one begins."""
    lines = [f'<text class="title" x="{LEFT}" y="{top + 24}">{escape(title)}</text>']
    at = top + 40
    for name, value in values.items():
        share = _share(value, values, logarithmic)
        kind = ' class="ours"' if name.startswith("this server") else ""
        lines += [
            f'<text class="name" x="{LEFT - 10}" y="{at + 18}">{escape(name)}</text>',
            f'<rect{kind} x="{LEFT}" y="{at}" width="{share * (WIDTH - LEFT - 80):.0f}" height="{BAR - 4}" rx="3"/>',
            f'<text x="{LEFT + share * (WIDTH - LEFT - 80) + 8:.0f}" y="{at + 17}">{value:.3g}</text>',
        ]
        at += BAR + 6
    return "\n".join(lines) + "\n", at + 10


def _share(value: float, values: Mapping[str, float], logarithmic: bool) -> float:
    most, least = max(values.values()), min(values.values()) / 10
    return math.log(value / least) / math.log(most / least) if logarithmic else value / most
