"""Interfaces: what the parts of the server do for each other."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from twisted_executor.boundaries.values import (
    ContainerSpec,
    ContainerSummary,
    Created,
    EngineInfo,
    Execution,
    ExecutorStats,
    Fate,
    HealthReport,
    ImageInfo,
    Job,
    Outcome,
    PoolStats,
    Tenant,
)


class IEngine(Interface):
    """The control plane: what is rare and slow.

    Every Deferred errbacks with an L{EngineError} and nothing else, within the call's time limit.
    Cancelling one abandons it: the call itself goes on.
    """

    def info() -> Deferred[EngineInfo]:
        """Ask the engine who it is."""

    def now() -> Deferred[float]:
        """The engine's own clock, in seconds since 1970."""

    def create(spec: ContainerSpec) -> Deferred[Created]:
        """Create a container; L{Conflict} when the name is taken, L{NotFound} without the image."""

    def start(container: str) -> Deferred[None]:
        """Start it; one that runs already is fine."""

    def remove(container: str) -> Deferred[None]:
        """Kill and remove a container by id or name; one that is gone already is fine."""

    def containers(labels: Mapping[str, str]) -> Deferred[tuple[ContainerSummary, ...]]:
        """All containers, in any state, that carry every one of these labels (an empty value: any)."""

    def fate(container: str) -> Deferred[Fate]:
        """What happened to a container that fell silent; one that is gone still has its events."""

    def image(reference: str) -> Deferred[ImageInfo]:
        """Look at an image that the engine has, or L{NotFound}."""

    def pull(reference: str) -> Deferred[None]:
        """One attempt; L{PullFailed} says whether another can help."""

    def fill_volume(volume: str, image: str, name: str, labels: Mapping[str, str], agent: bytes) -> Deferred[None]:
        """Put the agent into the volume through a helper container of that name, which is never started.

        A volume that holds the agent already is left alone.
        """


class IImageStore(Interface):
    """The images that the engine has or can get."""

    def resolve(reference: str) -> Deferred[ImageInfo]:
        """Find it on the engine, else pull it, once for all that wait.

        Errbacks with L{ImageNotFound} or an L{Unavailable}.  Cancelling does not stop the pull.
        """

    def refresh(reference: str) -> Deferred[ImageInfo | None]:
        """Pull what is on the engine again, where it came from a registry; fires with what is there then.

        None: the engine has no such image.  Errbacks as `resolve` does; what the engine has is then unchanged.
        """


class ISandbox(Interface):
    """One warm container.  It runs one job at a time."""

    name = Attribute("The container's name on the engine.")
    image_id = Attribute("The id of the image that it was made of.")
    lost = Attribute("A Deferred[str] that fires once, with a reason, when the container cannot be used again.")

    def run(job: Job) -> Deferred[Outcome]:
        """Run it; L{SandboxLost} when the container dies of anything but the script's memory.

        Cancelling ends the run; the container then settles as after any other.
        """

    def settled() -> Deferred[str | None]:
        """Fires after a run, once nothing of it is left, with one word on why the container cannot serve another.

        None when it can.
        """

    def destroy() -> Deferred[None]:
        """Kill and remove it.  Any number of times; fires when it is gone or given up (then it is logged)."""


class ISandboxSource(Interface):
    """Makes sandboxes."""

    def create(image: str) -> Deferred[ISandbox]:
        """Make and greet one from this reference, pulling the image where the engine lacks it.

        Errbacks with L{ImageNotFound} or an L{Unavailable}.  Cancelling it leaves no container.
        """


class IPool(Interface):
    """Warm sandboxes of one image, or temporary ones of many."""

    def take(image: str, tenant: Tenant) -> Deferred[ILease]:
        """Borrow a sandbox; L{Overloaded} when the queue is full or the wait too long.

        Cancelling gives up the place in the queue.
        """

    def check_room() -> None:
        """Raise what `take` would raise at once because of load, else nothing."""

    def holds(image: str) -> bool:
        """Whether a container of that image is there, busy or idle."""

    def stats() -> PoolStats:
        """Count the containers."""


class IRenewable(Interface):
    """A pool whose image may be followed by a newer one."""

    def set_image(image_id: str) -> None:
        """Say which image is the right one now: containers of others are replaced one by one, no run is ended."""


class ISpares(Interface):
    """A pool that lends containers which nobody misses."""

    def spare(last: bool) -> ILease | None:
        """Borrow an idle container for a check of the server's own: its script has no secrets and leaves nothing.

        None where somebody waits, or no other is idle; with `last` the only idle one too, unless that would use it up.
        It is no execution, and the container stays its tenant's.
        """


class ILease(Interface):
    """A sandbox that one request has borrowed."""

    sandbox = Attribute("The ISandbox.")
    warm = Attribute("bool: it was there before the request came.")

    def release() -> None:
        """Give it back, once.  The pool waits until it has settled, then keeps or retires it."""


class IExecutor(Interface):
    """The use case: run a job in a sandbox."""

    def check_room() -> None:
        """Raise L{Draining} or L{Overloaded} if any request would be refused at once, else nothing."""

    def execute(job: Job) -> Deferred[Execution]:
        """Run the job; errbacks with an L{ExecutorError}.  Cancelling ends the run."""

    def stats() -> ExecutorStats:
        """Look at all pools."""


class IHealth(Interface):
    """Says whether scripts can run."""

    def report() -> HealthReport:
        """Look at what is known; asks nobody and never blocks."""


class IMetrics(Interface):
    """All figures, in two forms."""

    def as_json() -> Mapping[str, object]:
        """The figures under the names that the README shows."""

    def as_text(accept: str) -> tuple[str, bytes]:
        """The content type and the text, Prometheus or OpenMetrics by the Accept header."""


class IStatus(Interface):
    """What the status page shows."""

    def as_json() -> Mapping[str, object]:
        """Health, pools, rates and the newest runs; values that JSON has, or frozen ones of these."""
