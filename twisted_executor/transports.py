"""What Twisted's transports lack."""

from __future__ import annotations

from twisted.internet.interfaces import IWriteDescriptor


def flush(transport: object) -> None:
    """Send now what has been written, as far as the kernel takes it; harmless at any time.

    Twisted sends when it has polled once more, after what else there is to do: 0.05 ms that a request waits for twice.
    What fails here is still to be written, so the reactor meets it as well and deals with it.
    """
    if not IWriteDescriptor.providedBy(transport):
        return
    if getattr(transport, "connected", False) and not getattr(transport, "disconnecting", True):
        transport.doWrite()
