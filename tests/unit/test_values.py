"""Tests of twisted_executor.values."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.endpoints import serverFromString

from twisted_executor import values
from twisted_executor.values import MIB

INTEGER = values.integer(1, 10)
DECIMAL = values.decimal(0.01, 4)
SIZE = values.size(1, 1 << 42)
DURATION = values.duration(0, 86400)
WORDS = values.words("memory", "cpu")
FORMAT = values.one_of("text", "json")


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (INTEGER, "1", 1),
        (INTEGER, "010", 10),
        (DECIMAL, "0.5", 0.5),
        (DECIMAL, "4", 4.0),
        (SIZE, "1", 1),
        (SIZE, "4k", 4096),
        (SIZE, "256m", 256 * MIB),
        (SIZE, "256M", 256 * MIB),
        (SIZE, "256MB", 256 * MIB),
        (SIZE, "256MiB", 256 * MIB),
        (SIZE, "100b", 100),
        (SIZE, "1g", 1024 * MIB),
        (SIZE, "1t", 1 << 40),
        (DURATION, "30", 30.0),
        (DURATION, "0", 0.0),
        (DURATION, "0.5", 0.5),
        (DURATION, "1.5s", 1.5),
        (DURATION, "500ms", 0.5),
        (DURATION, "5m", 300.0),
        (DURATION, "2h", 7200.0),
        (WORDS, "cpu, Memory", frozenset({"cpu", "memory"})),
        (WORDS, "none", frozenset()),
        (FORMAT, "JSON", "json"),
        (values.level, "DEBUG", "debug"),
        (values.level, "Warning", "warn"),
        (values.level, "warn", "warn"),
        (values.level, "FATAL", "critical"),
        (values.image, "Registry:5000/a".lower(), "registry:5000/a"),
        (values.images, "a, b:1,", ("a", "b:1")),
        (values.registry, "https://registry.example.com/", "registry.example.com"),
        (values.registry, "HTTP://registry:5000//", "registry:5000"),
        (values.registry, "registry.example.com/team", "registry.example.com/team"),
        (values.registry, "localhost", "localhost"),
        (values.hosts, "Example.com, *,[::1],10.0.0.1", ("example.com", "*", "[::1]", "10.0.0.1")),
        (values.runtime, "io.containerd.runsc.v1", "io.containerd.runsc.v1"),
        (values.docker_host, "unix:///run/docker.sock", "unix:///run/docker.sock"),
        (values.docker_host, "tcp://127.0.0.1:2375/", "tcp://127.0.0.1:2375"),
        (values.docker_host, "tcp://[::1]:2375", "tcp://[::1]:2375"),
    ],
)
def test_read(read: Callable[[str], object], text: str, expected: object) -> None:
    """What an operator may write is read as what it means."""
    assert read(text) == expected
    assert type(read(text)) is type(expected)


@pytest.mark.parametrize(
    ("read", "text", "right"),
    [
        (INTEGER, "0", "whole number from 1 to 10"),
        (INTEGER, "11", "whole number from 1 to 10"),
        (INTEGER, "1_0", "whole number"),
        (INTEGER, "+1", "whole number"),
        (INTEGER, "٣", "whole number"),
        (INTEGER, "9" * 5000, "whole number"),
        (DECIMAL, "0.001", "from 0.01 to 4"),
        (DECIMAL, "nan", "from 0.01 to 4"),
        (DECIMAL, "inf", "from 0.01 to 4"),
        (DECIMAL, "1e0", "from 0.01 to 4"),
        (DECIMAL, "0,5", "from 0.01 to 4"),
        (SIZE, "0", "from 1 to 4t"),
        (SIZE, "5t", "from 1 to 4t"),
        (SIZE, "-5m", 'like "64m"'),
        (SIZE, "256 m", 'like "64m"'),
        (SIZE, "1.5g", 'like "64m"'),
        (SIZE, "1e3m", 'like "64m"'),
        (SIZE, "infm", 'like "64m"'),
        (SIZE, "m", 'like "64m"'),
        (SIZE, "9" * 5000, 'like "64m"'),
        (DURATION, "-1", "from 0 to 86400 seconds"),
        (DURATION, "25h", "from 0 to 86400 seconds"),
        (DURATION, "1d", '"500ms"'),
        (DURATION, "1m30s", '"500ms"'),
        (DURATION, "nan", '"500ms"'),
        (WORDS, "disk", "memory, cpu; or none"),
        (WORDS, "none,cpu", "memory, cpu; or none"),
        (FORMAT, "xml", "text or json"),
        (values.level, "loud", "debug, info"),
        (values.level, "", "debug, info"),
        (values.image, "Foo", "lower case"),
        (values.images, "a,B", "lower case"),
        (values.registry, "myregistry", "registry.example.com:5000"),
        (values.registry, "a b.c", "registry.example.com:5000"),
        (values.registry, "https://", "registry.example.com:5000"),
        (values.hosts, "http://a", '"http://a" is neither'),
        (values.hosts, "a:8080", '"a:8080" is neither'),
        (values.runtime, "/bin/runc", "runsc"),
        (values.docker_host, "ssh://host", "cannot be ssh://"),
        (values.docker_host, "https://host:2376", "cannot be https://"),
        (values.docker_host, "unix://docker.sock", "unix:///var"),
        (values.docker_host, "unix:///", "unix:///var"),
        (values.docker_host, "tcp://host", "tcp://127.0.0.1:2375"),
        (values.docker_host, "tcp://:2375", "tcp://127.0.0.1:2375"),
        (values.docker_host, "tcp://host:99999", "tcp://127.0.0.1:2375"),
        (values.docker_host, "tcp://host:1/path", "tcp://127.0.0.1:2375"),
        (values.docker_host, "tcp://user@host:1", "tcp://127.0.0.1:2375"),
        (values.docker_host, "/var/run/docker.sock", "unix:///var"),
        *(
            (values.listen, text, '"127.0.0.1:9090"')
            for text in (
                "0",
                "70000",
                "http",
                ":9090",
                "localhost:9090",
                "127.0.0.1",
                "1.2.3:9090",
                "256.1.1.1:9090",
                "::1:9090",
                "[::1]",
                "[1.2.3.4]:9090",
                "[::g]:9090",
                "tcp:0",
                "tcp:http",
                "tcp:9090:interface=::1",
                "TCP:9090",
                "tcp:9090:interface=localhost",
                "tcp:9090:interfaces=127.0.0.1",
                "unix:metrics",
                "unix:",
                "unix:/=",
                "ssl:9090",
                "\u0661",
                "9090\n",
            )
        ),
    ],
)
def test_refuse(read: Callable[[str], object], text: str, right: str) -> None:
    """What is wrong is refused with a sentence that says what would be right."""
    with pytest.raises(ValueError, match=r".+") as caught:
        read(text)
    assert right in str(caught.value)
    assert str(caught.value).endswith(".")


@given(st.integers(1, 1 << 42))
def test_size_text(count: int) -> None:
    """A size that is written for people reads back as the same size."""
    assert SIZE(values.size_text(count)) == count


def test_size_text_is_short() -> None:
    """The largest unit that is exact is used."""
    assert [values.size_text(count) for count in (0, 1, 1023, 1024, 64 * MIB, 1536 * MIB)] == [
        "0",
        "1",
        "1023",
        "1k",
        "64m",
        "1536m",
    ]


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("9090", "tcp:9090:interface=127.0.0.1"),
        ("0.0.0.0:1", "tcp:1:interface=0.0.0.0"),
        ("[::1]:65535", r"tcp:65535:interface=\:\:1"),
        ("[FE80::1:2]:9", r"tcp:9:interface=fe80\:\:1\:2"),
        ("tcp:9090", "tcp:9090"),
        ("tcp:9090:interface=127.0.0.1:backlog=5", "tcp:9090:interface=127.0.0.1:backlog=5"),
        (r"tcp:9090:interface=\:\:1", r"tcp:9090:interface=\:\:1"),
        ("unix:/run/metrics.sock", "unix:/run/metrics.sock"),
        ("unix:/run/metrics.sock:mode=660:lockfile=1", "unix:/run/metrics.sock:mode=660:lockfile=1"),
    ],
)
def test_listen(text: str, endpoint: str) -> None:
    """Ports, addresses and endpoints become endpoints, which Twisted understands."""
    assert values.listen(text) == endpoint
    assert serverFromString(object(), endpoint)  # type: ignore[arg-type]


@given(st.text(max_size=30) | st.from_regex(r"(tcp:|unix:/)?[0-9a-f:.\[\]=\\]{0,30}", fullmatch=True))
def test_any_listen(text: str) -> None:
    """What is taken is understood by Twisted."""
    try:
        endpoint = values.listen(text)
    except ValueError:
        return
    assert serverFromString(object(), endpoint)  # type: ignore[arg-type]
