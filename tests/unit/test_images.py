"""Tests of twisted_executor.images."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_executor.errors import InvalidRequest
from twisted_executor.images import (
    PoolSetting,
    canonical,
    is_pinned,
    names_registry,
    parse_pools,
    repository,
    with_registry,
)

SHA256 = "sha256:" + "0123456789abcdef" * 4
DIGITS = "sha256:" + "1" * 64

_component = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True).filter(
    lambda text: text != "localhost"
)
_host = st.sampled_from(["localhost", "registry.example.com", "registry:5000", "127.0.0.1:5000", "[::1]:5000"])
_tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
_suffix = st.one_of(st.just(""), _tag.map(":{}".format), st.sampled_from([f"@{SHA256}", f":1@{DIGITS}"]))


@st.composite
def references(draw: st.DrawFn) -> str:
    """Image references of every shape, with and without registry, tag and digest."""
    host = draw(st.one_of(st.just(""), _host.map("{}/".format)))
    first = draw(_component)
    # A dot in the first of several parts would make it a registry.
    rest = draw(st.lists(_component, max_size=2))
    if rest and not host:
        first = first.replace(".", "-")
    name = "/".join([first, *rest])
    return host + name + draw(_suffix)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20"),
        ("team/tool", "docker.io/team/tool:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/library/alpine", "docker.io/library/alpine:latest"),
        ("localhost/tool", "localhost/tool:latest"),
        ("localhost", "docker.io/library/localhost:latest"),
        ("registry:5000/team/tool:1.2", "registry:5000/team/tool:1.2"),
        ("[::1]:5000/tool", "[::1]:5000/tool:latest"),
        (f"alpine@{SHA256}", f"docker.io/library/alpine@{SHA256}"),
        (f"alpine:3.20@{SHA256}", f"docker.io/library/alpine@{SHA256}"),
        ("a" * 247 + ":" + "t" * 128, None),
    ],
)
def test_canonical(reference: str, expected: str | None) -> None:
    """Each spelling leads to the full one; a digest wins over a tag."""
    assert canonical(reference) == (expected or f"docker.io/library/{reference}")


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("", "empty"),
        (" ", "white space"),
        ("a b", "white space"),
        ("alpine\n", "white space"),
        ("alpine:latest\n", "white space"),
        ("al\x00pine", "control character"),
        ("al\u200bpine", "control character"),
        ("alpïne", "write [registry/]name"),
        ("-v", 'begins with "-"'),
        ("Alpine", 'lower case, like "alpine"'),
        ("Team/tool:1", 'lower case, like "team/tool"'),
        ("https://registry.example.com/tool", 'leave out "https://"'),
        (SHA256, "image id"),
        ("f" * 64, "image id"),
        ("alpine:", "write [registry/]name"),
        ("alpine:-x", "write [registry/]name"),
        ("a:b:c", "write [registry/]name"),
        ("alpine@sha256:abc", "write [registry/]name"),
        ("alpine@md5:" + "a" * 32, "write [registry/]name"),
        ("/alpine", "write [registry/]name"),
        ("a//b", "write [registry/]name"),
        ("docker.io/", "write [registry/]name"),
        ("../../etc", "write [registry/]name"),
        ("a" * 248, "longer than 255"),
        ("team/" + "a" * 300, "longer than 255"),
        ("a:" + "t" * 129, "write [registry/]name"),
        ("a" * 100_000, "100000 characters"),
    ],
)
def test_not_a_reference(reference: str, why: str) -> None:
    """What is no reference is refused with the reason, by every function, in a sentence of bounded length."""
    for function in (canonical, names_registry, lambda text: with_registry(text, "registry:5000")):
        with pytest.raises(InvalidRequest) as caught:
            function(reference)
        assert why in str(caught.value)
        assert str(caught.value).endswith(".")
        assert len(str(caught.value)) < 320


@given(references())
def test_canonical_of_canonical(reference: str) -> None:
    """The full spelling of a reference is its own full spelling, and always names a registry."""
    full = canonical(reference)
    assert canonical(full) == full
    assert names_registry(full)


@given(st.one_of(st.text(), st.text(alphabet=string.ascii_letters + string.digits + ":/@._- =\n")))
def test_any_text(text: str) -> None:
    """Whatever a client sends is understood or refused in words; a space or a line end never gets through."""
    try:
        full = canonical(text)
    except InvalidRequest:
        return
    assert full.isprintable()
    assert " " not in full


@pytest.mark.parametrize(
    ("reference", "name", "pinned"),
    [
        ("alpine", "docker.io/library/alpine", False),
        ("team/app:1", "docker.io/team/app", False),
        ("localhost:5000/app:1", "localhost:5000/app", False),
        (f"app:1@sha256:{'0' * 64}", "docker.io/library/app", True),
        (f"localhost:5000/app@sha256:{'0' * 64}", "localhost:5000/app", True),
    ],
)
def test_repository(reference: str, name: str, pinned: bool) -> None:
    """The name alone, in its one spelling, and whether it can change its meaning."""
    assert (repository(reference), is_pinned(reference)) == (name, pinned)


def test_names_registry() -> None:
    """A first part with a dot or a port, or localhost, is a registry; a user's name or a tag is none."""
    assert [names_registry(text) for text in ("localhost/a", "r.example/a", "r:5000/a/b:1", "docker.io/a")] == [
        True
    ] * 4
    assert [names_registry(text) for text in ("a", "a:5000", "a.b", "team/a", "localhost", "localhost:1")] == [
        False
    ] * 6


def test_with_registry() -> None:
    """The registry, with a path or not, is put before references that name none."""
    assert with_registry("alpine:3", "r:5000") == "r:5000/alpine:3"
    assert with_registry("team/tool", "r.example.com/mirror") == "r.example.com/mirror/team/tool"
    assert with_registry("localhost/tool", "r:5000") == "localhost/tool"
    assert with_registry("docker.io/tool", "r:5000") == "docker.io/tool"
    assert with_registry("alpine", "") == "alpine"


def test_with_registry_too_long() -> None:
    """A reference that gets too long by the registry is refused."""
    with pytest.raises(InvalidRequest, match="longer than 255"):
        with_registry("team/" + "a" * 245, "r:5000/mirror")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        (" , ", ()),
        ("name:3", (("name", 3),)),
        ("name=3", (("name", 3),)),
        ("python:3.11=2", (("python:3.11", 2),)),
        ("python:3=2", (("python:3", 2),)),
        ("python:3:2", (("python:3", 2),)),
        ("registry:5000/team/img:1.2:3", (("registry:5000/team/img:1.2", 3),)),
        ("registry:5000/img:3", (("registry:5000/img", 3),)),
        ("registry:5000/img=3", (("registry:5000/img", 3),)),
        (f"a@{SHA256}=3", ((f"a@{SHA256}", 3),)),
        (f"a@{DIGITS}:3", ((f"a@{DIGITS}", 3),)),
        (" a:1 , b = 1000 ,", (("a", 1), ("b", 1000))),
        ("a:1,a:2:1", (("a", 1), ("a:2", 1))),
    ],
)
def test_pools(text: str, expected: tuple[tuple[str, int], ...]) -> None:
    """Both forms are read, in order, and the image stays as the operator wrote it."""
    assert parse_pools(text) == tuple(PoolSetting(*pool) for pool in expected)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("python:3.11", '"python:3.11" does not say how many containers to keep warm; write "python:3.11=2" for two.'),
        ("python", '"python" does not say how many containers to keep warm; write "python=2" for two.'),
        ("registry:5000/img", 'write "registry:5000/img=2" for two.'),
        (f"a@{DIGITS}", f'write "a@{DIGITS}=2" for two.'),
        ("alpine:20240101", 'if "20240101" is the tag, write "alpine:20240101=2" for two.'),
        (":3", '"" is not an image reference: it is empty.'),
        ("=3", '"" is not an image reference: it is empty.'),
        ("a:0", "it must be a whole number from 1 to 1000"),
        ("a=1001", "it must be a whole number from 1 to 1000."),
        ("a=", 'has the size "";'),
        ("a=x", 'has the size "x";'),
        ("a=-1", 'has the size "-1";'),
        ("a=٣", 'has the size "٣";'),
        ("a:1=2=3", '"a:1=2" is not an image reference'),
        ("A:3", 'lower case, like "a"'),
        ("a b:3", "white space"),
        ("!:x", 'write it like "python:3.11=2".'),
        ("a:1,docker.io/library/a:latest=2", 'is the same image as "a"; name each image once.'),
    ],
)
def test_bad_pools(text: str, sentence: str) -> None:
    """An entry that is wrong or unclear is refused with what is meant."""
    with pytest.raises(ValueError, match=r".+") as caught:
        parse_pools(text)
    assert sentence in str(caught.value)


def test_all_bad_pools() -> None:
    """Every wrong entry is told, not only the first."""
    with pytest.raises(ValueError, match=r'"a" does not say.*"b:x" does not say.*"c=0" has the size'):
        parse_pools("a, b:x, ok:1, c=0")


@given(st.lists(st.tuples(references(), st.integers(1, 1000)), max_size=5, unique_by=lambda pool: canonical(pool[0])))
def test_pools_round_trip(pools: list[tuple[str, int]]) -> None:
    """What is written as image=size is read back, whatever the references are; and as image:size, too."""
    expected = tuple(PoolSetting(image, size) for image, size in pools)
    assert parse_pools(",".join(f"{image}={size}" for image, size in pools)) == expected
    assert parse_pools(",".join(f"{image}:{size}" for image, size in pools)) == expected
