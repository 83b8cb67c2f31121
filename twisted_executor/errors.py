"""What can go wrong, as types.

Each error carries a sentence for the client.  The web edge alone knows the HTTP status of each type;
`code` is the stable word that clients may match on.
"""

from __future__ import annotations

from copy import copy
from typing import Self


class ExecutorError(Exception):
    """Something other than the script failed; `str()` of it is a sentence for the client."""

    code = "internal_error"

    def again(self) -> Self:
        """The same for another client: one that is raised keeps the frames of each time that it was raised."""
        return copy(self).with_traceback(None)


class InvalidRequest(ExecutorError):
    """The request cannot be understood or asks for what nobody may have."""

    code = "invalid_request"


class RequestTooLarge(ExecutorError):
    """The request's body is above MAX_REQUEST_BYTES."""

    code = "request_too_large"


class Unauthorized(ExecutorError):
    """The request has no API key, or one that is not known."""

    code = "unauthorized"


class Forbidden(ExecutorError):
    """The request comes from where none may come: a web page, or under a host name that is not ours."""

    code = "forbidden"


class NoSuchResource(ExecutorError):
    """There is nothing at this path."""

    code = "not_found"


class MethodNotAllowed(ExecutorError):
    """There is something at this path, but not for this method."""

    code = "method_not_allowed"


class UnsupportedMediaType(ExecutorError):
    """The body is not said to be JSON."""

    code = "unsupported_media_type"


class ImageNotAllowed(ExecutorError):
    """The image exists perhaps, but ALLOWED_IMAGES does not name it."""

    code = "image_not_allowed"


class ImageNotFound(ExecutorError):
    """Neither the engine nor the registry has the image (or the registry hides it from us)."""

    code = "image_not_found"


class Unavailable(ExecutorError):
    """The request is fine, but cannot be served now; repeating it later may succeed."""

    code = "unavailable"

    def __init__(self, sentence: str, retry_after: float = 1.0) -> None:
        """@param retry_after: seconds after which a new attempt is worth it."""
        super().__init__(sentence)
        self.retry_after = retry_after


class Overloaded(Unavailable):
    """Too many requests wait, or this one has waited for QUEUE_TIMEOUT."""

    code = "overloaded"


class TooManyRequests(Unavailable):
    """One tenant has as much of the server as it may."""

    code = "too_many_requests"


class Draining(Unavailable):
    """The server is about to stop."""

    code = "draining"


class EngineUnavailable(Unavailable):
    """The Docker engine cannot be reached, does not answer in time, or refuses what we need."""

    code = "engine_unavailable"


class ImageUnavailable(Unavailable):
    """The image could not be pulled, or containers cannot be made from it."""

    code = "image_unavailable"


class SandboxLost(Unavailable):
    """The container died, or stopped making sense, while the script ran in it."""

    code = "sandbox_lost"


class EngineError(Exception):
    """A call to the engine failed; raised by the control plane, never shown to a client as it is."""


class EngineUnreachable(EngineError):
    """The call did not reach the engine: no socket, refused, no permission."""


class EngineTimeout(EngineError):
    """The engine did not answer in time; what was asked for may still happen."""


class NotFound(EngineError):
    """The container, image or volume is not there."""


class AgentMissing(EngineError):
    """A container did not start because the agent's volume is empty."""


class Conflict(EngineError):
    """The engine refuses because of the state of things: a name in use, a removal in progress."""


class PullFailed(EngineError):
    """The registry did not give the image.

    @ivar permanent: a new attempt cannot help (no such image, no permission, a malformed answer).
    """

    def __init__(self, sentence: str, permanent: bool) -> None:
        super().__init__(sentence)
        self.permanent = permanent


class ProtocolError(Exception):
    """A peer sent bytes that its protocol does not allow; the connection is of no more use."""
