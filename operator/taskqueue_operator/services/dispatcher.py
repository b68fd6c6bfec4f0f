"""Knows every Task that waits or runs, and the queue of each.

A Task enters when it is seen and leaves when it has finished or is gone. The worker whose attempt
failed has published the next one itself; from here it goes out only when that message is lost. So
does one that runs: should its worker live, the second message waits there for nothing.
"""

import asyncio
import heapq
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from taskqueue_api.messages import TaskUid
from taskqueue_operator import metrics
from taskqueue_operator.broker.publisher import Verdict
from taskqueue_operator.domain.demand import Demand
from taskqueue_operator.domain.dispatching import (
    DEADLINE_MARGIN,
    QueueKey,
    decide_dispatched_through,
    decide_late,
    is_overdue,
    read_task,
)
from taskqueue_operator.services.lanes import Entry, Gate, Lane, Place, missing_queue
from taskqueue_operator.services.publishing import Publishing
from taskqueue_operator.services.task_writer import TaskWriter

CONFIRM_SECONDS = 30.0
"""A queue that confirms nothing for so long has no leader; its channel is given up."""

DEADLINES_SPARE = 1000

LIST_SECONDS = 30.0
OVERTAKEN_SECONDS = 30.0
"""A list has ended when nothing of it came for so long. It comes in chunks by name, so that until
then there may be older Tasks than any that we know."""

logger = logging.getLogger(__name__)


class Dispatcher:
    """Publishes the waiting Tasks of all TaskQueues.

    started: when no earlier operator led any more for certain, by the API server's clock.
    now: that clock.
    leads: whether this operator may publish at this moment.
    on_trouble: called when a queue turns out not to be as its gate says.
    """

    def __init__(
        self,
        *,
        cluster_uid: str,
        started: datetime,
        now: Callable[[], datetime],
        leads: Callable[[], bool] = lambda: True,
        writer: TaskWriter,
        on_trouble: Callable[[QueueKey], None],
    ) -> None:
        self._now = now
        self._writer = writer
        self._on_trouble = on_trouble
        self._publishing = Publishing(
            cluster_uid=cluster_uid,
            started=started,
            now=now,
            leads=leads,
            writer=writer,
            on_left=self.task_left,
            on_trouble=self._trouble,
        )
        self._lanes: dict[QueueKey, Lane] = {}
        self._queue_of: dict[TaskUid, QueueKey] = {}
        self._listed_at = float("-inf")
        self._deadlines: list[tuple[datetime, TaskUid]] = []

    def task_seen(self, body: dict[str, Any], *, listed: bool) -> None:
        """Take note of a Task that waits or runs; one known to do so is left alone."""
        uid = TaskUid(body["metadata"]["uid"])
        now = asyncio.get_running_loop().time()
        if listed:
            self._listed_at = now
        task = read_task(body, listed=listed)
        before = self._lanes[self._queue_of[uid]].entries[uid] if uid in self._queue_of else None
        if before is not None:
            if before.task.stage == task.stage:
                return
            self.task_left(uid, ran=task.running or task.retrying)
        lane = self._lane(task.queue)
        if not task.running:
            lane.newest = max(lane.newest or task.created, task.created)
        self._queue_of[uid] = lane.key
        entry = Entry(task, Place.WAITING, now)
        lane.entries[uid] = entry
        if task.deadline is not None and (before is None or before.task.deadline is None):
            self._note_deadline(task.deadline, uid)
        if task.running and before is not None and before.again:
            # Its message was lost, and it was started all the same: by one that is lost as well.
            self._publishing.again(lane, entry)
        elif (task.running or task.retrying) and not listed:
            # Who runs it has its message, and publishes that of the next attempt.
            self._publishing.out(entry)
        else:
            self._publishing.wait(lane, entry)

    def fail_late(self) -> None:
        """Fail the Tasks that still wait after their deadline."""
        while self._deadlines and self._deadlines[0][0] + DEADLINE_MARGIN < self._now():
            _, uid = heapq.heappop(self._deadlines)
            lane = self._lanes.get(self._queue_of[uid]) if uid in self._queue_of else None
            if lane is not None:
                self._fail_late(lane, lane.entries[uid])

    def _note_deadline(self, deadline: datetime, uid: TaskUid) -> None:
        heapq.heappush(self._deadlines, (deadline, uid))
        if len(self._deadlines) > 2 * len(self._queue_of) + DEADLINES_SPARE:
            # Most are of Tasks that have finished.
            self._deadlines = [one for one in self._deadlines if one[1] in self._queue_of]
            heapq.heapify(self._deadlines)

    def _fail_late(self, lane: Lane, entry: Entry) -> None:
        refusal = decide_late(entry.task)
        if refusal is None or entry.place is Place.REFUSED or entry.task.running:
            return
        if entry.place is Place.WAITING:
            self._publishing.take(lane, entry.task.uid)
        lane.reading.discard(entry.task.uid)
        entry.place = Place.REFUSED
        self._writer.refuse(entry.task, refusal)

    def cancel(self, body: dict[str, Any]) -> None:
        """End a Task that waits."""
        task = read_task(body, listed=False)
        self.task_left(task.uid)
        self._writer.cancel(task)

    def task_left(self, uid: TaskUid, *, ran: bool = False) -> None:
        """Forget a Task that is gone or waits no longer. ran: a worker has taken its message."""
        key = self._queue_of.pop(uid, None)
        if key is None:
            return
        lane = self._lanes[key]
        entry = lane.entries.pop(uid)
        if ran and entry.place is Place.OUT:
            turn = entry.turn(asyncio.get_running_loop().time(), self._now())
            priority = entry.task.priority
            lane.latest[priority] = max(turn, lane.latest.get(priority, turn))
        lane.reading.discard(uid)
        if uid in lane.waiting:
            self._publishing.take(lane, uid)
        self._writer.forget(uid)
        if not lane.entries and lane.gate.missing:
            self._drop(lane)

    def forget_except(self, namespace: str, names: set[str], before: datetime) -> None:
        """Forget Tasks of a namespace that were created before a moment and are not in `names`.

        A deletion can be missed while a watch is broken; without this they would stay for ever.
        """
        for lane in [lane for key, lane in self._lanes.items() if key.namespace == namespace]:
            for uid, entry in list(lane.entries.items()):
                if entry.task.created < before and entry.task.name not in names:
                    self.task_left(uid)

    def queue_seen(self, key: QueueKey) -> None:
        """Take note that a TaskQueue exists; its Tasks wait until it is reconciled."""
        lane = self._lanes.get(key)
        if lane is None or lane.gate.missing:
            self.hold(key, "QueueNotReady", f"TaskQueue '{key.name}' is not reconciled yet")

    def open(self, key: QueueKey, gate: Gate) -> None:
        """Let a queue take Tasks."""
        lane = self._lane(key)
        lane.gate = gate
        if lane.publisher and lane.published_on is not gate.link:
            outdated, lane.publisher = lane.publisher, None
            outdated.close()
        self._writer.released(key)
        lane.wake.set()

    def hold(self, key: QueueKey, reason: str, message: str) -> None:
        """Keep a queue's Tasks back; they are told why."""
        lane = self._lane(key)
        lane.gate = replace(lane.gate, link=None, reason=reason, message=message)
        self._publishing.tell_held(lane)

    def close_queue(self, key: QueueKey) -> None:
        """Take note that a TaskQueue is gone."""
        lane = self._lanes.get(key)
        if lane is None:
            return
        lane.gate = missing_queue(key)
        for verdict in Verdict:
            metrics.DISPATCHES.remove(*key, verdict.value)
        if not lane.entries:
            self._drop(lane)
            return
        # Its queue in RabbitMQ is gone, or may go: whatever was published is unsure now.
        self._again(lane, lambda _: True)
        logger.info(
            "the TaskQueue was deleted: %d Tasks wait, and are published when there is one of "
            "its name again",
            len(lane.entries),
            extra={"namespace": key.namespace, "queue": key.name},
        )
        self._publishing.tell_held(lane)

    def queue_lost(self, key: QueueKey) -> None:
        """Publish again what was in a queue that had disappeared from RabbitMQ."""
        self._lost(key, "the queue", lambda _: True)

    def ladder_lost(self, key: QueueKey) -> None:
        """Publish again what waits for a time, since a queue that had kept it disappeared."""
        self._lost(key, "a queue for delayed messages", lambda entry: entry.task.due is not None)

    def sweep(self, key: QueueKey, *, empty: bool) -> None:
        """Publish again what should have been taken long ago.

        empty: no message waits in its queue. Otherwise it concerns what was overtaken, by a Task
        of the same priority that came later and was run: its message is lost, or in the hands of
        a worker that is busy with something long.
        """
        now, moment = self._now(), asyncio.get_running_loop().time()
        latest = self._lane(key).latest

        def is_missing(one: Entry) -> bool:
            bound = one.turn(moment, now) + OVERTAKEN_SECONDS
            overtaken = latest.get(one.task.priority, bound) > bound
            waited = timedelta(seconds=moment - one.since)
            return (empty or overtaken) and is_overdue(one.task, now, waited)

        self._lost(key, "a message due long ago", is_missing)

    def _lost(self, key: QueueKey, what: str, concerns: Callable[[Entry], bool]) -> None:
        lost = self._again(self._lane(key), concerns)
        if lost:
            fields = {"namespace": key.namespace, "queue": key.name}
            text = "%s in RabbitMQ was gone: %d Tasks are published again"
            logger.warning(text, what, lost, extra=fields)

    def _again(self, lane: Lane, concerns: Callable[[Entry], bool]) -> int:
        """Have published Tasks published again; return how many."""
        published = lane.published(concerns)
        for entry in published:
            self._publishing.again(lane, entry)
        return len(published)

    def dispatched_through(self, key: QueueKey) -> datetime | None:
        """Return the moment before which all waiting Tasks of a queue are published.

        None: unknown, as it is while Tasks are still being listed.
        """
        lane = self._lanes.get(key)
        settled = asyncio.get_running_loop().time() - self._listed_at >= LIST_SECONDS
        if lane is None or not settled:
            return None
        return decide_dispatched_through(
            oldest_unconfirmed=lane.oldest_unconfirmed(), newest_seen=lane.newest
        )

    def demand(self, key: QueueKey, most: int | None = None) -> Demand:
        """Return what a TaskQueue's workers have to do. most: stop counting beyond."""
        lane = self._lanes.get(key)
        return lane.demand(self._now(), most) if lane else Demand()

    def has_open(self, key: QueueKey) -> bool:
        """Return whether a TaskQueue has unfinished Tasks."""
        lane = self._lanes.get(key)
        return lane is not None and bool(lane.waiting or lane.entries)

    def wake(self) -> None:
        """Try all queues again: this operator may not have led for a while."""
        for lane in self._lanes.values():
            if lane.waiting:
                lane.wake.set()

    def give_up_silent_channels(self) -> None:
        """Close the channels of queues that have confirmed nothing for too long."""
        now = asyncio.get_running_loop().time()
        for lane in self._lanes.values():
            oldest = next(iter(lane.in_flight.values()), None)
            if oldest and lane.publisher and now - oldest.sent > CONFIRM_SECONDS:
                logger.warning("RabbitMQ confirms nothing for queue %s", lane.key)
                lane.publisher.close()

    def faults(self) -> list[str]:
        """Return what is dead, one sentence each."""
        return [
            f"the dispatch of {lane.key} is dead"
            for lane in self._lanes.values()
            if lane.runner and lane.runner.done()
        ]

    def freeze(self) -> None:
        """Publish nothing more: another operator is to take over."""
        self._publishing.stopping = True

    async def stop(self, seconds: float) -> None:
        """Publish nothing more and wait for what is in flight, at most `seconds`."""
        self.freeze()
        flying = [
            flight.verdict for lane in self._lanes.values() for flight in lane.in_flight.values()
        ]
        if flying:
            await asyncio.wait(flying, timeout=seconds)
        for lane in list(self._lanes.values()):
            if lane.runner:
                lane.runner.cancel()

    def _lane(self, key: QueueKey) -> Lane:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key, missing_queue(key))
            lane.runner = asyncio.create_task(self._publishing.run(lane), name=f"dispatch {key}")
        return lane

    def _drop(self, lane: Lane) -> None:
        self._lanes.pop(lane.key, None)
        if lane.runner:
            lane.runner.cancel()
        if lane.publisher:
            lane.publisher.close()
        metrics.TASKS_HELD.remove(lane.key)

    def _trouble(self, lane: Lane, reason: str, message: str) -> None:
        """Close a queue's gate, and have the queue looked at."""
        if lane.gate.link is not None:
            self.hold(lane.key, reason, message)
            self._on_trouble(lane.key)
