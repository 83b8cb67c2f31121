"""Messages that wait to be sent: bounded, and what is lost is counted and told."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from threading import RLock


class Backlog:
    """First in, first out.  When it is full the new ones are lost: the first of a trouble says most.

    Any thread may put; and a signal's handler, which interrupts whoever holds the lock, so it is one that lets him in.

    @ivar lost: messages that were lost, ever.
    """

    def __init__(self, most: int, most_bytes: int, notice: Callable[[int], bytes]) -> None:
        """@param most: messages.  @param notice: from a number of lost ones to a message that tells of them."""
        self.lost = 0
        self._most = most
        self._most_bytes = most_bytes
        self._notice = notice
        self._messages: deque[bytes] = deque()
        self._size = 0
        self._untold = 0
        self._lock = RLock()

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def size(self) -> int:
        """Bytes of all messages that wait."""
        return self._size

    def put(self, message: bytes) -> bool:
        """Let it wait.  After a loss nothing more is taken until that can be told, so that the order is true."""
        with self._lock:
            if self._untold or len(self._messages) >= self._most or self._size + len(message) > self._most_bytes:
                self.missed()
                return False
            self._append(message)
            return True

    def missed(self) -> None:
        """One is lost, here or on its way."""
        with self._lock:
            self.lost += 1
            self._untold += 1

    def first(self, most: int) -> list[bytes]:
        """So many of the oldest, at most; they stay."""
        with self._lock:
            return list(islice(self._messages, most))

    def sent(self, count: int) -> None:
        """So many of the oldest have gone.  There is room now to tell what was lost."""
        with self._lock:
            for _ in range(count):
                self._size -= len(self._messages.popleft())
            if count and self._untold:
                lost, self._untold = self._untold, 0
                self._append(self._notice(lost))

    def _append(self, message: bytes) -> None:
        self._messages.append(message)
        self._size += len(message)
