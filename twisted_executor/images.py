"""Image references, and the list of pools that is made of them.  Pure.

The grammar is the engine's own (github.com/distribution/reference), through docker-image-py.  This is the only
module that imports it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from docker_image.digest import InvalidDigest
from docker_image.reference import InvalidReference, NameTooLong, Reference

from twisted_executor.errors import InvalidRequest

# A name has at most 255 characters, a tag 128, a sha512 digest 135; nothing longer needs to be parsed.
_LONGEST = 255 + 1 + 128 + 1 + 135

_IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}|[0-9a-f]{64}")
_SIZE = re.compile(r"[0-9]{1,9}")
_SMALLEST_POOL, _LARGEST_POOL = 1, 1000


@dataclass(frozen=True, slots=True)
class PoolSetting:
    """A pool that the operator asks for.

    @ivar image: the reference as the operator wrote it.
    @ivar size: how many containers to keep warm, 1 to 1000.
    """

    image: str
    size: int


def quoted(text: str) -> str:
    """Somebody's text for a sentence: in quotes, at most 100 characters, control characters and broken ones escaped."""
    short = text if len(text) <= 100 else text[:97] + "..."
    return json.dumps(short.encode(errors="backslashreplace").decode(), ensure_ascii=False)


@lru_cache(maxsize=1024)  # requests name the same few images again and again
def canonical(reference: str) -> str:
    """The one spelling that all spellings of an image share: "alpine" is "docker.io/library/alpine:latest".

    A digest wins over a tag, as in the engine: "a:1@sha256:…" is "docker.io/library/a@sha256:…".

    @raise InvalidRequest: it is not an image reference; says why.
    """
    parsed = _parse(reference)
    name, tag, digest = parsed["name"], parsed["tag"], parsed["digest"]
    return f"{name}@{digest}" if digest else f"{name}:{tag or 'latest'}"


def repository(reference: str) -> str:
    """The canonical name without tag and digest: of "alpine:3" it is "docker.io/library/alpine".

    @raise InvalidRequest: it is not an image reference.
    """
    name: str = _parse(reference)["name"]
    return name


def is_pinned(reference: str) -> bool:
    """Whether it has a digest, so that it can only ever mean one image.

    @raise InvalidRequest: it is not an image reference.
    """
    return "@" in canonical(reference)


def names_registry(reference: str) -> bool:
    """Whether it says where to pull from: its first part has a dot or a port, or is localhost.

    @raise InvalidRequest: it is not an image reference.
    """
    _parse(reference)
    first, slash, _ = reference.partition("/")
    return bool(slash) and (first == "localhost" or "." in first or ":" in first)


def with_registry(reference: str, registry: str) -> str:
    """The reference at that registry, unless it names one itself or `registry` is empty.

    @param registry: host with port and path where needed, without scheme and final slash.
    @raise InvalidRequest: it is not an image reference, or would not be one at that registry.
    """
    if not registry or names_registry(reference):
        return reference
    placed = f"{registry}/{reference}"
    _parse(placed)
    return placed


def parse_pools(text: str) -> tuple[PoolSetting, ...]:
    """Read "image=size,image=size"; "image:size" is understood too, there the last part is the size.

    @raise ValueError: with a sentence for each entry that is wrong.
    """
    pools: dict[str, PoolSetting] = {}
    problems: list[str] = []
    for entry in _entries(text):
        try:
            pool = _parse_pool(entry)
            name = canonical(pool.image)
            if name in pools:
                raise ValueError(
                    f"{quoted(entry)} is the same image as {quoted(pools[name].image)}; name each image once."
                )
            pools[name] = pool
        except (InvalidRequest, ValueError) as problem:
            problems.append(str(problem))
    if problems:
        raise ValueError(" ".join(problems))
    return tuple(pools.values())


def _entries(text: str) -> Iterator[str]:
    return (entry.strip() for entry in text.split(",") if entry.strip())


def _parse_pool(entry: str) -> PoolSetting:
    image, equals, size = (part.strip() for part in entry.rpartition("="))
    if not equals:
        image, _, size = entry.rpartition(":")
        if not _SIZE.fullmatch(size):
            raise ValueError(f"{quoted(entry)} does not say how many containers to keep warm; {_meant(entry)}.")
    if not _SIZE.fullmatch(size) or not _SMALLEST_POOL <= int(size) <= _LARGEST_POOL:
        hint = "" if equals else f"; if {quoted(size)} is the tag, {_meant(entry)}"
        raise ValueError(
            f"{quoted(entry)} has the size {quoted(size)}; "
            f"it must be a whole number from {_SMALLEST_POOL} to {_LARGEST_POOL}{hint}."
        )
    return PoolSetting(image, int(size))


def _meant(entry: str) -> str:
    return f'write "{entry}=2" for two' if _is_reference(entry) else 'write it like "python:3.11=2"'


def _is_reference(text: str) -> bool:
    try:
        _parse(text)
    except InvalidRequest:
        return False
    return True


def _parse(reference: str) -> Reference:
    problem = _problem(reference)
    if problem is None:
        try:
            return Reference.parse_normalized_named(reference)
        except NameTooLong:
            problem = "its name, with docker.io/library where that is left out, is longer than 255 characters"
        except (InvalidReference, InvalidDigest):
            problem = 'write [registry/]name[:tag] or name@sha256:digest, like "python:3.11"'
    raise InvalidRequest(f"{quoted(reference)} is not an image reference: {problem}.")


def _problem(reference: str) -> str | None:
    """What the library says badly or not at all, among it what it lets pass: a final newline, "Foo/bar", an id."""
    if not reference:
        return "it is empty"
    if len(reference) > _LONGEST:
        return f"it has {len(reference)} characters, at most {_LONGEST} are possible"
    if any(character.isspace() or not character.isprintable() for character in reference):
        return "it has white space or a control character in it"
    if reference.startswith("-"):
        return 'it begins with "-"'
    if "://" in reference:
        return f"leave out {quoted(reference.partition('://')[0] + '://')}"
    if _IMAGE_ID.fullmatch(reference):
        return "it is an image id; use a name"
    name = reference.partition("@")[0]
    if ":" in name.rpartition("/")[2]:
        name = name.rpartition(":")[0]
    if name != name.lower():
        return f"names are lower case, like {quoted(name.lower())}"
    return None
