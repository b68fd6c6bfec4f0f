"""What is to be done with Tasks at the API server, a few at a time, until it is done."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from taskqueue_operator.domain.dispatching import WaitingTask
from taskqueue_operator.errors import (
    ClusterError,
    ClusterUnavailableError,
    ConflictError,
    NamespaceTerminatingError,
    NotFoundError,
)

PARALLEL = 8
BACKOFF_FIRST = 0.5
BACKOFF_MAX = 30.0

logger = logging.getLogger(__name__)


def _to_nobody(task: WaitingTask | None) -> None:
    """Go on with nothing."""


@dataclass(frozen=True)
class Errand:
    """Something to be done with a Task at the API server, after which it goes on.

    action: returns the Task as it is then; None: it no longer waits.
    wait: seconds between the action and `then`.
    delay: seconds until it is tried again after a refusal.
    """

    task: WaitingTask
    action: Callable[[WaitingTask], Awaitable[WaitingTask | None]]
    wait: float = 0.0
    then: Callable[[WaitingTask | None], None] = _to_nobody
    delay: float = BACKOFF_FIRST


class Errands:
    """Runs errands in the order in which they come; the time between two tries is nobody's turn."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._waiting: deque[Errand] = deque()
        self._running = 0
        self._runners: set[asyncio.Task[None]] = set()

    def add(self, errand: Errand) -> None:
        """Run an errand, soon."""
        # A few runners, not a task per errand: a lost queue may bring a hundred thousand.
        self._waiting.append(errand)
        if self._running < PARALLEL:
            self._running += 1
            runner = asyncio.create_task(self._run_all())
            self._runners.add(runner)
            runner.add_done_callback(self._runners.discard)

    def stop(self) -> None:
        """Abandon what is under way."""
        for runner in self._runners:
            runner.cancel()

    async def _run_all(self) -> None:
        try:
            while self._waiting:
                await self._run(self._waiting.popleft())
        finally:
            # Here, not once the runner is seen to be done: an errand may come in between.
            self._running -= 1

    async def _run(self, errand: Errand) -> None:
        loop = asyncio.get_running_loop()
        try:
            task = await self._insist(errand)
        except (NotFoundError, NamespaceTerminatingError):
            task = None
        except ClusterError as error:
            # A gap in the permissions, say, or a Task that the rules of today would not take.
            logger.log(_level(error), "%s", error, extra=fields_of(errand.task))
            self._try_later(errand)
            return
        except Exception:
            logger.exception("an error of the operator's own", extra=fields_of(errand.task))
            self._try_later(errand)
            return
        if task is None or not errand.wait:
            self._go_on(errand, task)
        else:
            loop.call_later(errand.wait, self._go_on, errand, task)

    def _go_on(self, errand: Errand, task: WaitingTask | None) -> None:
        try:
            errand.then(task)
        except Exception:
            logger.exception("an error of the operator's own", extra=fields_of(errand.task))
            self._try_later(errand)

    def _try_later(self, errand: Errand) -> None:
        """Do it again after a pause; nobody waits behind it."""
        later = replace(errand, delay=min(errand.delay * 2, BACKOFF_MAX))
        pause = errand.delay * self._rng.uniform(0.5, 1.0)
        asyncio.get_running_loop().call_later(pause, self.add, later)

    async def _insist(self, errand: Errand) -> WaitingTask | None:
        """Do it once the API server is there. Raises ClusterError when it refuses."""
        delay = BACKOFF_FIRST
        while True:
            try:
                return await errand.action(errand.task)
            except ClusterUnavailableError as error:
                logger.warning("%s", error, extra=fields_of(errand.task))
            await asyncio.sleep(delay * self._rng.uniform(0.5, 1.0))
            delay = min(delay * 2, BACKOFF_MAX)


def _level(error: ClusterError) -> int:
    """Return how bad it is: the API server may just have had many writers."""
    return logging.WARNING if isinstance(error, ConflictError) else logging.ERROR


def fields_of(task: WaitingTask) -> dict[str, str]:
    """Return the log fields of a Task."""
    return {
        "namespace": task.queue.namespace,
        "task": task.name,
        "uid": task.uid,
        "queue": task.queue.name,
    }
