"""What a pool knows of each of its containers, and what it gives to a borrower."""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from twisted_executor.boundaries import ILease, ISandbox, Tenant

OLD = 0.8  # the share of its runs after which a container's successor is made, to be there before the last run


class Slot:
    """One container of the pool."""

    __slots__ = ("born", "image", "life", "most_uses", "rested", "sandbox", "tenant", "uses")

    def __init__(self, sandbox: ISandbox, image: str, born: float, life: float, most_uses: int) -> None:
        self.sandbox = sandbox
        self.image = image
        self.born = self.rested = born
        self.life = life
        self.most_uses = most_uses
        self.tenant: Tenant | None = None
        self.uses = 0

    def wear(self, now: float) -> float:
        """How worn it is: OLD when its time is over, or at that share of its runs; the larger of both."""
        return max(OLD * (now - self.born) / self.life, self.uses / self.most_uses)

    def is_old(self, now: float) -> bool:
        """Whether a successor is due."""
        return self.wear(now) >= OLD


@implementer(ILease)
class Lease:
    """A borrowed slot."""

    def __init__(self, slot: Slot, warm: bool, returned: Callable[[Slot], None]) -> None:
        self.sandbox = slot.sandbox
        self.warm = warm
        self._slot: Slot | None = slot
        self._returned = returned

    def release(self) -> None:
        """Give it back; a second time is a RuntimeError."""
        slot, self._slot = self._slot, None
        if slot is None:
            raise RuntimeError("this lease has been released before")
        self._returned(slot)
