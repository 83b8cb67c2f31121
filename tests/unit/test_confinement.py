"""Limits as the agent sees them, uid ranges, and sizes of tmpfs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_executor.confinement import LEAST_UID, NOBODY, WIDE_RANGE, Confinement, tmpfs_sizes, uid_range
from twisted_executor.errors import EngineUnavailable

MIB = 1 << 20
GOOD = {
    "caps_effective": "00000000000000e0",
    "caps_permitted": "00000000000000e0",
    "caps_bounding": "00000000000000e0",
    "caps_inheritable": "0000000000000000",
    "caps_ambient": "0000000000000000",
    "no_new_privs": "1",
    "seccomp": "2",
    "memory_limit": str(256 * MIB),
    "memory_swap_limit": str(256 * MIB),
    "cpu_quota": "50000",
    "cpu_period": "100000",
    "pids_limit": "128",
    "read_only_root": "1",
    "interfaces": "lo",
    "writable": "/tmp,/dev/shm",
    "loose": "",
    "exposed": "",
}
WRITABLE = ("/tmp", "/dev/shm")


def confinement(*require: str) -> Confinement:
    return Confinement(256 * MIB, 0.5, 128, frozenset(require))


ALL = confinement("memory", "swap", "cpu", "pids")


def test_good() -> None:
    """Nothing is said of a container in which all holds."""
    assert ALL.check(GOOD, WRITABLE, ()) == []


def test_odd_names() -> None:
    """A place with a space, a comma or a backslash in its name is known by it."""
    facts = GOOD | {"writable": r"/tmp,/a\040b,/c\054d,/e\134f"}
    assert ALL.check(facts, ("/tmp", "/a b", "/c,d", "/e\\f"), ()) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"caps_effective": "00000000a80425fb"}, "effective capabilities"),
        ({"caps_permitted": ""}, "permitted capabilities"),
        ({"caps_bounding": "000001ffffffffff"}, "bounding capabilities"),
        ({"caps_inheritable": "00000000a80425fb"}, "inheritable capabilities"),
        ({"caps_ambient": "00000000000000e0"}, "ambient capabilities"),
        ({"loose": "/tmp"}, "devices or set-user-id programs: /tmp"),
        ({"exposed": "/proc/keys,/proc/sysrq-trigger"}, "neither hidden nor read-only: /proc/keys"),
        ({"no_new_privs": "0"}, "no-new-privileges"),
        ({"seccomp": "0"}, "seccomp"),
        ({"read_only_root": "0"}, "root file system"),
        ({"interfaces": "lo,eth0"}, "network interface"),
        ({"writable": "/tmp,/dev/shm,/data"}, "/data"),
    ],
)
@pytest.mark.parametrize("require", [(), ("memory", "swap", "cpu", "pids")])
def test_broken_wall(change: dict[str, str], word: str, require: tuple[str, ...]) -> None:
    """A missing wall is fatal whatever the operator requires, and named."""
    with pytest.raises(EngineUnavailable, match=word):
        confinement(*require).check(GOOD | change, WRITABLE, ())


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("memory", {"memory_limit": "max"}),
        ("memory", {"memory_limit": str(257 * MIB)}),
        ("swap", {"memory_swap_limit": str(512 * MIB)}),
        ("cpu", {"cpu_quota": "max"}),
        ("cpu", {"cpu_quota": "100000"}),
        ("pids", {"pids_limit": "max"}),
    ],
)
def test_dropped_limit(name: str, change: dict[str, str]) -> None:
    """A limit that does not hold is fatal when it is required, with the engine's words; else it is conceded."""
    with pytest.raises(EngineUnavailable, match=r"limit.*Limitation discarded.*REQUIRE_LIMITS"):
        ALL.check(GOOD | change, WRITABLE, ("Limitation discarded.",))
    others = {"memory", "swap", "cpu", "pids"} - {name}
    (conceded,) = confinement(*others).check(GOOD | change, WRITABLE, ())
    assert conceded.startswith("The ")
    assert conceded.endswith("REQUIRE_LIMITS leaves it out: to have it, mend the engine and name it there.")


def test_unseen_limit() -> None:
    """A limit that the agent cannot see is one that does not hold."""
    with pytest.raises(EngineUnavailable, match="cannot be seen"):
        ALL.check({key: value for key, value in GOOD.items() if key != "pids_limit"}, WRITABLE, ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 0 4294967295", WIDE_RANGE),
        ("0 100000 65536", (LEAST_UID, NOBODY - 1)),
        ("0 1000 1,1 100000 65536", (LEAST_UID, NOBODY - 1)),  # an engine without root
        ("1 100000 65536,0 1000 1", (LEAST_UID, NOBODY - 1)),
        ("0 1000 1,2 100000 65536", None),
        ("0 100000 1000000", (NOBODY + 1, 999999)),
        ("0 1000 1", None),
        ("", None),
    ],
)
def test_uid_range(text: str, expected: tuple[int, int] | None) -> None:
    """Uids come from inside the engine's map, and are never root's, a system user's or nobody's."""
    facts = {"uid_map": text, "gid_map": text}
    if expected is None:
        with pytest.raises(EngineUnavailable):
            uid_range(facts)
    else:
        assert uid_range(facts) == expected


@given(
    tmp=st.integers(4096, 1 << 31),
    rest=st.integers(MIB, 1 << 31),
    volumes=st.sets(st.sampled_from(["/tmp", "/dev/shm", "/data", "/var/lib/x", "/cache"])),
)
def test_tmpfs_sizes(tmp: int, rest: int, volumes: set[str]) -> None:
    """All places have a size above zero, and those beside /tmp share what is left for them."""
    sizes = tmpfs_sizes(tmp, rest, sorted(volumes))
    assert set(sizes) == {"/tmp", "/dev/shm"} | volumes
    assert sizes["/tmp"] == tmp
    assert all(size >= 4096 for size in sizes.values())
    assert sum(sizes.values()) - tmp <= rest
