"""What may come in, by its headers."""

from __future__ import annotations

import pytest
from twisted.web.http_headers import Headers

from twisted_executor.errors import (
    ExecutorError,
    Forbidden,
    InvalidRequest,
    NoSuchResource,
    Overloaded,
    RequestTooLarge,
    Unauthorized,
    UnsupportedMediaType,
)
from twisted_executor.gate import Gate, GateRules, extra_headers, request_id
from twisted_executor.keys import Keys, parse

KEYS = parse("alice:alices-secret-0001")


def admit(
    path: str = "/metrics",
    method: str = "GET",
    hosts: tuple[str, ...] = (),
    keys: Keys | None = None,
    length: int | None = 0,
    **headers: str | list[str],
) -> str:
    """Ask a gate; headers are named with _ for -."""
    raw = Headers({"Host": ["localhost:8080"]})
    for name, value in headers.items():
        raw.setRawHeaders(name.replace("_", "-"), [value] if isinstance(value, str) else value)
    gate = Gate(GateRules(hosts, keys, 1000), lambda: None)
    return gate.admit(method.encode(), path.encode("latin-1"), raw, length)


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:1", "127.0.0.1:8080", "10.1.2.3", "[::1]:8080", "[fe80::1]", "localhost:65535"]
)
def test_hosts_by_default(host: str) -> None:
    """Localhost and every address are ours: no name can be rebound to them."""
    assert admit(host=host) == ""


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "localhost.", "2130706433", "0x7f.1", "127.1"],
)
def test_foreign_hosts(host: str) -> None:
    """Any other name may be one that an attacker had point here."""
    with pytest.raises(Forbidden, match="ALLOWED_HOSTS"):
        admit(host=host)


def test_allowed_hosts() -> None:
    """Names come beside localhost and addresses, "*" is any name, and with keys any name is fine as well."""
    for host in ("Run.Example:443", "localhost", "127.0.0.1:8080", "[::1]"):
        assert admit(host=host, hosts=("run.example",)) == ""
    for other in ("example", "a.run.example", "run.example.evil", "127.0.0.1.evil"):
        with pytest.raises(Forbidden):
            admit(host=other, hosts=("run.example",))
    assert admit(host="any.example", hosts=("*",)) == ""
    assert admit(host="any.example", keys=KEYS, authorization="Bearer alices-secret-0001") == "alice"
    with pytest.raises(Forbidden):
        admit(host="any.example", keys=KEYS, hosts=("run.example",), authorization="Bearer alices-secret-0001")


@pytest.mark.parametrize("path", ["/metrics", "/execute", "/health", "/nothing"])
@pytest.mark.parametrize("host", ["", "a b", "a/b", "[", "[::1", "a:b", "a:99999", "x" * 300, "user@localhost", "ä"])
def test_bad_host(path: str, host: str) -> None:
    """What is no name and no address is refused everywhere."""
    with pytest.raises(InvalidRequest, match="Host"):
        admit(path, host=host)


@pytest.mark.parametrize("path", ["/metrics", "/health"])
def test_two_hosts(path: str) -> None:
    """Two Host headers are refused, also when they agree."""
    with pytest.raises(InvalidRequest, match="Host"):
        admit(path, host=["localhost", "localhost"])


def test_no_host() -> None:
    """A probe need not say whom it asks; anybody else has to, whatever is allowed."""
    assert admit("/health", host=[]) == ""
    assert admit("/health/ready", host=[]) == ""
    for hosts in ((), ("*",)):
        with pytest.raises(InvalidRequest, match="Host"):
            admit(host=[], hosts=hosts)


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_health_is_open(path: str) -> None:
    """Health answers under any name, from any page, without a key."""
    assert admit(path, host="evil.example", origin="http://evil.example", keys=KEYS) == ""


@pytest.mark.parametrize("path", ["/healthy", "/health%2flive", "//health", "/health//live", "/x/health"])
def test_only_health_is_open(path: str) -> None:
    """What only looks like it is not."""
    with pytest.raises(ExecutorError):
        admit(path, host="evil.example")


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://localhost", "http://localhost:8081", "https://localhost:8080.evil.example",
     "file://", "http://localhost:8080/", ""],
)  # fmt: skip
def test_foreign_origin(origin: str) -> None:
    """A page of any other origin is refused; another port is another origin."""
    with pytest.raises(Forbidden, match="origin"):
        admit(origin=origin)


def test_own_origin() -> None:
    """A page that this very host served may ask; a client that is no browser says no origin at all."""
    assert admit(origin="http://localhost:8080") == ""
    assert admit(origin="https://LOCALHOST:8080") == ""
    with pytest.raises(Forbidden):
        admit(origin=["http://localhost:8080", "http://evil.example"])


@pytest.mark.parametrize(("site", "fine"), [
    ("none", True), ("same-origin", True), ("cross-site", False), ("same-site", False), ("", False), ("NONE", False),
])  # fmt: skip
def test_fetch_site(site: str, fine: bool) -> None:
    """A browser says where a request comes from; only the same origin and the user are let in."""
    if fine:
        assert admit(sec_fetch_site=site) == ""
    else:
        with pytest.raises(Forbidden, match="site"):
            admit(sec_fetch_site=site)


@pytest.mark.parametrize(
    "authorization", [[], [""], ["alices-secret-0001"], ["Bearer "], ["Bearer alices-secret-000"],
                      ["Basic alices-secret-0001"], ["Bearer alices-secret-0001"] * 2],
)  # fmt: skip
def test_no_key(authorization: list[str]) -> None:
    """Anything but exactly one known key is refused."""
    with pytest.raises(Unauthorized) as caught:
        admit(keys=KEYS, authorization=authorization)
    assert extra_headers(caught.value) == (("WWW-Authenticate", "Bearer"),)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_key(scheme: str) -> None:
    """A key lets its owner in, by name."""
    assert admit(keys=KEYS, authorization=f"{scheme} alices-secret-0001") == "alice"


def test_key_without_keys() -> None:
    """Where no keys are set, one that is sent does not matter."""
    assert admit(authorization="Bearer whatever") == ""


def test_length() -> None:
    """What is announced as too large is refused, and what is not announced is counted later."""
    assert admit("/execute", "POST", length=1000, content_type="application/json") == ""
    assert admit("/execute", "POST", length=None, content_type="application/json") == ""
    for path in ("/execute", "/health", "/nothing"):
        with pytest.raises(RequestTooLarge):
            admit(path, "POST", length=1001, content_type="application/json")


@pytest.mark.parametrize(
    "kinds", [[], ["text/plain"], ["application/json", "text/plain"], ["text/plain; application/json"]]
)
def test_content_type(kinds: list[str]) -> None:
    """Only exactly one content type, JSON's, is taken; only of what has a body that we read."""
    with pytest.raises(UnsupportedMediaType):
        admit("/execute", "POST", content_type=kinds)
    assert admit("/execute", "GET", content_type=kinds) == ""


def test_room() -> None:
    """Room is asked for when a script may come, after everything else."""

    def none_left() -> None:
        raise Overloaded("Too many wait.")

    gate = Gate(GateRules((), None, 1000), none_left)
    headers = Headers({"Host": ["localhost"], "Content-Type": ["application/json"]})
    with pytest.raises(Overloaded):
        gate.admit(b"POST", b"/execute", headers, 10)
    for method, path in ((b"GET", b"/execute"), (b"GET", b"/metrics"), (b"GET", b"/health")):
        assert gate.admit(method, path, headers, 0) == ""
    headers.removeHeader("Content-Type")
    with pytest.raises(UnsupportedMediaType):
        gate.admit(b"POST", b"/execute", headers, 10)


@pytest.mark.parametrize(("values", "found"), [
    (["a-Z_0.9"], "a-Z_0.9"), (["x" * 64], "x" * 64), (["x" * 65], None), ([""], None), (["a b"], None),
    (["a", "b"], None), ([], None), (["a\u00e4"], None),
])  # fmt: skip
def test_request_id(values: list[str], found: str | None) -> None:
    """A client's id is taken when it is short and plain."""
    headers = Headers()
    headers.setRawHeaders(b"X-Request-ID", [value.encode("latin-1") for value in values])
    assert request_id(headers) == found


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2"), (60.0, "60")])
def test_retry_after(seconds: float, header: str) -> None:
    """The header is in whole seconds, never too early and never 0."""
    assert extra_headers(Overloaded("Too many wait.", seconds)) == (("Retry-After", header),)
    assert extra_headers(InvalidRequest("It is wrong.")) == ()


def test_few_paths() -> None:
    """Where only some paths are served, all others are not there, but for health; hosts are looked at as ever."""
    gate = Gate(GateRules((), None, 0, frozenset({b"/metrics"})), lambda: None)
    headers = Headers({"Host": ["localhost"]})
    for path in (b"/metrics", b"/metrics?x=1", b"/health", b"/health/live"):
        assert gate.admit(b"GET", path, headers, 0) == ""
    for path in (b"/", b"/execute", b"/images", b"/metrics/", b"/metrics/x", b"/healthy"):
        with pytest.raises(NoSuchResource, match="nothing at"):
            gate.admit(b"GET", path, headers, 0)
        with pytest.raises(NoSuchResource):
            gate.admit(b"POST", path, headers, 1)
    with pytest.raises(RequestTooLarge):
        gate.admit(b"GET", b"/metrics", headers, 1)
    with pytest.raises(Forbidden):
        gate.admit(b"GET", b"/metrics", Headers({"Host": ["evil.example"]}), 0)
