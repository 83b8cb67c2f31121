"""The files of the status page.  They are read once, with the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

# Nothing but our own files, whatever gets into the page; and it is shown in no other.
PAGE_HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
)
_BOX = b"<!-- box -->\n"  # where it is put
_SCRIPT = b'<script src="console.js" type="module"></script>\n'


@dataclass(frozen=True, slots=True)
class Page:
    """@ivar kind: the content type."""

    kind: str
    body: bytes


def _read(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()


_INDEX, _BOX_FORM = _read("index.html"), _read("box.html")
_FILES = {
    b"/console.css": Page("text/css; charset=utf-8", _read("console.css")),
    b"/console.js": Page("text/javascript; charset=utf-8", _read("console.js")),
    b"/favicon.svg": Page("image/svg+xml", _read("favicon.svg")),
}
_BOX_JS = Page("text/javascript; charset=utf-8", _read("box.js"))


def pages(box: bool) -> Mapping[bytes, Page]:
    """All of them by their paths.  @param box: with the box to run scripts."""
    if not box:
        return _FILES | {b"/": _html(_INDEX.replace(_BOX, b""))}
    index = _INDEX.replace(_BOX, _BOX_FORM).replace(_SCRIPT, _SCRIPT + _SCRIPT.replace(b"console", b"box"))
    return _FILES | {b"/": _html(index), b"/box.js": _BOX_JS}


def _html(body: bytes) -> Page:
    return Page("text/html; charset=utf-8", body)
