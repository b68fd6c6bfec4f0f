"""Publishes waiting Tasks: each once, as far as one process can know.

Each is in one of these places:

    waiting   its queue's gate is closed, or its turn has not come
    in flight published, RabbitMQ has not confirmed yet
    out       confirmed: it is the broker's now
    again     it may or may not be in the queue; a second publication is announced in its
              status, and 10 s later it goes back to `waiting`
    refused   it can never be run, and is being told so
    reading   its turn has come, and its payload was not kept
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from taskqueue_api.messages import TaskUid
from taskqueue_api.names import work_queue
from taskqueue_operator import metrics
from taskqueue_operator.broker.publisher import Publisher, Verdict
from taskqueue_operator.domain.dispatching import (
    Publication,
    WaitingTask,
    build_headers,
    decide_publication,
    decide_refusal,
    remaining_delay,
)
from taskqueue_operator.domain.topology import route
from taskqueue_operator.errors import BrokerError
from taskqueue_operator.services.lanes import Entry, Flight, Lane, Place
from taskqueue_operator.services.task_writer import TaskWriter

WINDOW = 200
"""Unconfirmed publications per queue."""

HELD_BYTES_MAX = 64 * 1024 * 1024
"""Payloads of waiting Tasks that are kept in memory; others are read again in their turn."""


class Publishing:
    """Takes the Tasks of lanes to RabbitMQ.

    started: when no earlier operator led any more for certain, by the API server's clock.
    now: that clock.
    leads: whether this operator may publish at this moment.
    on_left: called with a Task that turns out to wait no longer.
    on_trouble: called with reason and message when a queue turns out not to be as its gate says.
    """

    def __init__(
        self,
        *,
        cluster_uid: str,
        started: datetime,
        now: Callable[[], datetime],
        leads: Callable[[], bool],
        writer: TaskWriter,
        on_left: Callable[[TaskUid], None],
        on_trouble: Callable[[Lane, str, str], None],
    ) -> None:
        self._cluster_uid = cluster_uid
        self._started = started
        self._now = now
        self._leads = leads
        self._writer = writer
        self._on_left = on_left
        self._on_trouble = on_trouble
        self._held_bytes = 0
        self.stopping = False

    def wait(self, lane: Lane, entry: Entry, *, keep: bool = False) -> None:
        """Put a Task before the gate. keep: its payload whatever the budget."""
        entry.place = Place.WAITING
        size = len(entry.task.payload or b"")
        if self._held_bytes + size > HELD_BYTES_MAX and not keep:
            entry.task, size = replace(entry.task, payload=None), 0
        self._held_bytes += size
        lane.waiting[entry.task.uid] = entry
        if lane.gate.link is None:
            self._tell(lane, entry)
        lane.wake.set()

    def take(self, lane: Lane, uid: TaskUid) -> Entry:
        entry = lane.waiting.pop(uid)
        self._held_bytes -= len(entry.task.payload or b"")
        return entry

    def tell_held(self, lane: Lane) -> None:
        for entry in lane.waiting.values():
            self._tell(lane, entry)

    def _tell(self, lane: Lane, entry: Entry) -> None:
        if not entry.task.running:  # it needs no message, unless its worker is lost
            self._writer.held(entry.task, lane.gate.reason, lane.gate.message)

    async def run(self, lane: Lane) -> None:
        while True:
            await lane.wake.wait()
            lane.wake.clear()
            metrics.TASKS_HELD.set(lane.key, len(lane.waiting))
            while self._may_publish(lane):
                try:
                    publisher = await self._publisher(lane)
                except BrokerError as error:
                    self._on_trouble(lane, error.reason, str(error))
                    break
                self._publish_some(lane, publisher)
                # Let confirms and events in between batches.
                await asyncio.sleep(0)
            metrics.TASKS_HELD.set(lane.key, len(lane.waiting))

    def _may_publish(self, lane: Lane) -> bool:
        return (
            bool(lane.waiting)
            and lane.gate.link is not None
            and len(lane.in_flight) + len(lane.reading) < WINDOW
            and not self.stopping
            # Last, and before each publication: the process may have been stopped for long just
            # before. What it knows of by now was created before this check, so that whoever leads
            # next never takes it for a Task that nobody can have published.
            and self._leads()
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
            entry = self.take(lane, next(iter(lane.waiting)))
            publication = decide_publication(
                entry.task,
                dispatched_through=lane.gate.dispatched_through,
                delays_unsure=lane.gate.delays_unsure,
                started=self._started,
            )
            if publication is Publication.KNOWN:
                self._writer.published(entry.task)
                self.out(entry)
            elif publication is Publication.AGAIN:
                self.again(lane, entry)
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
        if lane.entries.get(entry.task.uid) is not entry or entry.place is not Place.READING:
            return  # it waits for another attempt by now, or for none
        if task is None:
            self._on_left(entry.task.uid)
        else:
            entry.task = task
            self.wait(lane, entry, keep=True)

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
        if not lane.gate.missing:  # or what was in flight would bring its metric back
            metrics.DISPATCHES.labels(*lane.key, verdict.value).inc()
        lane.wake.set()
        if lane.entries.get(entry.task.uid) is not entry or entry.place is not Place.IN_FLIGHT:
            return  # a worker was quicker than the confirm, or the queue is known to be lost
        if verdict is Verdict.CONFIRMED:
            metrics.DISPATCH_SECONDS.observe(asyncio.get_running_loop().time() - entry.since)
            self._writer.published(entry.task)
            self.out(entry)
        elif verdict is Verdict.UNROUTABLE:
            self._on_trouble(
                lane, "Unroutable", f"RabbitMQ has no queue '{work_queue(*lane.key)}' bound"
            )
            self.wait(lane, entry)
        else:
            self.again(lane, entry)
            if publisher is lane.publisher:
                fault = publisher.fault
                reason = fault.reason if fault else "BrokerUnreachable"
                self._on_trouble(lane, reason, str(fault or "RabbitMQ did not confirm"))

    def out(self, entry: Entry) -> None:
        entry.place = Place.OUT
        entry.task = replace(entry.task, payload=None)

    def again(self, lane: Lane, entry: Entry) -> None:
        entry.place = Place.AGAIN
        entry.task = replace(entry.task, payload=None)
        self._writer.announce(entry.task, lambda task: self._announced(lane, entry, task))

    def _announced(self, lane: Lane, entry: Entry, task: WaitingTask | None) -> None:
        """Publish a Task again whose status says so by now, if it still waits."""
        if lane.entries.get(entry.task.uid) is not entry or entry.place is not Place.AGAIN:
            return
        if task is None:
            self._on_left(entry.task.uid)
        else:
            entry.task = task
            entry.since = asyncio.get_running_loop().time()
            self.wait(lane, entry)
