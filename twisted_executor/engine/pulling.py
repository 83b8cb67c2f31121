"""One attempt to pull an image: the registry's own reason when it fails, and no secret in it."""

from __future__ import annotations

import time

from docker import APIClient

from twisted_executor.engine.credentials import Credentials, CredentialsError, Login
from twisted_executor.engine.translation import pull_failed, translated
from twisted_executor.errors import EngineTimeout, PullFailed


def pull(client: APIClient, url: str, reference: str, credentials: Credentials, limit: float) -> None:
    """Pull it and wait for the end.  @param url: of the engine.  @param limit: seconds."""
    deadline = time.monotonic() + limit
    try:
        login = credentials.login(reference)
    except CredentialsError as error:
        raise PullFailed(str(error), permanent=False) from error  # it may be about to be replaced
    try:
        _follow(client, reference, login, deadline, limit)
    except Exception as error:
        known = translated(error, url)
        if isinstance(known, EngineTimeout):
            known = EngineTimeout(late(limit))
        known.args = (login.explain(str(known)),)
        raise known from None  # what it came from may have the secrets


def _follow(client: APIClient, reference: str, login: Login, deadline: float, limit: float) -> None:
    for progress in client.pull(reference, stream=True, decode=True, auth_config=dict(login.entry)):
        if "error" in progress or "errorDetail" in progress:
            sentence = (progress.get("errorDetail") or {}).get("message") or progress["error"]
            raise pull_failed(reference, sentence)
        if time.monotonic() > deadline:
            raise EngineTimeout(late(limit))


def late(limit: float) -> str:
    """The sentence for an attempt that took too long."""
    return f"The pull took more than {limit:g} seconds."
