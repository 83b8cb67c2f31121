"""What operators write, as values: numbers, sizes, durations, names, lists.  Pure.

Every reader takes the text of one environment variable, which is not empty, and raises ValueError with a sentence that
says what would be right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from twisted.logger import LogLevel

from twisted_executor.errors import InvalidRequest
from twisted_executor.images import canonical, names_registry, quoted

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

_INTEGER = re.compile(r"[0-9]{1,18}")
_DECIMAL = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")
_SIZE = re.compile(r"([0-9]{1,15})([kmgt]?)i?b?", re.IGNORECASE)
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h)?")
_RUNTIME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_HOST = re.compile(r"[a-z0-9]([a-z0-9_.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]+\]|\*")

_POWERS = {"": 1, "k": KIB, "m": MIB, "g": GIB, "t": GIB * KIB}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PLACE = re.compile(r"(?:(?:(?P<v4>[0-9.]+)|\[(?P<v6>[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)\]):)?(?P<port>[0-9]{1,5})")
_TCP = re.compile(r"tcp:(?P<port>[0-9]{1,5})(?::interface=(?P<address>(?:[^:\\]|\\:)+)|:backlog=[0-9]{1,5})*")
_UNIX = re.compile(r"unix:/[^:=\\]+(?::mode=[0-7]{3,4}|:lockfile=[01]|:backlog=[0-9]{1,5})*")
_LEVELS = {"warning": "warn", "fatal": "critical"}


def integer(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number in this range."""

    def read(text: str) -> int:
        if not _INTEGER.fullmatch(text) or not least <= int(text) <= most:
            raise ValueError(f"It must be a whole number from {least} to {most}.")
        return int(text)

    return read


def decimal(least: float, most: float) -> Callable[[str], float]:
    """Reads a number like 0.5 in this range."""

    def read(text: str) -> float:
        if not _DECIMAL.fullmatch(text) or not least <= float(text) <= most:
            raise ValueError(f"It must be a number from {least:g} to {most:g}, like 0.5.")
        return float(text)

    return read


def size(least: int, most: int) -> Callable[[str], int]:
    """Reads bytes: "1048576", "1024k", "1m"; units are powers of 1024, as in the engine's own options."""

    def read(text: str) -> int:
        match = _SIZE.fullmatch(text)
        count = int(match[1]) * _POWERS[match[2].lower()] if match else -1
        if not least <= count <= most:
            raise ValueError(f'It must be a size from {size_text(least)} to {size_text(most)}, like "64m".')
        return count

    return read


def size_text(count: int) -> str:
    """The shortest way to write it that means exactly this: 67108864 is "64m"."""
    for unit in "tgmk":
        if count and count % _POWERS[unit] == 0:
            return f"{count // _POWERS[unit]}{unit}"
    return str(count)


def duration(least: float, most: float) -> Callable[[str], float]:
    """Reads seconds: "30", "30s", "500ms", "5m", "1h"."""

    def read(text: str) -> float:
        match = _DURATION.fullmatch(text)
        seconds = float(match[1]) * _SECONDS[match[2] or "s"] if match else math.nan
        if not least <= seconds <= most:
            raise ValueError(f'It must be from {least:g} to {most:g} seconds, like "30", "500ms" or "5m".')
        return seconds

    return read


def words(*known: str) -> Callable[[str], frozenset[str]]:
    """Reads a list of these words, separated by commas; "none" is the empty list."""

    def read(text: str) -> frozenset[str]:
        found = frozenset(word.lower() for word in items(text))
        if found == {"none"}:
            return frozenset()
        if not found <= set(known):
            raise ValueError(f"It must be a list, separated by commas, of {', '.join(known)}; or none.")
        return found

    return read


def one_of(*allowed: str) -> Callable[[str], str]:
    """Reads one of these words, in any case."""

    def read(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"It must be {' or '.join(allowed)}.")
        return text.lower()

    return read


def items(text: str) -> tuple[str, ...]:
    """What stands between commas, without white space; nothing is no item."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def plain(text: str) -> str:
    """The text itself."""
    return text


def level(text: str) -> str:
    """The name of one of twisted's log levels; WARNING and FATAL are understood."""
    name = _LEVELS.get(text.lower(), text.lower())
    if name not in {known.name for known in LogLevel.iterconstants()}:
        raise ValueError("It must be debug, info, warn, error or critical.")
    return name


def image(text: str) -> str:
    """An image reference, as it is written."""
    try:
        canonical(text)
    except InvalidRequest as problem:
        raise ValueError(str(problem)) from None
    return text


def images(text: str) -> tuple[str, ...]:
    """Image references, as they are written."""
    return tuple(image(item) for item in items(text))


def registry(text: str) -> str:
    """Host, port and path of a registry; a scheme and final slashes are dropped."""
    host = re.sub(r"^https?://", "", text, flags=re.IGNORECASE).rstrip("/")
    try:
        if names_registry(f"{host}/image"):
            return host
    except InvalidRequest:
        pass
    raise ValueError('It must be a registry with a dot or a port in its name, like "registry.example.com:5000".')


def hosts(text: str) -> tuple[str, ...]:
    """Host names without port, in lower case, or "*"."""
    found = tuple(item.lower() for item in items(text))
    for host in found:
        if not _HOST.fullmatch(host):
            raise ValueError(f'It must list host names without scheme and port, or "*"; {quoted(host)} is neither.')
    return found


def listen(text: str) -> str:
    """Where to listen, as an endpoint of Twisted; a port alone is one of 127.0.0.1."""
    try:
        return text if _is_endpoint(text) else _endpoint(text)
    except ValueError:
        raise ValueError(
            'It must be a port ("9090"), an address with one ("127.0.0.1:9090", "[::1]:9090"), or an endpoint '
            '("tcp:9090:interface=127.0.0.1", "unix:/run/metrics.sock").'
        ) from None


def _is_endpoint(text: str) -> bool:
    if match := _TCP.fullmatch(text):
        ip_address((match["address"] or "::").replace(r"\:", ":"))
        return _is_port(match["port"])
    return bool(_UNIX.fullmatch(text))


def _endpoint(text: str) -> str:
    match = _PLACE.fullmatch(text)
    if match is None or not _is_port(match["port"]):
        raise ValueError
    address = str(ip_address(match["v4"] or match["v6"] or "127.0.0.1"))
    interface = address.replace(":", r"\:")
    return f"tcp:{match['port']}:interface={interface}"


def _is_port(text: str) -> bool:
    return 0 < int(text) < 65536


def runtime(text: str) -> str:
    """The name of a container runtime of the engine."""
    if not _RUNTIME.fullmatch(text):
        raise ValueError('It must be the name of one of the engine\'s runtimes, like "runc" or "runsc".')
    return text


def docker_host(text: str) -> str:
    """Where the engine listens: "unix:///path" or "tcp://host:port"."""
    scheme, _, rest = text.partition("://")
    if scheme in ("ssh", "https", "npipe", "fd"):
        raise ValueError(f"It cannot be {scheme}:// in this version; forward it to a unix socket or a plain port.")
    if scheme == "unix" and rest.startswith("/") and len(rest) > 1:
        return text
    if scheme == "tcp" and _is_host_and_port(text):
        return text.rstrip("/")
    raise ValueError('It must be like "unix:///var/run/docker.sock" or "tcp://127.0.0.1:2375".')


def _is_host_and_port(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname and parts.port) and parts.netloc.count("@") == 0 and parts.path in ("", "/")
    except ValueError:
        return False
