"""The operator's writes to Tasks: rare, in the background, never too many at once.

Held Tasks are told why, second publications announced, and what can never run is failed.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from taskqueue_api.messages import TaskUid
from taskqueue_api.names import API_VERSION
from taskqueue_operator import metrics
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.dispatching import (
    QUEUE_NOT_FOUND,
    REPUBLISH_DELAY,
    QueueKey,
    Refusal,
    WaitingTask,
    read_task,
)
from taskqueue_operator.domain.task_status import (
    JsonPatch,
    patch_announcement,
    patch_cancelled,
    patch_dispatched,
    patch_refused,
)
from taskqueue_operator.errors import (
    ClusterError,
    ConflictError,
    NamespaceTerminatingError,
    NotFoundError,
)
from taskqueue_operator.services.errands import PARALLEL, Errand, Errands, fields_of

HELD_SECONDS = 3.0
"""A Task that waits no longer than this is not told so: that saves a write per Task at start."""

logger = logging.getLogger(__name__)


@dataclass
class Notice:
    """What a held Task is to be told.

    due: loop time before which nothing is written.
    shown: the reason that its status shows; None: nothing was written yet.
    """

    task: WaitingTask
    reason: str
    message: str
    due: float
    ok: bool = False
    shown: str | None = None


class TaskWriter:
    """Writes to the status of Tasks; every write tests UID and phase first."""

    def __init__(self, cluster: ClusterClient, rng: random.Random) -> None:
        self._cluster = cluster
        self._slots = asyncio.Semaphore(PARALLEL)
        self._notices: dict[TaskUid, Notice] = {}
        self._errands = Errands(rng)
        self._ends = Errands(rng)

    def held(self, task: WaitingTask, reason: str, message: str) -> None:
        """Tell a Task, soon, why it is not published; not before it is due."""
        notice = self._notices.get(task.uid)
        soon = asyncio.get_running_loop().time() + HELD_SECONDS
        if notice is not None and reason == QUEUE_NOT_FOUND:
            notice.due = min(notice.due, soon)
        if notice is None:
            # That there is no such TaskQueue is no matter of time.
            waits = task.due is not None and reason != QUEUE_NOT_FOUND
            early = (task.due - datetime.now(UTC)).total_seconds() if task.due and waits else 0.0
            due = max(soon, soon - HELD_SECONDS + early)
            bare = replace(task, payload=None)
            self._notices[task.uid] = Notice(bare, reason, message, due)
        else:
            notice.reason, notice.message, notice.ok = reason, message, False

    def released(self, key: QueueKey) -> None:
        """Drop what was not yet told to a queue's Tasks: they are about to be published."""
        for uid, notice in list(self._notices.items()):
            if notice.task.queue == key and notice.shown is None:
                del self._notices[uid]

    def published(self, task: WaitingTask) -> None:
        """Take back what a Task was told."""
        notice = self._notices.get(task.uid)
        if notice is None:
            return
        if notice.shown is None:
            del self._notices[task.uid]
            return
        notice.reason, notice.message, notice.ok = "Published", "it is in the queue", True

    def forget(self, uid: TaskUid) -> None:
        """Forget a Task that is gone or waits no longer."""
        self._notices.pop(uid, None)

    def announce(self, task: WaitingTask, then: Callable[[WaitingTask | None], None]) -> None:
        """Announce a second publication; call `then` with the Task 10 s after it is written.

        `then` gets None, at once, when the Task no longer waits.
        """
        wait = REPUBLISH_DELAY.total_seconds()
        self._errands.add(Errand(task, self._raise_dispatches, wait, then))

    def read(self, task: WaitingTask, then: Callable[[WaitingTask | None], None]) -> None:
        """Read a Task again; call `then` with it, or with None when it no longer waits."""
        self._errands.add(Errand(task, self._read, 0.0, then))

    def refuse(self, task: WaitingTask, refusal: Refusal) -> None:
        """Fail a Task that can never be run."""
        self._notices.pop(task.uid, None)
        bare = replace(task, payload=None)
        self._ends.add(Errand(bare, lambda one: self._refuse(one, refusal)))

    def cancel(self, task: WaitingTask) -> None:
        """End a Task that waits and is to be cancelled; one that was started is left alone."""
        self._notices.pop(task.uid, None)
        self._ends.add(Errand(replace(task, payload=None), self._cancel))

    async def run(self) -> None:
        """Write due notices, for ever."""
        while True:
            await asyncio.sleep(0.25)
            now = asyncio.get_running_loop().time()
            due = [
                notice
                for notice in self._notices.values()
                if notice.due <= now and notice.shown != notice.reason
            ]
            await asyncio.gather(*(self._show(notice) for notice in due[: PARALLEL * 4]))

    async def stop(self) -> None:
        """Abandon what is under way."""
        self._errands.stop()
        self._ends.stop()

    async def _show(self, notice: Notice) -> None:
        before, reason, ok = notice.shown, notice.reason, notice.ok
        # Before the write, so that whoever ends the notice meanwhile knows of it.
        notice.shown = reason
        patch = patch_dispatched(
            notice.task, ok=ok, reason=reason, message=notice.message, now=datetime.now(UTC)
        )
        try:
            await self._write(notice.task, patch)
        except (ConflictError, NotFoundError):
            self._notices.pop(notice.task.uid, None)
            return
        except ClusterError as error:
            logger.warning("%s", error, extra=fields_of(notice.task))
            notice.shown = before
            notice.due = asyncio.get_running_loop().time() + HELD_SECONDS
            return
        if ok and notice.ok:
            self._notices.pop(notice.task.uid, None)

    async def _read(self, task: WaitingTask) -> WaitingTask | None:
        """Return the Task as it is now; None: it no longer waits. Raises NotFoundError."""
        body = await self._cluster.get(API_VERSION, "Task", task.queue.namespace, task.name)
        current = read_task(body, listed=False)
        return current if (current.uid, current.stage) == (task.uid, task.stage) else None

    async def _raise_dispatches(self, task: WaitingTask) -> WaitingTask | None:
        """Return the Task as of its next publication; None: it no longer waits.

        Raises NotFoundError.
        """
        try:
            body = await self._write(task, patch_announcement(task))
        except ConflictError:
            current = await self._read(task)
            if current is None:
                return None
            # Someone else raised it; the next number is ours.
            body = await self._write(task, patch_announcement(current))
        return read_task(body, listed=False)

    async def _refuse(self, task: WaitingTask, refusal: Refusal) -> None:
        """Fail a Task, unless it waits no longer."""
        body = await self._end(task, patch_refused(task, refusal, datetime.now(UTC)))
        if body is None:
            return
        logger.warning("refused: %s", refusal.message, extra=fields_of(task))
        try:
            await self._cluster.post_event(
                body, warning=True, reason=refusal.type, message=refusal.message
            )
        except ClusterError as error:
            logger.warning("Event not posted: %s", error, extra=fields_of(task))

    async def _cancel(self, task: WaitingTask) -> None:
        """Write that a Task was cancelled, unless it waits no longer."""
        if await self._end(task, patch_cancelled(task, datetime.now(UTC))) is not None:
            logger.info("cancelled before it was started", extra=fields_of(task))

    async def _end(self, task: WaitingTask, patch: JsonPatch) -> dict[str, Any] | None:
        """Write the end of a Task that waits; None: it waits no longer."""
        try:
            return await self._write(task, patch)
        except ConflictError:
            # A test of the patch failed, or the API server gave up among many writers.
            try:
                if await self._read(task) is None:
                    return None
            except (NotFoundError, NamespaceTerminatingError):
                return None
            raise
        except (NotFoundError, NamespaceTerminatingError):
            return None

    async def _write(self, task: WaitingTask, patch: JsonPatch) -> dict[str, Any]:
        async with self._slots:
            try:
                body = await self._cluster.patch_task_status(
                    API_VERSION, task.queue.namespace, task.name, patch
                )
            except ClusterError as error:
                metrics.STATUS_WRITES.labels("Task", type(error).__name__).inc()
                raise
        metrics.STATUS_WRITES.labels("Task", "ok").inc()
        return body
