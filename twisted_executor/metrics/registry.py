"""All figures in one place, in all forms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from twisted_executor.boundaries import IMetrics
from twisted_executor.metrics.collectors import Watched, collected
from twisted_executor.metrics.counters import Counters
from twisted_executor.metrics.labels import ImageLabels
from twisted_executor.metrics.summary import summary


@implementer(IMetrics)
class Metrics:
    """What is counted, and what is looked at.

    @ivar counters: to be told of what happens.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        clock: IReactorTime,
        watched: Watched,
        images: Iterable[str],
        instance: str = "",
    ) -> None:
        """@param registry: for the library's own figures, of the process; more may be put there.

        @param images: the configured ones, as the operator wrote them.
        @param instance: this server's id, in the label "twisted-executor.instance" of all its containers.
        """
        self.counters = Counters(ImageLabels(images), clock)
        self._registry = registry
        self._clock = clock
        self._began = clock.seconds()
        self._watched = watched
        self._instance = instance
        ProcessCollector(registry=registry)

    def as_json(self) -> Mapping[str, object]:
        """The README's names, and more."""
        return {
            **summary(self.counters, self._watched),
            "uptime_seconds": self._clock.seconds() - self._began,
            "instance": self._instance,
        }

    def as_text(self, accept: str) -> tuple[str, bytes]:
        """Prometheus or OpenMetrics text."""
        try:
            encoder, kind = choose_encoder(accept)
        except (TypeError, ValueError):  # a version that is none
            encoder, kind = choose_encoder("text/plain")
        strict = kind.startswith("application/openmetrics-text")
        ours = self.counters.text(strict) + "".join(collected(self._watched, strict))
        # The library's part comes last: OpenMetrics has a mark at the end.
        return kind, ours.encode() + encoder(self._registry)
