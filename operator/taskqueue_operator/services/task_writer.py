"""The operator's writes to Tasks: rare, in the background, never too many at once.

Held Tasks are told why, second publications announced, and what can never run is failed.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from taskqueue_api.messages import TaskUid
from taskqueue_api.names import API_VERSION
from taskqueue_operator import metrics
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.dispatching import (
    REPUBLISH_DELAY,
    QueueKey,
    Refusal,
    WaitingTask,
    read_task,
)
from taskqueue_operator.domain.task_status import (
    JsonPatch,
    patch_announcement,
    patch_dispatched,
    patch_refused,
)
from taskqueue_operator.errors import (
    ClusterError,
    ClusterUnavailableError,
    ConflictError,
    NotFoundError,
)

PARALLEL = 8
HELD_SECONDS = 3.0
"""A Task that waits no longer than this is not told so: that saves a write per Task at start."""

BACKOFF_FIRST = 0.5
BACKOFF_MAX = 30.0

T = TypeVar("T")

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
        self._rng = rng
        self._slots = asyncio.Semaphore(PARALLEL)
        self._notices: dict[TaskUid, Notice] = {}
        self._background: set[asyncio.Task[None]] = set()

    def held(self, task: WaitingTask, reason: str, message: str) -> None:
        """Tell a Task, soon, why it is not published."""
        notice = self._notices.get(task.uid)
        if notice is None:
            due = asyncio.get_running_loop().time() + HELD_SECONDS
            self._notices[task.uid] = Notice(task, reason, message, due)
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
        """Forget a Task that is gone or no longer Pending."""
        self._notices.pop(uid, None)

    def announce(self, task: WaitingTask, then: Callable[[WaitingTask], None]) -> None:
        """Announce a second publication; call `then` with the Task 10 s after it is written."""
        self._spawn(self._announce(task, then))

    def refuse(self, task: WaitingTask, refusal: Refusal) -> None:
        """Fail a Task that can never be run."""
        self._notices.pop(task.uid, None)
        self._spawn(self._refuse(task, refusal))

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
        for task in self._background:
            task.cancel()

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
            logger.warning("%s", error, extra=_fields(notice.task))
            notice.shown = before
            notice.due = asyncio.get_running_loop().time() + HELD_SECONDS
            return
        if ok and notice.ok:
            self._notices.pop(notice.task.uid, None)

    async def _announce(self, task: WaitingTask, then: Callable[[WaitingTask], None]) -> None:
        current = task
        announced = await self._insist(current, lambda: self._raise_dispatches(current))
        if announced is None:
            return
        await asyncio.sleep(REPUBLISH_DELAY.total_seconds())
        then(announced)

    async def _raise_dispatches(self, task: WaitingTask) -> WaitingTask | None:
        """Return the Task as of its next publication; None: it no longer waits."""
        wanted = task.announced()
        try:
            body = await self._write(task, patch_announcement(wanted))
        except NotFoundError:
            return None
        except ConflictError:
            body = await self._cluster.get(API_VERSION, "Task", task.queue.namespace, task.name)
            status = body.get("status", {})
            if body["metadata"]["uid"] != task.uid or status.get("phase") != "Pending":
                return None
            # Someone else raised it; the next number is ours.
            wanted = read_task(body, listed=False).announced()
            body = await self._write(task, patch_announcement(wanted))
        return read_task(body, listed=False)

    async def _refuse(self, task: WaitingTask, refusal: Refusal) -> None:
        async def fail() -> bool:
            try:
                body = await self._write(task, patch_refused(task, refusal, datetime.now(UTC)))
            except (ConflictError, NotFoundError):
                return False
            await self._cluster.post_event(
                body, warning=True, reason=refusal.type, message=refusal.message
            )
            return True

        if await self._insist(task, fail):
            logger.warning("refused: %s", refusal.message, extra=_fields(task))

    async def _insist(self, task: WaitingTask, action: Callable[[], Awaitable[T]]) -> T | None:
        """Do something until the API server takes it; None: it refused for good."""
        delay = BACKOFF_FIRST
        while True:
            try:
                return await action()
            except (ClusterUnavailableError, ConflictError) as error:
                logger.warning("%s", error, extra=_fields(task))
            except ClusterError as error:
                logger.error("%s", error, extra=_fields(task))
                return None
            await asyncio.sleep(delay * self._rng.uniform(0.5, 1.0))
            delay = min(delay * 2, BACKOFF_MAX)

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

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _fields(task: WaitingTask) -> dict[str, str]:
    return {
        "namespace": task.queue.namespace,
        "task": task.name,
        "uid": task.uid,
        "queue": task.queue.name,
    }
