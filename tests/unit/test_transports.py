"""What is written goes at once."""

from __future__ import annotations

import pytest
from twisted.internet.abstract import FileDescriptor
from twisted.internet.testing import MemoryReactorClock, StringTransport

from twisted_executor.transports import flush


class Descriptor(FileDescriptor):
    """A real one of Twisted's, with a kernel that takes so many bytes."""

    def __init__(self, takes: int | Exception = 100) -> None:
        super().__init__(MemoryReactorClock())
        self.connected = 1
        self.takes = takes
        self.sent = b""

    def writeSomeData(self, data: bytes) -> int | Exception:
        if isinstance(self.takes, Exception):
            return self.takes
        self.sent += data[: self.takes]
        return min(self.takes, len(data))


@pytest.mark.parametrize(("takes", "sent", "waits"), [(100, b"hello", False), (2, b"he", True), (0, b"", True)])
def test_sent_at_once(takes: int, sent: bytes, waits: bool) -> None:
    """As much goes as the kernel takes; what is left waits for the reactor, as ever."""
    transport = Descriptor(takes)
    transport.write(b"hello")
    assert transport.sent == b""
    flush(transport)
    assert transport.sent == sent
    assert (transport in transport.reactor.getWriters()) is waits


def test_failure_is_left_to_the_reactor() -> None:
    """A connection that fails is still among the writers, where the reactor meets the failure itself."""
    transport = Descriptor(ConnectionResetError())
    transport.write(b"hello")
    flush(transport)
    assert transport in transport.reactor.getWriters()


def test_nothing_to_send() -> None:
    """Without anything written, nothing happens."""
    transport = Descriptor()
    flush(transport)
    assert transport.sent == b""


@pytest.mark.parametrize(("attribute", "value"), [("connected", 0), ("disconnecting", True)])
def test_one_that_ends(attribute: str, value: int) -> None:
    """A connection that is closed or closing is the reactor's alone."""
    transport = Descriptor()
    transport.write(b"hello")
    setattr(transport, attribute, value)
    flush(transport)
    assert transport.sent == b""


@pytest.mark.parametrize("other", [None, StringTransport()])
def test_others(other: object) -> None:
    """Transports that are no descriptors are left alone."""
    flush(other)
