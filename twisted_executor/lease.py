"""What a pool knows of each of its containers, how long they live, and what it gives to a borrower."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf

from zope.interface import implementer

from twisted_executor.boundaries import ILease, ISandbox, Tenant

OLD = 0.8  # the share of its runs after which a container's successor is made, to be there before the last run
SPREAD = 0.2  # the share by which lives differ, so that a pool does not renew itself all at once


class Lives:
    """How long the containers of a pool live.

    @ivar image_id: of the image that is the right one; None: any.
    """

    def __init__(self, max_age: float, max_uses: int, random: Callable[[], float]) -> None:
        """@param random: numbers in [0, 1)."""
        self.image_id: str | None = None
        self._known = self._moment = 0
        self._max_age = max_age
        self._max_uses = max_uses
        self._random = random

    def moment(self) -> int:
        """A number above all before it, for the order in which things began."""
        self._moment += 1
        return self._moment

    def told(self, image_id: str) -> None:
        """This image is the right one now."""
        self.image_id, self._known = image_id, self.moment()

    def begin(self, sandbox: ISandbox, image: str, now: float, created: int) -> Slot:
        """One that has just come.  @param created: the moment in which its creation began.

        Where that was after one was told of an image, its own is newer, such as one that was built on the engine since.
        """
        if self.image_id is not None and created > self._known:
            self.image_id, self._known = sandbox.image_id, created
        age = self._max_age * (1 + SPREAD * (2 * self._random() - 1))
        uses = max(1, round(self._max_uses * (1 - SPREAD * self._random())))
        return Slot(sandbox, image, now, age, uses, self)


class Slot:
    """One container of the pool."""

    __slots__ = ("_lives", "born", "image", "life", "most_uses", "rested", "sandbox", "tenant", "uses")

    def __init__(self, sandbox: ISandbox, image: str, born: float, life: float, most_uses: int, lives: Lives) -> None:
        self.sandbox = sandbox
        self.image = image
        self.born = self.rested = born
        self.life = life
        self.most_uses = most_uses
        self.tenant: Tenant | None = None
        self.uses = 0
        self._lives = lives

    @property
    def outdated(self) -> bool:
        """Whether it is of another image than the right one."""
        return self._lives.image_id not in (None, self.sandbox.image_id)

    def wear(self, now: float) -> float:
        """How worn it is: OLD when its time is over, or at that share of its runs; the larger of both.

        Infinitely when it is outdated.
        """
        return inf if self.outdated else max(OLD * (now - self.born) / self.life, self.uses / self.most_uses)

    def is_old(self, now: float) -> bool:
        """Whether a successor is due."""
        return self.wear(now) >= OLD

    @property
    def spent(self) -> str | None:
        """The word for why it cannot serve another run, None when it can."""
        return "used_up" if self.uses >= self.most_uses else None

    @property
    def ends_as(self) -> str:
        """The word for why an old one was retired."""
        return "image" if self.outdated else "old"


def oldest(slots: Iterable[Slot], now: float) -> Slot | None:
    """The one that is worn most, of those whose successor is due."""
    return max((slot for slot in slots if slot.is_old(now)), key=lambda slot: slot.wear(now), default=None)


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
