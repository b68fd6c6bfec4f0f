"""One TaskQueue's way to the broker: its gate, and the Tasks before it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from taskqueue_api.messages import TaskUid
from taskqueue_operator.broker.link import Link
from taskqueue_operator.broker.publisher import Publisher, Verdict
from taskqueue_operator.domain.demand import Demand
from taskqueue_operator.domain.dispatching import QUEUE_NOT_FOUND, QueueKey, WaitingTask


class Place(Enum):
    """Where a waiting Task is."""

    WAITING = "waiting"
    IN_FLIGHT = "in flight"
    OUT = "out"
    AGAIN = "again"
    REFUSED = "refused"
    READING = "reading"


@dataclass
class Entry:
    """What is remembered of a Task that waits or runs.

    task: without its payload once it is out.
    since: loop time of when it was seen, or last given back to be published.
    """

    task: WaitingTask
    place: Place
    since: float

    def turn(self, moment: float, now: datetime) -> float:
        """Return the loop time from which on its message is in the queue, as far as is known.

        moment: loop time. now: the same by the API server's clock.
        """
        if self.task.due is None:
            return self.since
        return max(self.since, moment + (self.task.due - now).total_seconds())

    @property
    def again(self) -> bool:
        """Whether its message is lost or unsure, and a second one not yet published."""
        second = self.place in (Place.WAITING, Place.READING) and self.task.dispatches > 1
        return self.place is Place.AGAIN or second


class Flight(NamedTuple):
    """A publication that RabbitMQ has not confirmed. sent: loop time."""

    sent: float
    verdict: "asyncio.Future[Verdict]"


@dataclass(frozen=True)
class Gate:
    """Whether a queue takes Tasks, and why not.

    ceiling: the TaskQueue's timeout.
    dispatched_through: as an earlier operator left it.
    delays_unsure: what waited for a time when this operator started may be lost.
    """

    link: Link | None
    ceiling: timedelta
    dispatched_through: datetime | None
    delays_unsure: bool = False
    reason: str = ""
    message: str = ""

    @property
    def missing(self) -> bool:
        """Whether there is no such TaskQueue."""
        return self.reason == QUEUE_NOT_FOUND


@dataclass
class Lane:
    """One TaskQueue's way to the broker.

    published_on: the connection of the publisher.
    latest: by priority, the latest turn of a Task that was seen to be run.
    """

    key: QueueKey
    gate: Gate
    waiting: dict[TaskUid, Entry] = field(default_factory=dict)
    reading: set[TaskUid] = field(default_factory=set)
    in_flight: dict[TaskUid, Flight] = field(default_factory=dict)
    entries: dict[TaskUid, Entry] = field(default_factory=dict)
    latest: dict[int, float] = field(default_factory=dict)
    newest: datetime | None = None
    publisher: Publisher | None = None
    published_on: Link | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    runner: asyncio.Task[None] | None = None

    def published(self, concerns: Callable[[Entry], bool]) -> list[Entry]:
        """Return the entries of which a message is in RabbitMQ or on its way there."""
        places = (Place.OUT, Place.IN_FLIGHT)
        entries = [entry for entry in self.entries.values() if entry.place in places]
        return [entry for entry in entries if concerns(entry)]

    def demand(self, now: datetime, most: int | None = None) -> Demand:
        """Return what is to be done. now: the API server's time.

        most: stop counting beyond; None: count all.
        """
        due = running = 0
        oldest, next_due = now, None
        for entry in self.entries.values():
            task = entry.task
            if entry.place is Place.REFUSED:
                continue
            if task.due is not None and task.due > now and not task.running:
                next_due = task.due if next_due is None else min(next_due, task.due)
                continue
            due += 1
            running += task.running
            if not task.running:
                oldest = min(oldest, task.due or task.created)
            if most is not None and due > most:
                break
        return Demand(
            due,
            running,
            (now - oldest).total_seconds(),
            None if next_due is None else (next_due - now).total_seconds(),
        )

    def oldest_unconfirmed(self) -> datetime | None:
        """Return when the oldest Task was created that is not known to be published.

        Those that were started all over are as old as their first run: `dispatchedThrough` would
        fall back behind it, and does not cover them anyway.
        """
        unconfirmed = [one.task for one in self.entries.values() if one.place is not Place.OUT]
        waiting = (task for task in unconfirmed if task.run == 0 and not task.running)
        return min((task.created for task in waiting), default=None)


def missing_queue(key: QueueKey) -> Gate:
    """Return the gate of a TaskQueue that nobody has seen."""
    return Gate(
        None,
        timedelta(),
        None,
        reason=QUEUE_NOT_FOUND,
        message=f"there is no TaskQueue '{key.name}' in namespace '{key.namespace}'",
    )
