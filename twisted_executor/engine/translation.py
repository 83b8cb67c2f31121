"""What docker-py and requests raise, as errors of ours."""

from __future__ import annotations

import docker.errors
import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError  # in the middle of a stream docker-py lets them through

from twisted_executor.engine import access
from twisted_executor.engine.calls import AGENT_FOLDER
from twisted_executor.errors import (
    AgentMissing,
    Conflict,
    EngineError,
    EngineTimeout,
    EngineUnreachable,
    NotFound,
    PullFailed,
)

LOOK = "look at its load and its log"  # what an operator can do about an engine that answers late or strangely

# What a registry says when asking again cannot help (moby's and distribution's words).
PERMANENT = (
    "not found", "manifest unknown", "denied", "unauthorized", "no basic auth", "does not exist",
    "no matching manifest", "invalid reference", "unsupported",
)  # fmt: skip


def pull_failed(reference: str, sentence: str) -> PullFailed:
    """The error for what a registry said in the course of a pull."""
    return PullFailed(f"{reference} could not be pulled: {sentence}", _is_permanent(sentence))


def translated(error: Exception, url: str) -> EngineError:
    """The type of ours for what docker-py or requests raised."""
    if isinstance(error, EngineError):
        return error
    if isinstance(error, docker.errors.APIError):
        return _translated_answer(error)
    if isinstance(error, (requests.exceptions.Timeout, ReadTimeoutError)):
        return EngineTimeout(f"The engine did not answer in time; {LOOK}.")
    if isinstance(error, (requests.exceptions.RequestException, HTTPError, docker.errors.DockerException, OSError)):
        return EngineUnreachable(_why_unreachable(error, url))
    return EngineError(f"The engine's answer was not understood: {type(error).__name__}: {error}; {LOOK}.")


def _translated_answer(error: docker.errors.APIError) -> EngineError:
    sentence = str(error.explanation or error)
    if f"{AGENT_FOLDER}/agent" in sentence and "no such file or directory" in sentence:
        return AgentMissing(sentence)
    if "/images/create" in str(getattr(error.response, "url", "")):
        return PullFailed(sentence, error.status_code in (400, 401, 403, 404) or _is_permanent(sentence))
    kind = {404: NotFound, 409: Conflict}.get(error.status_code or 0, EngineError)
    return kind(sentence)


def _is_permanent(sentence: str) -> bool:
    return any(word in sentence.lower() for word in PERMANENT)


def _why_unreachable(error: Exception, url: str) -> str:
    text = str(error)
    if "PermissionError" in text or "Permission denied" in text:
        return access.refusal(url.removeprefix("unix://"))
    if "FileNotFoundError" in text or "No such file" in text:
        return access.absence(url.removeprefix("unix://"))
    if "ConnectionRefusedError" in text or "Connection refused" in text:
        return f"There is no Docker engine at {url}: the connection was refused. Start it, or correct DOCKER_HOST."
    if "Failed to resolve" in text:
        return f"The Docker engine at {url} cannot be reached: no address is known for that name. Correct DOCKER_HOST."
    return f"The Docker engine at {url} cannot be reached: {text}. Look at DOCKER_HOST and at the network."
