"""Whether a container's limits hold, by what the agent sees inside; and the sizes of its writable places.  Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from twisted_executor.errors import EngineUnavailable

# SETGID, SETUID and KILL, as bits 6, 7 and 5 of capabilities(7).
AGENT_CAPABILITIES = (1 << 5) | (1 << 6) | (1 << 7)
# Engines before 20.10.14 made them inheritable as well (CVE-2022-24769); a script gets none either way.
CAPABILITIES = dict.fromkeys(("effective", "permitted", "bounding"), (AGENT_CAPABILITIES,)) | {
    "inheritable": (0, AGENT_CAPABILITIES),
    "ambient": (0,),
}

# Above the uids that distributions, subuid(5) ranges and systemd's containers (to 0x6FFFFFFF) use.
WIDE_RANGE = (0x70000000, 0x7FFFFFFE)
NOBODY = 65534
LEAST_UID = 1000


@dataclass(frozen=True, slots=True)
class Confinement:
    """What must hold inside a container.

    @ivar memory: bytes.  @ivar cpu: processors.
    @ivar require: those of memory, swap, cpu and pids without which the server does not run scripts.
    """

    memory: int
    cpu: float
    pids: int
    require: frozenset[str]

    def check(self, facts: Mapping[str, str], writable: Iterable[str], warnings: Iterable[str]) -> list[str]:
        """Compare with the agent's facts.

        @param writable: the mount points that may be writable.
        @param warnings: what the engine said when it made the container.
        @return: a sentence for each limit that does not hold though REQUIRE_LIMITS leaves it out.
        @raise EngineUnavailable: something that is required does not hold; the sentence says what and what to do.
        """
        broken = _broken_walls(facts, writable)
        if broken:
            raise EngineUnavailable(
                f"Containers are not confined as they must be: {'; '.join(broken)}. No script runs until the engine, "
                "or another CONTAINER_RUNTIME, confines them."
            )
        missing = {name: why for name, why in self._limits(facts).items() if why is not None}
        fatal = [why for name, why in missing.items() if name in self.require]
        if fatal:
            said = " ".join(warnings)
            raise EngineUnavailable(
                f"The engine does not hold the limits: {'; '.join(fatal)}."
                + (f" The engine says: {said}" if said else "")
                + " Mend the engine, or leave the limit out of REQUIRE_LIMITS."
            )
        return [
            f"{why[0].upper()}{why[1:]}; REQUIRE_LIMITS leaves it out: to have it, mend the engine and name it there."
            for why in missing.values()
        ]

    def _limits(self, facts: Mapping[str, str]) -> dict[str, str | None]:
        quota, period = _number(facts, "cpu_quota"), _number(facts, "cpu_period")
        cpu = None if quota is None or period is None else quota / period
        return {
            "memory": _above("the memory limit", _number(facts, "memory_limit"), self.memory),
            "swap": _above("the limit of memory and swap", _number(facts, "memory_swap_limit"), self.memory),
            "cpu": _above("the CPU limit", cpu, self.cpu, 0.01),
            "pids": _above("the limit of processes", _number(facts, "pids_limit"), self.pids),
        }


def _number(facts: Mapping[str, str], name: str) -> float | None:
    """Infinity where there is no limit, None where it cannot be seen."""
    text = facts.get(name, "")
    return math.inf if text == "max" else float(text) if text.isdigit() and int(text) else None


def _above(what: str, found: float | None, most: float, tolerance: float = 0.0) -> str | None:
    """@param tolerance: a share of `most`, as the engine rounds some of what it is given."""
    if found is not None and found <= most * (1 + tolerance):
        return None
    seen = "cannot be seen" if found is None else "does not exist" if found == math.inf else f"is {found:.12g}"
    return f"{what} {seen} in the container, {most:.12g} was asked for"


def _broken_walls(facts: Mapping[str, str], writable: Iterable[str]) -> list[str]:
    extra = {_unescaped(place) for place in _list(facts.get("writable", ""))} - set(writable)
    walls = {
        "no-new-privileges is off": facts.get("no_new_privs") == "1",
        "there is no seccomp filter": facts.get("seccomp") == "2",
        "the root file system is writable": facts.get("read_only_root") == "1",
        "there is a network interface beside lo": set(_list(facts.get("interfaces", "lo"))) <= {"lo"},
        f"these places are writable: {', '.join(sorted(extra))}": not extra,
        f"these places allow devices or set-user-id programs: {facts.get('loose')}": facts.get("loose") == "",
        f"these are neither hidden nor read-only: {facts.get('exposed')}": facts.get("exposed") == "",
    }
    for kind, allowed in CAPABILITIES.items():
        found = facts.get(f"caps_{kind}", "")
        walls[f"the {kind} capabilities are {found}"] = found != "" and int(found, 16) in allowed
    return [what for what, holds in walls.items() if not holds]


def _list(text: str) -> list[str]:
    return text.split(",") if text else []


def _unescaped(place: str) -> str:
    """From the octal escapes of /proc/self/mountinfo."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), place)


def uid_range(facts: Mapping[str, str]) -> tuple[int, int]:
    """The first and the last uid that runs in this container may get, by its /proc/self/uid_map and gid_map.

    @raise EngineUnavailable: the engine maps too few; a uid outside the map cannot be taken (EINVAL, setuid(2)).
    """
    last = min(_last_mapped(facts.get("uid_map", "")), _last_mapped(facts.get("gid_map", "")))
    if last >= WIDE_RANGE[1]:
        return WIDE_RANGE
    below, above = (LEAST_UID, min(last, NOBODY - 1)), (NOBODY + 1, last)
    widest = max(below, above, key=lambda span: span[1] - span[0])
    if widest[1] - widest[0] < LEAST_UID:
        raise EngineUnavailable("The engine maps fewer than 2,000 user ids into a container; give it 65,536.")
    return widest


def _last_mapped(text: str) -> int:
    """The last id that is mapped of those from 0 without a gap; -1 when 0 is not.

    An engine without root maps 0 to its user and all others to that user's range, in a line each.
    """
    last = -1
    for inside, _, count in sorted(tuple(map(int, line.split())) for line in _list(text)):
        if inside > last + 1:
            break
        last = max(last, inside + count - 1)
    return last


def tmpfs_sizes(tmp: int, rest: int, volumes: Iterable[str]) -> dict[str, int]:
    """Sizes in bytes of the writable places: /tmp, /dev/shm and the image's VOLUMEs.

    @param tmp: bytes for /tmp.
    @param rest: bytes that all others share.  None is larger than /tmp.
    """
    others = ["/dev/shm", *(where for where in volumes if where not in ("/tmp", "/dev/shm"))]
    share = min(tmp, rest // len(others))
    # Never 0, which tmpfs(5) takes for no limit.
    return {"/tmp": tmp} | dict.fromkeys(others, max(4096, share // 4096 * 4096))
