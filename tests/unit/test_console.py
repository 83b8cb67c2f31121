"""The files of the status page, over HTTP."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from tests.unit.web_client import Server
from twisted_executor.console import pages
from twisted_executor.keys import parse

KINDS = {
    "/": "text/html; charset=utf-8",
    "/console.css": "text/css; charset=utf-8",
    "/console.js": "text/javascript; charset=utf-8",
    "/box.js": "text/javascript; charset=utf-8",
    "/favicon.svg": "image/svg+xml",
}
MOST_BYTES = 40_000
KEYS = parse("alice:alices-secret-0001\n")


class Tags(HTMLParser):
    """@ivar tags: the name and attributes of all that begin.  @ivar scripts: what stands in scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            self.inline += data


@pytest.mark.parametrize("path", KINDS)
def test_file(path: str) -> None:
    """Each has its type, may be asked for by HEAD, and comes with all that keeps a page to itself."""
    server = Server(console=True)
    answer = server.request("GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"] == KINDS[path]
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert not any(name.startswith("access-control") for name in answer.headers)
    head = server.request("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers | {"x-request-id": "", "date": ""} == answer.headers | {"x-request-id": "", "date": ""}


@pytest.mark.parametrize("path", KINDS)
def test_wrong_method(path: str) -> None:
    """They can only be looked at."""
    answer = Server(console=True).request("POST", path)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", KINDS)
def test_no_key(path: str) -> None:
    """With keys they need none, also for who sends a wrong one; they are the same for all."""
    server = Server(console=True, keys=KEYS)
    answer = server.request("GET", path)
    assert answer.status == 200
    assert server.request("GET", path, "Authorization: Bearer wrong").body == answer.body
    assert answer.body == pages(box=True)[path.encode()].body


@pytest.mark.parametrize(
    "path", ["/status", "/images", "/metrics", "/index.html", "/console", "/console.js/", "/box.js"]
)
def test_all_else_needs_a_key(path: str) -> None:
    """Only the files themselves are open."""
    assert Server(keys=KEYS).request("GET", path).status == 401


def test_without_box() -> None:
    """Unless it is wanted, nothing in the page can run a script, and the box's own file is not there."""
    server = Server()
    assert server.request("GET", "/box.js").status == 404
    page = server.request("GET", "/").body
    assert b"textarea" not in page
    assert b"box" not in page
    assert b"execute" not in server.request("GET", "/console.js").body.replace(b'new URL("execute"', b"")


def test_with_box() -> None:
    """Where it is wanted, it is the same page with the box."""
    page = Server(console=True).request("GET", "/").body
    assert b'<textarea id="script"' in page
    assert b'src="box.js"' in page
    assert b"<!-- box -->" not in page


@pytest.mark.parametrize("box", [False, True])
def test_page(box: bool) -> None:
    """No script or style stands in the page, every id is there once, and every label leads somewhere."""
    tags = Tags(pages(box)[b"/"].body.decode())
    assert tags.inline.strip() == ""
    assert not [name for _, attributes in tags.tags for name in attributes if name == "style" or name.startswith("on")]
    ids = [attributes["id"] for _, attributes in tags.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [attributes["for"] for tag, attributes in tags.tags if tag == "label"]
    assert targets
    assert set(targets) <= set(ids)


@pytest.mark.parametrize("name", ["console.js", "box.js"])
def test_scripts(name: str) -> None:
    """What the server says is put in as text: nothing that makes HTML or code of it is used."""
    text = files("twisted_executor.console").joinpath(name).read_text("utf-8")
    for sink in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "localStorage"):
        assert sink not in text
    ids = set(re.findall(r'\$\("([a-z-]+)"\)', text)) | set(re.findall(r'\b(?:say|draw)\("([a-z-]+)"', text))
    assert ids
    assert ids <= {attributes.get("id") for _, attributes in Tags(pages(box=True)[b"/"].body.decode()).tags}


def test_works_offline() -> None:
    """Nothing leads to another server."""
    for path, page in pages(box=True).items():
        outside = page.body.replace(b"http://www.w3.org/2000/svg", b"")
        assert b"//" not in re.sub(rb"(?m)(^|\s)//.*$", b"", outside), path


def test_size() -> None:
    """All of it together is small."""
    assert sum(len(page.body) for page in pages(box=True).values()) < MOST_BYTES
