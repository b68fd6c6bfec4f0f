"""Deletes finished Tasks by the history of their TaskQueue, or by a TTL of their own.

Fed by the lists that counting makes anyway. It works beside them, a round per namespace: what a
list shows as due. A list that comes meanwhile is passed over, and another asked for at the end.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from taskqueue_api.history import HistorySpec
from taskqueue_api.names import API_VERSION
from taskqueue_operator import metrics
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.counting import Tally
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.domain.history import (
    FinishedTask,
    Obstacle,
    Reason,
    decide_expired,
    find_obstacle,
)
from taskqueue_operator.domain.set_aside import SetAside
from taskqueue_operator.errors import (
    ClusterError,
    ClusterUnavailableError,
    ConflictError,
    NotFoundError,
)

PARALLEL = 16
"""Deletions at once. Each is a GET and a DELETE, so 200 Tasks/s leave 80 ms for both."""

BATCH = 256
"""So many Tasks of one namespace, then it is the next one's turn."""

ROUND_MOST = 10_000
REFUSALS_MOST = 100
"""After so many refusals the rest of a round is given up: the others will fare no better."""

TROUBLE_PAUSE = timedelta(minutes=1)
"""Until the next list of a namespace, when the API server was away or refused too much."""

logger = logging.getLogger(__name__)


class Candidate(NamedTuple):
    """A Task that is to be deleted.

    history: by which it was decided; None: there is no TaskQueue.
    """

    queue: QueueKey
    history: HistorySpec | None
    task: FinishedTask
    reason: Reason


@dataclass
class Round:
    """What one list of a namespace shows as due.

    version: `resourceVersion` of the list.
    deleted: how many have been deleted.
    again: another list is wanted at the end.
    refusals: how many the API server refused; the first one's words are in `refusal`.
    trouble: why the rest is left; empty: it is not.
    """

    version: str
    todo: deque[Candidate]
    deleted: int = 0
    again: bool = False
    refusals: int = 0
    refusal: str = ""
    trouble: str = ""


class Cleanup:
    """Deletes finished Tasks.

    history_of: what a TaskQueue says of its finished Tasks; None: there is no such TaskQueue, or
        it is being deleted.
    look_again: called with a namespace that is to be listed, and when.
    now: the API server's time.
    """

    def __init__(
        self,
        cluster: ClusterClient,
        history_of: Callable[[QueueKey], HistorySpec | None],
        look_again: Callable[[str, datetime], None],
        now: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._history_of = history_of
        self._look_again = look_again
        self._now = now
        self._aside = SetAside()
        self._rounds: dict[str, Round] = {}
        self._wake = asyncio.Event()

    def listed(self, namespace: str, tally: Tally) -> None:
        """Take a complete list of a namespace's Tasks, and ask for the next one if it needs one."""
        if namespace in self._rounds:
            self._rounds[namespace].again = True
            return
        now = self._now()
        self._aside.keep_only(namespace, (one for some in tally.finished.values() for one in some))
        candidates: list[Candidate] = []
        looks: list[datetime | None] = []
        for name, tasks in tally.finished.items():
            queue = QueueKey(namespace, name)
            history = self._history_of(queue)
            git_ops = history is not None and history.git_ops
            expired, due = decide_expired(tasks, history, now)
            looks.append(due)
            candidates += [
                Candidate(queue, history, *one)
                for one in expired
                if not self._aside.holds(namespace, one.task, now, git_ops=git_ops)
            ]
        looks.append(self._aside.next_end(namespace, now))
        self._plan(namespace, looks)
        if candidates:
            candidates.sort(key=lambda one: (one.task.finished, one.task.name))
            self._rounds[namespace] = Round(
                version=tally.version,
                todo=deque(candidates[:ROUND_MOST]),
                again=len(candidates) > ROUND_MOST,
            )
            self._wake.set()

    async def run(self) -> None:
        """Delete, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._rounds:
                for namespace, current in list(self._rounds.items()):
                    await self._advance(namespace, current)

    async def _advance(self, namespace: str, current: Round) -> None:
        """Delete a batch of a namespace's Tasks."""
        batch = [current.todo.popleft() for _ in range(min(BATCH, len(current.todo)))]
        remaining = iter(batch)

        async def work() -> None:
            for candidate in remaining:
                if current.trouble:
                    return
                await self._delete(current, candidate)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(PARALLEL, len(batch))):
                    group.create_task(work())
        except Exception:
            current.trouble = "an error of the operator's own"
            logger.exception("cleanup failed", extra={"namespace": namespace})
        if current.trouble or not current.todo:
            del self._rounds[namespace]
            self._finish(namespace, current)

    async def _delete(self, current: Round, one: Candidate) -> None:
        """Delete a Task, if it is still the one that the list showed."""
        if self._history_of(one.queue) != one.history:
            current.again = True  # the next list is judged by what holds now
            return
        try:
            obstacle = await self._try_to_delete(current, one)
        except NotFoundError:
            current.again = True
            return
        except ConflictError:
            obstacle = Obstacle.CHANGED
        except ClusterUnavailableError as error:
            current.trouble = str(error)
            return
        except ClusterError as error:
            obstacle = Obstacle.REFUSED
            self._note_refusal(current, one, error)
        if obstacle:
            self._aside.add(one.queue.namespace, one.task, obstacle, self._now())
            return
        current.deleted += 1
        # It may have gone meanwhile, and its metrics with it.
        queue = one.queue.name if self._history_of(one.queue) is not None else ""
        metrics.TASKS_DELETED.labels(one.queue.namespace, queue, one.reason).inc()

    async def _try_to_delete(self, current: Round, one: Candidate) -> Obstacle | None:
        """Read a Task's metadata and delete it, unless something is in the way."""
        place = (API_VERSION, "Task", one.queue.namespace, one.task.name)
        metadata = await self._cluster.get_metadata(*place)
        git_ops = one.history is not None and one.history.git_ops
        obstacle = find_obstacle(metadata, current.version, git_ops=git_ops)
        if obstacle is None:
            # The version too: a GitOps tool may put its label on it this very moment.
            preconditions = {key: metadata[key] for key in ("uid", "resourceVersion")}
            await self._cluster.delete(*place, preconditions=preconditions)
        return obstacle

    def _note_refusal(self, current: Round, one: Candidate, error: ClusterError) -> None:
        current.refusals += 1
        current.refusal = current.refusal or f"'{one.task.name}': {error}"
        if current.refusals >= REFUSALS_MOST:
            current.trouble = f"{current.refusals} were refused"

    def _finish(self, namespace: str, current: Round) -> None:
        """Say what came of a round, and plan the next list."""
        fields = {"namespace": namespace}
        if current.deleted:
            logger.info("%d finished Tasks deleted", current.deleted, extra=fields)
        if current.refusals:
            words = "%d finished Tasks not deleted; the first, %s"
            logger.warning(words, current.refusals, current.refusal, extra=fields)
        if current.trouble:
            logger.warning("finished Tasks left for later: %s", current.trouble, extra=fields)
        now = self._now()
        if current.trouble:
            self._look_again(namespace, now + TROUBLE_PAUSE)
        elif current.again or current.deleted:
            # There are fewer now, and others may be due.
            self._look_again(namespace, now)
        else:
            self._plan(namespace, [self._aside.next_end(namespace, now)])

    def _plan(self, namespace: str, looks: list[datetime | None]) -> None:
        moments = [moment for moment in looks if moment is not None]
        if moments:
            self._look_again(namespace, min(moments))
