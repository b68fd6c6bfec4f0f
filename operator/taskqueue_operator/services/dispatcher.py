"""Publishes waiting Tasks: each once, as far as one process can know.

A Task enters when it is seen Pending or Retrying and leaves when it is seen in another phase or
gone. The worker whose attempt failed has published the next one itself; from here it goes out
only when that message is lost. In between a Task is in one of these places:

    waiting   its queue's gate is closed, or its turn has not come
    in flight published, RabbitMQ has not confirmed yet
    out       confirmed: it is the broker's now
    again     it may or may not be in the queue; a second publication is announced in its
              status, and 10 s later it goes back to `waiting`
    refused   it can never be run, and is being told so
    reading   its turn has come, and its payload was not kept
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from taskqueue_api.messages import TaskUid
from taskqueue_api.names import work_queue
from taskqueue_operator import metrics
from taskqueue_operator.broker.publisher import Publisher, Verdict
from taskqueue_operator.domain.dispatching import (
    Publication,
    QueueKey,
    WaitingTask,
    build_headers,
    decide_dispatched_through,
    decide_publication,
    decide_refusal,
    is_overdue,
    read_task,
    remaining_delay,
)
from taskqueue_operator.domain.topology import route
from taskqueue_operator.errors import BrokerError
from taskqueue_operator.services.lanes import Entry, Flight, Gate, Lane, Place, missing_queue
from taskqueue_operator.services.task_writer import TaskWriter

WINDOW = 200
"""Unconfirmed publications per queue."""

CONFIRM_SECONDS = 30.0
"""A queue that confirms nothing for so long has no leader; its channel is given up."""

LIST_SECONDS = 30.0
"""A list has ended when nothing of it came for so long. It comes in chunks by name, so that until
then there may be older Tasks than any that we know."""

HELD_BYTES_MAX = 64 * 1024 * 1024
"""Payloads of waiting Tasks that are kept in memory; others are read again in their turn."""

logger = logging.getLogger(__name__)


class Dispatcher:
    """Publishes the waiting Tasks of all TaskQueues.

    started: when this process started, by the API server's clock.
    now: that clock.
    on_trouble: called when a queue turns out not to be as its gate says.
    """

    def __init__(
        self,
        *,
        cluster_uid: str,
        started: datetime,
        now: Callable[[], datetime],
        writer: TaskWriter,
        on_trouble: Callable[[QueueKey], None],
    ) -> None:
        self._cluster_uid = cluster_uid
        self._started = started
        self._now = now
        self._writer = writer
        self._on_trouble = on_trouble
        self._lanes: dict[QueueKey, Lane] = {}
        self._queue_of: dict[TaskUid, QueueKey] = {}
        self._stopping = False
        self._held_bytes = 0
        self._listed_at = float("-inf")

    def task_waiting(self, body: dict[str, Any], *, listed: bool) -> None:
        """Take note of a Task that waits; one known to wait for this attempt is left alone."""
        uid = TaskUid(body["metadata"]["uid"])
        now = asyncio.get_running_loop().time()
        if listed:
            self._listed_at = now
        task = read_task(body, listed=listed)
        if uid in self._queue_of:
            known = self._lanes[self._queue_of[uid]].entries[uid].task
            if (known.run, known.attempt) == (task.run, task.attempt):
                return
            self.task_left(uid)
        lane = self._lane(task.queue)
        lane.newest = max(lane.newest or task.created, task.created)
        self._queue_of[uid] = lane.key
        entry = Entry(task, Place.WAITING, now)
        lane.entries[uid] = entry
        if task.retrying and not listed:
            self._out(entry)
        else:
            self._wait(lane, entry)

    def task_left(self, uid: TaskUid) -> None:
        """Forget a Task that is gone or waits no longer."""
        key = self._queue_of.pop(uid, None)
        if key is None:
            return
        lane = self._lanes[key]
        lane.entries.pop(uid, None)
        lane.reading.discard(uid)
        if uid in lane.waiting:
            self._take(lane, uid)
        self._writer.forget(uid)
        if not lane.entries and lane.gate.reason == "QueueNotFound":
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
        if lane is None or lane.gate.reason == "QueueNotFound":
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
        self._tell_held(lane)

    def close_queue(self, key: QueueKey) -> None:
        """Take note that a TaskQueue is gone."""
        lane = self._lanes.get(key)
        if lane is None:
            return
        lane.gate = missing_queue(key)
        if not lane.entries:
            self._drop(lane)
            return
        # Its queue in RabbitMQ is gone, or will be: whatever was published is unsure now.
        self.queue_lost(key)
        self._tell_held(lane)

    def queue_lost(self, key: QueueKey) -> None:
        """Publish again what was in a queue that had disappeared from RabbitMQ."""
        self._lost(key, "the queue", lambda _: True)

    def ladder_lost(self, key: QueueKey) -> None:
        """Publish again what waits for a time, since a queue that had kept it disappeared."""
        self._lost(key, "a queue for delayed messages", lambda task: task.due is not None)

    def sweep(self, key: QueueKey) -> None:
        """Publish again what should have come out of the ladder: its queue is empty."""
        self._lost(key, "a message due long ago", lambda task: is_overdue(task, self._now()))

    def _lost(self, key: QueueKey, what: str, concerns: Callable[[WaitingTask], bool]) -> None:
        lane = self._lane(key)
        lost = lane.published(concerns)
        if lost:
            fields = {"namespace": key.namespace, "queue": key.name}
            text = "%s in RabbitMQ was gone: %d Tasks are published again"
            logger.warning(text, what, len(lost), extra=fields)
        for entry in lost:
            self._again(lane, entry)

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
        """Publish nothing more: another operator may be starting."""
        self._stopping = True

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
            lane.runner = asyncio.create_task(self._run(lane), name=f"dispatch {key}")
        return lane

    def _drop(self, lane: Lane) -> None:
        self._lanes.pop(lane.key, None)
        if lane.runner:
            lane.runner.cancel()
        if lane.publisher:
            lane.publisher.close()
        metrics.TASKS_HELD.remove(*lane.key)

    def _wait(self, lane: Lane, entry: Entry, *, keep: bool = False) -> None:
        """Put a Task before the gate. keep: its payload whatever the budget."""
        entry.place = Place.WAITING
        size = len(entry.task.payload or b"")
        if self._held_bytes + size > HELD_BYTES_MAX and not keep:
            entry.task, size = replace(entry.task, payload=None), 0
        self._held_bytes += size
        lane.waiting[entry.task.uid] = entry
        if lane.gate.link is None:
            self._writer.held(entry.task, lane.gate.reason, lane.gate.message)
        lane.wake.set()

    def _take(self, lane: Lane, uid: TaskUid) -> Entry:
        entry = lane.waiting.pop(uid)
        self._held_bytes -= len(entry.task.payload or b"")
        return entry

    def _tell_held(self, lane: Lane) -> None:
        for entry in lane.waiting.values():
            self._writer.held(entry.task, lane.gate.reason, lane.gate.message)

    async def _run(self, lane: Lane) -> None:
        while True:
            await lane.wake.wait()
            lane.wake.clear()
            metrics.TASKS_HELD.labels(*lane.key).set(len(lane.waiting))
            while self._may_publish(lane):
                try:
                    publisher = await self._publisher(lane)
                except BrokerError as error:
                    self._trouble(lane, error.reason, str(error))
                    break
                self._publish_some(lane, publisher)
                # Let confirms and events in between batches.
                await asyncio.sleep(0)
            metrics.TASKS_HELD.labels(*lane.key).set(len(lane.waiting))

    def _may_publish(self, lane: Lane) -> bool:
        return (
            bool(lane.waiting)
            and lane.gate.link is not None
            and len(lane.in_flight) + len(lane.reading) < WINDOW
            and not self._stopping
        )

    async def _publisher(self, lane: Lane) -> Publisher:
        if lane.publisher is None or lane.publisher.fault:
            link = lane.gate.link
            if link is None:
                raise BrokerError(lane.gate.reason, lane.gate.message)
            lane.publisher = await Publisher.open(link)
            lane.published_on = link
        return lane.publisher

    def _publish_some(self, lane: Lane, publisher: Publisher) -> None:
        for _ in range(WINDOW):
            if not self._may_publish(lane) or publisher.fault:
                return
            entry = self._take(lane, next(iter(lane.waiting)))
            publication = decide_publication(
                entry.task,
                dispatched_through=lane.gate.dispatched_through,
                delays_unsure=lane.gate.delays_unsure,
                started=self._started,
            )
            if publication is Publication.KNOWN:
                self._writer.published(entry.task)
                self._out(entry)
            elif publication is Publication.AGAIN:
                self._again(lane, entry)
            elif entry.task.payload is None:
                self._read(lane, entry)
            elif refusal := decide_refusal(entry.task, lane.gate.ceiling):
                entry.place = Place.REFUSED
                self._writer.refuse(entry.task, refusal)
            else:
                self._publish(lane, publisher, entry, entry.task.payload)

    def _read(self, lane: Lane, entry: Entry) -> None:
        entry.place = Place.READING
        lane.reading.add(entry.task.uid)
        self._writer.read(entry.task, lambda task: self._was_read(lane, entry, task))

    def _was_read(self, lane: Lane, entry: Entry, task: WaitingTask | None) -> None:
        lane.reading.discard(entry.task.uid)
        if lane.entries.get(entry.task.uid) is not entry:
            return  # it waits for another attempt by now, or for none
        if task is None:
            self.task_left(entry.task.uid)
        else:
            entry.task = task
            self._wait(lane, entry, keep=True)

    def _publish(self, lane: Lane, publisher: Publisher, entry: Entry, payload: bytes) -> None:
        entry.place = Place.IN_FLIGHT
        future = publisher.publish(
            entry.task,
            payload,
            to=route(work_queue(*lane.key), remaining_delay(entry.task, self._now())),
            headers=build_headers(entry.task, self._cluster_uid, lane.gate.ceiling).to_amqp(),
        )
        lane.in_flight[entry.task.uid] = Flight(asyncio.get_running_loop().time(), future)
        future.add_done_callback(lambda done: self._settled(lane, entry, publisher, done.result()))

    def _settled(self, lane: Lane, entry: Entry, publisher: Publisher, verdict: Verdict) -> None:
        lane.in_flight.pop(entry.task.uid, None)
        metrics.DISPATCHES.labels(*lane.key, verdict.value).inc()
        lane.wake.set()
        if lane.entries.get(entry.task.uid) is not entry or entry.place is not Place.IN_FLIGHT:
            return  # a worker was quicker than the confirm, or the queue is known to be lost
        if verdict is Verdict.CONFIRMED:
            metrics.DISPATCH_SECONDS.observe(asyncio.get_running_loop().time() - entry.since)
            self._writer.published(entry.task)
            self._out(entry)
        elif verdict is Verdict.UNROUTABLE:
            self._trouble(
                lane, "Unroutable", f"RabbitMQ has no queue '{work_queue(*lane.key)}' bound"
            )
            self._wait(lane, entry)
        else:
            self._again(lane, entry)
            if publisher is lane.publisher:
                fault = publisher.fault
                reason = fault.reason if fault else "BrokerUnreachable"
                self._trouble(lane, reason, str(fault or "RabbitMQ did not confirm"))

    def _out(self, entry: Entry) -> None:
        entry.place = Place.OUT
        entry.task = replace(entry.task, payload=None)

    def _again(self, lane: Lane, entry: Entry) -> None:
        entry.place = Place.AGAIN
        entry.task = replace(entry.task, payload=None)
        self._writer.announce(entry.task, lambda task: self._announced(lane, entry, task))

    def _announced(self, lane: Lane, entry: Entry, task: WaitingTask | None) -> None:
        """Publish a Task again whose status says so by now, if it still waits."""
        if lane.entries.get(entry.task.uid) is not entry or entry.place is not Place.AGAIN:
            return
        if task is None:
            self.task_left(entry.task.uid)
        else:
            entry.task = task
            entry.since = asyncio.get_running_loop().time()
            self._wait(lane, entry)

    def _trouble(self, lane: Lane, reason: str, message: str) -> None:
        """Close the gate, and have the queue looked at."""
        if lane.gate.link is not None:
            self.hold(lane.key, reason, message)
            self._on_trouble(lane.key)
