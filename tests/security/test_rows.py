"""Each row of the table in docs/security.md: what it says holds, and does not hold without what closes it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.engine.server_process import Answer, ServerProcess
from tests.security.conftest import IMAGE
from tests.security.rows import Row, Weakness
from tests.security.table import DOCUMENT, ROWS, replaced

NEEDED = sorted((row for row in ROWS if row.without), key=lambda row: (row.without.agent, row.without.host))


def told(answer: Answer) -> str:
    """What the row's last script found; the code of an answer that is the loss of the container."""
    if answer.status == 503 and answer["code"] == "sandbox_lost":
        return "sandbox_lost"
    assert answer.status == 200, answer
    found: str = answer["stdout"].rstrip("\n") if answer["status"] == "ok" else answer["status"]
    return found


def begin(server: ServerProcess, row: Row, tenant: str) -> None:
    """The script that leaves something."""
    answer = server.execute(row.first, tenant=tenant, **row.fields)
    assert answer.status == 200, answer
    assert answer["status"] in ("ok", "nonzero_exit"), answer


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_holds(strong: ServerProcess, containers_of: Callable[[ServerProcess], list[str]], row: Row) -> None:
    """Both scripts run in one container, and the second finds nothing; one that is run alone is refused."""
    strong.full(IMAGE)
    (container,) = containers_of(strong)
    if row.first:
        begin(strong, row, "")
    assert told(strong.execute(row.last)) == row.expected
    assert strong.output("echo right") == "right\n"
    assert containers_of(strong) == [container], strong.log


@pytest.mark.parametrize("row", NEEDED, ids=str)
def test_needed(weak: Callable[[Weakness], ServerProcess], row: Row) -> None:
    """Without the protection something else is found.  Each row has a container of its own."""
    assert row.without
    server = weak(row.without)
    if row.first:
        begin(server, row, row.name)
    answer = server.execute(row.last, tenant=row.name)
    assert told(answer) != row.expected


def test_table() -> None:
    """The table in the document is that of the tests."""
    text = DOCUMENT.read_text()
    assert text == replaced(text), "python -m tests.security.table"
