"""How fast it is, beside what its users would take otherwise; everything is measured in turn in one go.

    .venv/bin/python -m benchmarks [--short] [--only SECTION ...] [--json FILE] [--plot FILE]

Needs an engine, the images of tests/images/build.sh, and Debian's wrk and musl-tools.  It starts servers of its own on
loopback with the default limits, and ends them.  Look at the ratios: the times are this machine's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.figures import Report, verdicts
from benchmarks.plot import picture
from benchmarks.sections import SECTIONS, Plan, as_text, machine


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("--short", action="store_true", help="less of each, for every day: a minute and a half")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION",
                        help=f"of {', '.join(SECTIONS)}")  # fmt: skip
    parser.add_argument("--seconds", type=float, help="of each measurement (default: 2, short: 1)")
    parser.add_argument("--rounds", type=int, help="measurements of each (default: 5, short: 1)")
    parser.add_argument("--json", type=Path, help="write all figures here too")
    parser.add_argument("--plot", type=Path, help="write a picture (SVG) of them here")
    options = parser.parse_args()
    plan = Plan(options.seconds or (1 if options.short else 2), options.rounds or (1 if options.short else 5))
    report = Report(machine())
    print(", ".join(f"{key} {value}" for key, value in report.machine.items()))
    for name in options.only:
        SECTIONS[name](report, plan)
    print(f"\nWhat is promised\n{verdicts(report.claims)}")
    if options.json:
        options.json.write_text(as_text(report))
    if options.plot:
        options.plot.write_text(picture(report))


if __name__ == "__main__":
    main()
