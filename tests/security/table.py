"""The table in docs/security.md: python -m tests.security.table writes it anew."""

from __future__ import annotations

from pathlib import Path

from tests.security import attacks, escapes, leaks
from tests.security.rows import Row

DOCUMENT = Path(__file__).parents[2] / "docs/security.md"
BEGIN, END = "<!-- the table: begin -->\n", "<!-- the table: end -->\n"
SECTIONS = {
    "What a run could leave for the next": leaks.ROWS,
    "What a script could do to the agent": attacks.ROWS,
    "How a script could get out": escapes.ROWS,
}
ROWS = [row for rows in SECTIONS.values() for row in rows]


def line(row: Row) -> str:
    """One row, as Markdown."""
    without = str(row.without) if row.without else ""
    return f"| {row.what} | {row.closed} | {without} | `{row.name}` |\n"


def rendered() -> str:
    """All of it."""
    parts = [BEGIN]
    for title, rows in SECTIONS.items():
        parts.append(f"\n### {title}\n\n| what | what closes it | fails without | test |\n|---|---|---|---|\n")
        parts.extend(map(line, rows))
    return "".join([*parts, "\n", END])


def replaced(document: str) -> str:
    """The document with the table as it must be."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + rendered() + after


if __name__ == "__main__":
    DOCUMENT.write_text(replaced(DOCUMENT.read_text()))
