"""What LOG_LEVEL=debug shows of each request."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from zope.interface import implementer

from twisted_executor.boundaries import Execution, ExecutorStats, IExecutor, Job
from twisted_executor.errors import ExecutorError


@implementer(IExecutor)
class TracedExecutor:
    """An executor that writes a line for each job, at level debug: how it ended, and nothing of what is in it."""

    log = Logger()

    def __init__(self, executor: IExecutor) -> None:
        self._executor = executor

    def check_room(self) -> None:
        """As the executor does, telling a refusal."""
        try:
            self._executor.check_room()
        except ExecutorError as error:
            self.log.debug("refused, {code}: {reason}", code=error.code, reason=str(error))
            raise

    def execute(self, job: Job) -> Deferred[Execution]:
        """As the executor does, telling what comes of it."""
        return self._executor.execute(job).addCallbacks(self._ran, self._failed, errbackArgs=(job,))

    def stats(self) -> ExecutorStats:
        """The executor's."""
        found: ExecutorStats = self._executor.stats()
        return found

    def _ran(self, execution: Execution) -> Execution:
        self.log.debug(
            "{request_id} ended, {status}: {run_time} s in {image}, {warmth}, after {queue_time} s in the line",
            request_id=execution.request_id,
            status=execution.outcome.status.value,
            run_time=round(execution.outcome.execution_time, 6),
            image=execution.image,
            warmth="warm" if execution.warm else "made for it",
            queue_time=round(execution.queue_time, 6),
        )
        return execution

    def _failed(self, failure: Any, job: Job) -> Any:
        code = "cancelled" if failure.check(CancelledError) else getattr(failure.value, "code", "internal_error")
        self.log.debug(
            "{request_id} was not served, {code}: {reason}",
            request_id=job.request_id,
            code=code,
            reason=failure.getErrorMessage(),
        )
        return failure
