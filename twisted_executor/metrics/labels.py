"""Labels that clients cannot multiply.  Pure.

Each series is kept for the life of the server and sent with every scrape, and clients choose images, paths and methods.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from twisted.internet.defer import CancelledError

from twisted_executor.boundaries import METHODS
from twisted_executor.errors import EngineError
from twisted_executor.images import canonical

OTHER = "other"  # all that has no label of its own
MOST_OTHERS = 10  # images that nobody configured and that have a label of their own
ROUTES = frozenset({"/", "/execute", "/health", "/health/live", "/health/ready", "/images", "/metrics", "/status"})

_HUMP = re.compile(r"(?<!^)(?=[A-Z])")


class ImageLabels:
    """The configured images as the operator wrote them, a few others by their canonical reference, the rest as one."""

    def __init__(self, configured: Iterable[str]) -> None:
        """@param configured: references as the operator wrote them."""
        self._labels = {canonical(image): image for image in configured}
        self._room = MOST_OTHERS

    def of(self, image: str) -> str:
        """The label of an image that a container has been made of; others would take the room of those that count."""
        reference = canonical(image)
        label = self._labels.get(reference)
        if label is None:
            if not self._room:
                return OTHER
            self._room -= 1
            label = self._labels[reference] = reference
        return label


def route(path: str) -> str:
    """The label of a path."""
    return path if path in ROUTES else OTHER


def method(name: str) -> str:
    """The label of an HTTP method."""
    return name if name in METHODS else OTHER


def engine_error(error: BaseException) -> str:
    """The label of what a call to the engine ended with: the name of its type, as in engine_timeout."""
    if isinstance(error, EngineError):
        return _HUMP.sub("_", type(error).__name__).lower()
    return "cancelled" if isinstance(error, CancelledError) else OTHER
