"""From a job to its outcome: a handler that there is, counted and run."""

import time
from collections.abc import Callable, Sequence

from taskqueue_worker import metrics
from taskqueue_worker.outcomes import Failure, Outcome, final
from taskqueue_worker.runners import Job, Runner


class Executor:
    """Runs the jobs of a worker.

    handlers: names registered; None: any.
    """

    def __init__(
        self, runner: Runner, handlers: frozenset[str] | None, labels: metrics.HandlerLabels
    ) -> None:
        self._runner = runner
        self._handlers = handlers
        self._labels = labels

    @property
    def ahead(self) -> int:
        """How many jobs beside the first `execute_some` can use."""
        return self._runner.ahead

    async def execute(self, job: Job, bad: Failure | None) -> Outcome:
        """Run a job, unless it is bad."""
        unfit = bad or self._unknown(job)
        if unfit is not None:
            return unfit
        self._started(job)
        return await self._runner.run(job)

    async def execute_some(
        self,
        jobs: Sequence[Job],
        ended: Callable[[int, Outcome, float], None],
        put_back: Callable[[int], None],
    ) -> None:
        """Run jobs in one slot: the first, and others while they are quick.

        ended: called with the place, the outcome and the seconds of each. put_back: called with
        the place of each that is not to be begun, as soon as that is known.
        """
        # In this order, those that have not ended and are not put back.
        left: dict[int, int] = {}
        for place, job in enumerate(jobs):
            unknown = self._unknown(job)
            if unknown is None:
                left[len(left)] = place
            else:
                ended(place, unknown, 0)
        begun = time.monotonic()

        def begin() -> None:
            for place in left.values():
                self._started(jobs[place])
                return

        def take(sent: int, outcome: Outcome) -> None:
            nonlocal begun
            now = time.monotonic()
            ended(left.pop(sent), outcome, now - begun)
            begun = now
            begin()

        if left:
            begin()
            known = [jobs[place] for place in left.values()]
            await self._runner.run_some(known, take, lambda sent: put_back(left.pop(sent)))

    def _unknown(self, job: Job) -> Failure | None:
        """Return why a job's handler is none, if it is none."""
        if self._handlers is None or job.handler in self._handlers:
            return None
        known = ", ".join(sorted(self._handlers))
        return final("UnknownHandler", f"no handler '{job.handler}'; there are: {known}")

    def _started(self, job: Job) -> None:
        metrics.STARTED.labels(self._labels.label(job.handler)).inc()
