"""The calls of the control plane that take more than a line, each blocking, on a client of this thread."""

from __future__ import annotations

import io
import posixpath
import tarfile
import time
from collections.abc import Mapping
from datetime import datetime
from uuid import uuid4

import docker.errors
from docker import APIClient
from docker.types import Mount

from twisted_executor.boundaries import ContainerSummary, Fate, ImageInfo
from twisted_executor.images import repository

AGENT_FOLDER = "/.executor"
EVENT_DELAY = 0.3  # seconds that an oom event may come after the end of the stream
CALL_LIMIT = 15.0  # seconds that a call may take; a start was seen to take 0.15


def remove(client: APIClient, container: str) -> None:
    """Kill and remove it, and wait until it is gone."""
    deadline = time.monotonic() + CALL_LIMIT
    while True:
        try:
            return client.remove_container(container, v=True, force=True)
        except docker.errors.NotFound:
            return None
        except docker.errors.APIError as error:
            # Its AutoRemove has begun (409, moby daemon/delete.go): wait for the end of it.
            if error.status_code != 409 or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def containers(client: APIClient, labels: Mapping[str, str]) -> tuple[ContainerSummary, ...]:
    """All containers with these labels."""
    filters = {"label": [f"{key}={value}" if value else key for key, value in labels.items()]}
    return tuple(
        ContainerSummary(
            id=found["Id"],
            name=(found.get("Names") or ["/"])[0].lstrip("/"),
            state=found["State"],
            created=float(found["Created"]),
            labels=found.get("Labels") or {},
        )
        for found in client.containers(all=True, filters=filters)
    )


def fate(client: APIClient, container: str) -> Fate:
    """Whether it is paused, and whether its events name an oom."""
    try:
        paused = bool(client.inspect_container(container)["State"]["Paused"])
    except docker.errors.NotFound:
        paused = False
    until = seconds(client.info()["SystemTime"]) + EVENT_DELAY
    only = {"container": container, "event": "oom"}
    events = client.events(since=1, until=until, filters=only, decode=True)  # type: ignore[call-overload]
    try:
        return Fate(oom_killed=any(True for _ in events), paused=paused)
    finally:
        events.close()


def image(client: APIClient, reference: str) -> ImageInfo:
    """Look at an image."""
    found = client.inspect_image(reference)
    volumes = (found.get("Config") or {}).get("Volumes") or {}
    places = {posixpath.normpath(place) for place in volumes}
    known = {repository(name) for name in found.get("RepoDigests") or ()}
    return ImageInfo(
        reference, found["Id"], found["Architecture"], tuple(sorted(places)), repository(reference) in known
    )


def fill_volume(client: APIClient, volume: str, image: str, name: str, labels: Mapping[str, str], agent: bytes) -> None:
    """Put the agent into the volume through a container that is never started."""
    client.create_volume(volume, labels=dict(labels))
    try:
        client.create_container(
            image=image,
            entrypoint=[f"{AGENT_FOLDER}/agent"],
            name=name,
            labels=dict(labels),
            use_config_proxy=False,
            host_config=client.create_host_config(
                network_mode="none", mounts=[Mount(AGENT_FOLDER, volume, no_copy=True)]
            ),
        )
        if not _holds(client, name, f"{AGENT_FOLDER}/agent"):
            client.put_archive(name, AGENT_FOLDER, agent_tar(agent))
    finally:
        remove(client, name)  # even where the answer to its creation was lost


def _holds(client: APIClient, container: str, path: str) -> bool:
    try:
        stream, _ = client.get_archive(container, path)
    except docker.errors.NotFound:
        return False
    stream.close()
    return True


def agent_tar(agent: bytes) -> bytes:
    """The file under a random name and a hard link to it: whoever looks never sees a part of it."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        member = tarfile.TarInfo(f".agent-{uuid4().hex}")
        member.size, member.mode = len(agent), 0o555
        archive.addfile(member, io.BytesIO(agent))
        link = tarfile.TarInfo("agent")
        link.type, link.linkname, link.mode = tarfile.LNKTYPE, member.name, 0o555
        archive.addfile(link)
    return raw.getvalue()


def seconds(timestamp: str) -> float:
    """From the engine's RFC 3339 with nanoseconds, which datetime does not read."""
    whole, _, rest = timestamp.partition(".")
    zone = rest.lstrip("0123456789") or ("Z" if timestamp.endswith("Z") else "")
    return datetime.fromisoformat(whole.removesuffix("Z") + zone).timestamp()
