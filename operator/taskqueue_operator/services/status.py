"""The status of TaskQueues: gathered from many sides, written seldom, only on change."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from taskqueue_api.conditions import Condition, merge_conditions, rfc3339
from taskqueue_api.names import API_VERSION
from taskqueue_api.taskqueue import (
    TaskCounts,
    TaskQueueStatus,
    TokenQueueState,
    WorkerCounts,
)
from taskqueue_operator import metrics
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.domain.draining import DELETING
from taskqueue_operator.domain.lean import without_status
from taskqueue_operator.domain.readiness import READY
from taskqueue_operator.errors import (
    ClusterError,
    ClusterUnavailableError,
    NamespaceTerminatingError,
    NotFoundError,
)

QUEUE_SECONDS = 5.0
"""At most one write per TaskQueue in this time."""

NEWS_SECONDS = 1.0
"""The same when `Ready` has another reason: people and scripts wait for that."""

TICK_SECONDS = 0.2
"""One write per tick: 5/s in all."""

UNALARMING = ("WorkersStarting", DELETING)
"""Why a TaskQueue is not ready though all goes well."""

logger = logging.getLogger(__name__)


@dataclass
class Row:
    """One TaskQueue's status: as it should be, and as it was last written.

    body: the object, for Events and its identity.
    written: loop time of the last write. refused: whether it failed.
    """

    body: Mapping[str, Any]
    wanted: TaskQueueStatus
    stored: TaskQueueStatus
    written: float = float("-inf")
    refused: bool = False
    news: list[Condition] = field(default_factory=list)


class StatusBoard:
    """Collects statuses and writes those that changed."""

    def __init__(self, cluster: ClusterClient) -> None:
        self._cluster = cluster
        self._rows: dict[QueueKey, Row] = {}
        # Those that may differ: to compare all, every tick, costs more than all the rest at rest.
        self._touched: set[QueueKey] = set()

    def seen(self, key: QueueKey, body: Mapping[str, Any]) -> None:
        """Take note of a TaskQueue; what its status says now is the start."""
        self._touched.add(key)
        row = self._rows.get(key)
        stored = TaskQueueStatus.model_validate(body.get("status") or {})
        if row is None or row.body["metadata"]["uid"] != body["metadata"]["uid"]:
            self._rows[key] = Row(without_status(body), stored, stored)
        else:
            row.body = without_status(body)
            # Somebody may have written over it; then it differs from what is wanted again.
            row.stored = row.wanted if stored == row.wanted else stored

    def stored(self, key: QueueKey) -> TaskQueueStatus | None:
        """Return the status as it was last written; None: no such TaskQueue."""
        row = self._rows.get(key)
        return row.stored if row else None

    def gone(self, key: QueueKey) -> None:
        """Forget a TaskQueue."""
        self._rows.pop(key, None)
        self._touched.discard(key)

    def conditions(self, key: QueueKey, generation: int, changes: Sequence[Condition]) -> None:
        """Set the conditions that a reconcile found, and the generation that it saw."""
        row = self._rows.get(key)
        if row is None:
            return
        self._touched.add(key)
        before = {item.type: item for item in row.wanted.conditions}.get(READY)
        merged = merge_conditions(row.wanted.conditions, changes, datetime.now(UTC))
        merged.sort(key=lambda item: item.type != READY)  # people read from the top
        row.wanted = row.wanted.model_copy(
            update={"conditions": merged, "observed_generation": generation}
        )
        after = {item.type: item for item in merged}.get(READY)
        if after and (before is None or before.reason != after.reason):
            row.news.append(after)

    def drop_condition(self, key: QueueKey, kind: str) -> None:
        """Take a condition away, if there is one."""
        row = self._rows.get(key)
        kept = [one for one in row.wanted.conditions if one.type != kind] if row else []
        if row and len(kept) < len(row.wanted.conditions):
            self._update(key, conditions=kept)

    def counts(self, key: QueueKey, tasks: TaskCounts) -> None:
        """Set the numbers of Tasks."""
        self._update(key, tasks=tasks)

    def dead_letters(self, key: QueueKey, number: int) -> None:
        """Set the number of dead letters."""
        self._update(key, dead_letters=number)

    def backlog(self, key: QueueKey, backlog: int, busy: int) -> None:
        """Set what the workers have to do, and how many of their slots are at it."""
        row = self._rows.get(key)
        if row:
            workers = row.wanted.workers.model_copy(update={"busy": busy})
            self._update(key, backlog=backlog, workers=workers)

    def workers(self, key: QueueKey, workers: WorkerCounts) -> None:
        """Set the numbers of workers; of their slots `backlog` tells."""
        row = self._rows.get(key)
        if row:
            busy = row.wanted.workers.busy
            self._update(key, workers=workers.model_copy(update={"busy": busy}))

    def dispatched_through(self, key: QueueKey, moment: datetime) -> None:
        """Set the moment before which every waiting Task is published."""
        self._update(key, dispatched_through=rfc3339(moment))

    async def clear_dispatched_through(self, key: QueueKey) -> None:
        """Take `dispatchedThrough` back, now. Raises ClusterUnavailableError when it cannot be."""
        row = self._rows.get(key)
        if row is None:
            return
        self._update(key, dispatched_through=None)
        await self._store(key, row, "dispatched_through")

    def token_queues(self, key: QueueKey) -> Mapping[str, TokenQueueState]:
        """Return the queues of tokens that a TaskQueue has, and how far each has come."""
        row = self._rows.get(key)
        return (row.wanted.token_queues if row else None) or {}

    async def keep_token_queues(self, key: QueueKey, queues: Mapping[str, TokenQueueState]) -> None:
        """Set the queues of tokens, now. Raises ClusterUnavailableError when it cannot be."""
        row = self._rows.get(key)
        if row is None:
            return
        self._update(key, token_queues=dict(queues) or None)
        await self._store(key, row, "token_queues")

    async def run(self) -> None:
        """Write what changed, for ever."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self._write_one()

    async def flush(self) -> None:
        """Write everything that changed, now: for a clean stop."""
        for key, row in list(self._rows.items()):
            if row.wanted != row.stored:
                await self._write(key, row)

    async def _store(self, key: QueueKey, row: Row, name: str) -> None:
        """Write the status now if this field of it differs from what is stored."""
        if getattr(row.stored, name) == getattr(row.wanted, name):
            return
        await self._write(key, row)
        if getattr(row.stored, name) != getattr(row.wanted, name):
            raise ClusterUnavailableError(0, "the status of the TaskQueue cannot be written now")

    def _update(self, key: QueueKey, **changes: Any) -> None:
        row = self._rows.get(key)
        if row:
            row.wanted = row.wanted.model_copy(update=changes)
            self._touched.add(key)

    async def _write_one(self) -> None:
        now = asyncio.get_running_loop().time()
        rows = [(key, self._rows[key]) for key in self._touched]
        for _, row in rows:
            if row.wanted == row.stored:
                row.wanted = row.stored  # two of the same are one too many
        self._touched = {key for key, row in rows if row.wanted != row.stored}
        due = [
            (row.written, key)
            for key, row in rows
            if key in self._touched
            and row.wanted.conditions  # the first reconcile finds them, in a moment
            and now - row.written >= _pause(row)
        ]
        if due:
            _, key = min(due)
            row = self._rows[key]
            row.written = now
            await self._write(key, row)

    async def _write(self, key: QueueKey, row: Row) -> None:
        wanted = row.wanted
        manifest = {
            "apiVersion": API_VERSION,
            "kind": "TaskQueue",
            "metadata": {"name": key.name, "namespace": key.namespace},
            "status": wanted.model_dump(by_alias=True, exclude_none=True),
        }
        fields = {"namespace": key.namespace, "queue": key.name}
        try:
            await self._cluster.apply(manifest, sub="status")
        except NotFoundError:
            # Deleted meanwhile; its last event takes the row away.
            row.stored = wanted
            return
        except ClusterError as error:
            metrics.STATUS_WRITES.labels("TaskQueue", type(error).__name__).inc()
            logger.warning("status not written: %s", error, extra=fields)
            row.refused = True
            return
        metrics.STATUS_WRITES.labels("TaskQueue", "ok").inc()
        row.stored, row.refused = wanted, False
        await self._tell(row, fields)

    async def _tell(self, row: Row, fields: dict[str, str]) -> None:
        """Post an Event for each change of the Ready condition."""
        news, row.news = row.news, []
        for condition in news[-1:]:
            warning = condition.status == "False" and condition.reason not in UNALARMING
            log = logger.warning if warning else logger.info
            log("%s: %s", condition.reason, condition.message, extra=fields)
            try:
                await self._cluster.post_event(
                    row.body,
                    warning=warning,
                    reason=condition.reason,
                    message=condition.message,
                )
            except NamespaceTerminatingError:
                return
            except ClusterError as error:
                logger.warning("Event not posted: %s", error, extra=fields)


def _pause(row: Row) -> float:
    """Return the seconds from one write to the next."""
    return NEWS_SECONDS if row.news and not row.refused else QUEUE_SECONDS
