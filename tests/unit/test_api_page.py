"""docs/api.md has a row for each field of a request and an answer and for each refusal, and none that there is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.unit.web_client import error_kinds
from twisted_executor.boundaries import Status
from twisted_executor.config import VARIABLES
from twisted_executor.schema import MOST_STRING, MOST_STRINGS, MOST_TENANT, STRING_COST, Answer, Refusal, Request
from twisted_executor.web import API, status_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/api.md").read_text()
README = (ROOT / "README.md").read_text()
FIRST = {"success", "stdout", "stderr", "exit_code", "execution_time", "error"}


def section(heading: str) -> str:
    """What stands below a heading of the page."""
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of all rows of all tables, without their headings."""
    for table in re.findall(r"^\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE):
        for line in table.splitlines():
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def names(cell: str) -> list[str]:
    return re.findall(r"`([\w-]+)`", cell)


def refusals() -> set[tuple[int, str]]:
    """The status and the code of each."""
    return {(status_of(kind("A sentence.")), kind.code) for kind in error_kinds()}


def test_request() -> None:
    """Each field of a request, in order; and what it may be."""
    text = section("The request")
    assert [name for row in rows(text) for name in names(row[0])] == list(Request.__struct_fields__)
    text = " ".join(text.split())
    assert f"counting {STRING_COST} bytes for each string" in text
    assert f"at most {MOST_STRING - 1:,} bytes" in text
    assert f"at most {MOST_TENANT} characters" in text
    assert f"at most {MOST_STRINGS >> 20} MiB" in text
    default = next(one for one in VARIABLES["Requests"] if one.name == "MAX_REQUEST_BYTES").default
    assert f"`MAX_REQUEST_BYTES` ({default.rstrip('m')} MiB)" in text


def test_answer() -> None:
    """Each field of an answer, with "null" where it may be; each way in which a run ends."""
    fields, statuses = section("The answer").split("The first of these that holds")
    found = {name: row[1] for row in rows(fields) for name in names(row[0])}
    assert set(found) == set(Answer.__struct_fields__)
    # A script that ran has an exit code; only a refusal has none.
    may_be_null = {name for name, kind in Answer.__annotations__.items() if "None" in kind} - {"exit_code"}
    assert {name for name, kind in found.items() if "null" in kind} == may_be_null
    assert {name for row in rows(statuses) for name in names(row[0])} == {status.value for status in Status} - {
        "cancelled"
    }
    assert "`cancelled`" in statuses


def test_refusals() -> None:
    """Each code with its status, and each field."""
    text = section("Refusals")
    assert {(int(row[0]), *names(row[1])) for row in rows(text)} == refusals()
    assert set(Refusal.__struct_fields__) - FIRST == {"code", "request_id", "incident"}
    assert {"code", "request_id", "incident"} <= set(names(text))


def test_readme() -> None:
    """The short form in the README has all codes as well."""
    table = README.split("| status | `code` |")[1].split("\n\n")[0]
    assert {kind.code for kind in error_kinds()} <= set(names(table))


def test_routes() -> None:
    """The first table has each path, but for the files of the page."""
    found = {path for row in rows(PAGE.split("\n## ")[0]) for path in re.findall(r"/[a-z/]*", row[0])}
    rules = {str(rule) for rule in API.app.url_map.iter_rules()}
    assert found == {rule for rule in rules if "." not in rule}
