"""Why this process may not use the engine's socket, and what its operator can do."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection


def refusal(path: str) -> str:
    """The sentence for a socket that this process may not connect to."""
    try:
        found = os.stat(path)
    except OSError as error:
        return f"No permission to use {path}: {error.strerror}; this process must be able to reach its folder."
    return explained(path, found.st_mode, found.st_gid, {os.getegid(), *os.getgroups()})


def explained(path: str, mode: int, owner: int, groups: Collection[int]) -> str:
    """The same for a socket of this mode and group.  @param groups: of this process."""
    # connect(2) asks for write permission (unix(7)).
    if not mode & stat.S_IWGRP:
        return f"No permission to use {path}: its mode {mode & 0o777:o} lets no group write; chmod g+w it."
    if owner in groups:
        return f"No permission to use {path}, although this process is in its group {owner}: see SELinux or AppArmor."
    return (
        f"No permission to use {path}: it belongs to group {owner}, and this process is in "
        f"{', '.join(map(str, sorted(groups)))} only. With compose, put the line DOCKER_GID={owner} into .env and run "
        f"docker-compose up -d; elsewhere, put the server's user into that group."
    )


def absence(path: str) -> str:
    """The sentence for a socket that is not there."""
    if os.path.isdir(path):
        # The engine makes one of a bind mount's source that does not exist.
        return f"There is no Docker engine at {path}: it is a folder. Remove it, start the engine, then this container."
    return f"There is no Docker engine at {path}: the socket does not exist. Start it, or correct DOCKER_HOST."
