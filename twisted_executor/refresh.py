"""Now and then: has each pool's image changed where it comes from?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from twisted_executor.boundaries import ExecutorStats, IImageStore, ImageInfo, IRenewable
from twisted_executor.errors import ExecutorError
from twisted_executor.images import is_pinned

_NUMBERS = re.compile("[0-9]+")


class ImageRefresh:
    """Pulls the images of the pools again, one after another, and tells each pool which one is the right one now.

    One that fails changes nothing: the pool goes on with what the engine has.
    """

    log = Logger()

    def __init__(self, images: IImageStore, pools: Mapping[str, IRenewable]) -> None:
        """@param pools: by their images as the operator wrote them; those with a digest cannot change."""
        self._images = images
        self._pools = {image: pool for image, pool in pools.items() if not is_pinned(image)}
        self._ids: dict[str, str] = {}
        self._failures: dict[str, str] = {}

    def look(self) -> Deferred[None]:
        """Do it once for all."""
        return Deferred.fromCoroutine(self._look())

    async def _look(self) -> None:
        for image, pool in self._pools.items():
            try:
                found = await self._images.refresh(image)
            except ExecutorError as error:
                self._failed(image, str(error))
            except CancelledError:
                raise
            except Exception:
                self.log.failure("{image} could not be refreshed", event="refresh_fault", image=image)
                self._failures[image] = "The server's log has the fault."
            else:
                self._succeeded(image, pool, found)

    def noted(self, stats: ExecutorStats) -> ExecutorStats:
        """The same figures, with what has failed here."""
        if not self._failures:
            return stats
        pools = (replace(pool, refresh_failure=self._failures.get(pool.image)) for pool in stats.pools)
        return replace(stats, pools=tuple(pools))

    def _failed(self, image: str, reason: str) -> None:
        before = self._failures.get(image)
        self._failures[image] = reason
        if before is None or _NUMBERS.sub("", before) != _NUMBERS.sub("", reason):  # ports and times differ each time
            self.log.warn(
                "{image} is used as it is, for it cannot be refreshed: {reason}",
                event="refresh_failed",
                image=image,
                reason=reason,
            )

    def _succeeded(self, image: str, pool: IRenewable, found: ImageInfo | None) -> None:
        if self._failures.pop(image, None) is not None:
            self.log.info("{image} can be refreshed again", event="refresh_works", image=image)
        if found is None:
            return  # the pool is about to pull it, or says why it cannot
        before, self._ids[image] = self._ids.get(image), found.id
        if before not in (None, found.id):
            self.log.info(
                "{image} is now {id}; its containers are replaced", event="image_replaced", image=image, id=found.id
            )
        pool.set_image(found.id)
