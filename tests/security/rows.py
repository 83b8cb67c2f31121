"""What a row of the table in docs/security.md is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Fields of HostConfig: without the engine's seccomp profile.
NO_PROFILE = '{"SecurityOpt": ["no-new-privileges:true", "seccomp=unconfined"]}'


@dataclass(frozen=True, slots=True)
class Weakness:
    """Protections that a test leaves out of a server.

    @ivar agent: those of the agent, as SWITCHED_OFF in agent.h has them.
    @ivar host: fields of the engine's HostConfig that replace ours, as JSON.
    @ivar name: what the table calls it, if not by these.
    """

    agent: str = ""
    host: str = "{}"
    name: str = ""

    def __str__(self) -> str:
        if self.name:
            return self.name
        parts = [part for part in self.agent.split("+") if part]
        return ", ".join([f"`{part}`" for part in parts] + [f"`{name}`" for name in json.loads(self.host)])


@dataclass(frozen=True, slots=True)
class Row:
    """Scripts that are run one after another in one container, and what the last of them finds.

    @ivar what: what could be left, or what is tried.  @ivar closed: by what.
    @ivar first: the script before the last, if there is one.  @ivar fields: more of its request.
    @ivar expected: what the last one prints, or the status of a run that does not end well.
    @ivar without: what is left out to see that it is needed: then something else is found.  None where the kernel
    itself refuses, whatever we do.
    """

    name: str
    what: str
    closed: str
    last: str
    expected: str
    without: Weakness | None = None
    first: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name
