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
        left: list[int] = []  # places of those that have not ended and are not put back
        for place, job in enumerate(jobs):
            unknown = self._unknown(job)
            if unknown is None:
                left.append(place)
            else:
                ended(place, unknown, 0)
        known = tuple(left)
        begun = time.monotonic()

        def begin() -> None:
            if left:
                self._started(jobs[left[0]])

        def take(number: int, outcome: Outcome) -> None:
            nonlocal begun
            now = time.monotonic()
            left.remove(known[number])
            ended(known[number], outcome, now - begun)
            begun = now
            begin()

        def leave(number: int) -> None:
            left.remove(known[number])
            put_back(known[number])

        if known:
            begin()
            await self._runner.run_some([jobs[place] for place in known], take, leave)

    def _unknown(self, job: Job) -> Failure | None:
        """Return why a job's handler is none, if it is none."""
        if self._handlers is None or job.handler in self._handlers:
            return None
        known = ", ".join(sorted(self._handlers))
        return final("UnknownHandler", f"no handler '{job.handler}'; there are: {known}")

    def _started(self, job: Job) -> None:
        metrics.STARTED.labels(self._labels.label(job.handler)).inc()
