"""Whether a request may come in, by its headers alone.  Pure: it is asked before the body is read."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from twisted.web.http_headers import Headers

from twisted_executor.errors import (
    ExecutorError,
    Forbidden,
    InvalidRequest,
    NoSuchResource,
    RequestTooLarge,
    Unauthorized,
    UnsupportedMediaType,
)
from twisted_executor.images import quoted
from twisted_executor.keys import KeyFile, Keys

_HOST = re.compile(rb"(?P<name>[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?", re.IGNORECASE)
_TARGET = re.compile(rb"/[!-~]*")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# https://www.w3.org/TR/trace-context/: the only version that there is.
_TRACEPARENT = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_OPEN = b"/health"


@dataclass(frozen=True, slots=True)
class GateRules:
    """@ivar hosts: names under which the server may be called, beside localhost and every IP address; "*": any.

    @ivar keys: None: no key is asked for.
    @ivar most: bytes of a body.
    @ivar paths: all that there is beside /health; None: whatever has a route.
    """

    hosts: tuple[str, ...]
    keys: Keys | KeyFile | None
    most: int
    paths: frozenset[bytes] | None = None


class Gate:
    """Looks at the head of each request."""

    def __init__(self, rules: GateRules, check_room: Callable[[], None]) -> None:
        """@param check_room: raises when a script could not run anyway."""
        self._rules = rules
        self._check_room = check_room

    def admit(self, method: bytes, target: bytes, headers: Headers, length: int | None) -> str:
        """Let it in, as the name of its API key, "" without keys.

        @param length: the declared length of the body, None when it comes in chunks.
        @raise ExecutorError: why not.
        """
        # Klein would take "post" for POST.
        if not method.isupper():
            raise InvalidRequest("Methods are written in capitals, like POST.")
        path = _path(target)
        health = path == _OPEN or path.startswith(_OPEN + b"/")
        if not health and self._rules.paths is not None and path not in self._rules.paths:
            raise NoSuchResource(f"There is nothing at {quoted(path.decode('ascii'))}.")
        host = _host(headers)
        if length is not None and length > self._rules.most:
            raise too_large(self._rules.most)
        if health:
            return ""
        self._check_host(host)
        _check_origin(headers, host)
        key = self._key(headers)
        if path == b"/execute" and method == b"POST":
            _check_type(headers)
            self._check_room()
        return key

    def _check_host(self, host: bytes) -> None:
        match = _HOST.fullmatch(host)
        if match is None:
            raise InvalidRequest("The request must have a Host header.")
        hosts = self._rules.hosts
        if "*" in hosts or (not hosts and self._rules.keys is not None):
            return
        name = match["name"].lower().decode("ascii")
        # A web page can give its own name the address of this server, but not one of these.
        if name in hosts or name == "localhost" or _is_address(name):
            return
        raise Forbidden(f"This server is not to be called as {name}; ALLOWED_HOSTS names what it may be called.")

    def _key(self, headers: Headers) -> str:
        if self._rules.keys is None:
            return ""
        values = headers.getRawHeaders(b"authorization") or []
        scheme, _, secret = values[0].partition(b" ") if len(values) == 1 else (b"", b"", b"")
        name = self._rules.keys.name_of(secret.strip()) if scheme.lower() == b"bearer" else None
        if name is None:
            raise Unauthorized("An API key is needed: send the header Authorization: Bearer KEY.")
        return name


def too_large(most: int) -> RequestTooLarge:
    """The error for a body above so many bytes."""
    return RequestTooLarge(f"The body is larger than {most} bytes, which is the most (MAX_REQUEST_BYTES).")


def request_id(headers: Headers) -> str | None:
    """The client's own id of its request, when there is one that can be used."""
    values = headers.getRawHeaders(b"x-request-id") or ()
    return values[0].decode("ascii") if len(values) == 1 and _REQUEST_ID.fullmatch(values[0]) else None


def traceparent(headers: Headers) -> str:
    """The trace that the request belongs to, as its client says; "" when it does not, or not so that it can be used."""
    values = headers.getRawHeaders(b"traceparent") or ()
    return values[0].decode("ascii") if len(values) == 1 and _TRACEPARENT.fullmatch(values[0]) else ""


def _path(target: bytes) -> bytes:
    if not _TARGET.fullmatch(target):
        raise InvalidRequest("The request's target must be a path that begins with /.")
    path = target.split(b"?", 1)[0]
    try:
        text = unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest("The path is not UTF-8.") from None
    # Klein would find /execute under //execute and /%65xecute, which are not the path that is looked at here.
    if b"%" in path or b"//" in path:
        raise NoSuchResource(f"There is nothing at {quoted(text)}.")
    return path


def _host(headers: Headers) -> bytes:
    """Where the client thinks that it is; empty when it does not say, as HTTP/1.0 allows and probes do."""
    values: Sequence[bytes] = headers.getRawHeaders(b"host") or ()
    if not values:
        return b""
    match = _HOST.fullmatch(values[0]) if len(values) == 1 else None
    if match is None or int(match["port"] or 0) > 65535:
        raise InvalidRequest("The request must have one Host header, with a name or an address.")
    return values[0]


@lru_cache(maxsize=64)
def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _check_origin(headers: Headers, host: bytes) -> None:
    """A page of another origin must not run scripts on its visitor's machine."""
    ours = (b"http://" + host.lower(), b"https://" + host.lower())
    for origin in headers.getRawHeaders(b"origin") or ():
        if origin.lower() not in ours:
            raise Forbidden("Web pages of another origin may not use this server.")
    for site in headers.getRawHeaders(b"sec-fetch-site") or ():
        if site not in (b"same-origin", b"none"):
            raise Forbidden("Web pages of another site may not use this server.")


def _check_type(headers: Headers) -> None:
    values = headers.getRawHeaders(b"content-type") or ()
    if len(values) != 1 or values[0].partition(b";")[0].strip().lower() != b"application/json":
        raise UnsupportedMediaType(
            "The body must be JSON and be said to be: with curl, add -H 'Content-Type: application/json'."
        )


_HEADERS = {"unauthorized": (("WWW-Authenticate", "Bearer"),)}


def extra_headers(error: ExecutorError) -> tuple[tuple[str, str], ...]:
    """Headers that an answer with this error has beside the usual ones."""
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        return (("Retry-After", str(max(1, math.ceil(retry_after)))),)
    return _HEADERS.get(error.code, ())
