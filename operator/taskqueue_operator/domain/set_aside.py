"""Finished Tasks that are due and cannot be deleted: remembered, so as not to be read again."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from taskqueue_operator.domain.history import FinishedTask, Obstacle

MOST = 50_000
"""Beyond it everything is forgotten and read again. A few hundred bytes each."""

PAUSES = {
    # Labels may be taken away one day, and nobody is in a hurry then.
    Obstacle.TRACKED: timedelta(hours=1),
    Obstacle.BEING_DELETED: timedelta(hours=1),
    Obstacle.CHANGED: timedelta(minutes=1),
    Obstacle.REFUSED: timedelta(minutes=5),
}
"""How long a Task is left alone, by what kept it."""

TaskKey = tuple[str, datetime]
"""Name and end: a namesake created later is another Task."""


class Entry(NamedTuple):
    """Why a Task is left alone, and until when."""

    obstacle: Obstacle
    until: datetime


class SetAside:
    """The Tasks set aside, by namespace."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[TaskKey, Entry]] = {}

    def add(self, namespace: str, task: FinishedTask, obstacle: Obstacle, now: datetime) -> None:
        """Leave a Task alone from now on, for as long as the obstacle asks for."""
        if sum(map(len, self._entries.values())) >= MOST:
            self._entries.clear()
        entries = self._entries.setdefault(namespace, {})
        entries[task.name, task.finished] = Entry(obstacle, now + PAUSES[obstacle])

    def holds(self, namespace: str, task: FinishedTask, now: datetime, *, git_ops: bool) -> bool:
        """Return whether a Task is left alone. git_ops: being tracked is no obstacle."""
        entry = self._entries.get(namespace, {}).get((task.name, task.finished))
        if entry is None or (git_ops and entry.obstacle is Obstacle.TRACKED):
            return False
        return now < entry.until

    def keep_only(self, namespace: str, tasks: Iterable[FinishedTask]) -> None:
        """Forget the Tasks of a namespace that are not among these."""
        entries = self._entries.pop(namespace, None)
        if not entries:
            return
        keys = ((task.name, task.finished) for task in tasks)
        kept = {key: entries[key] for key in keys if key in entries}
        if kept:
            self._entries[namespace] = kept

    def next_end(self, namespace: str, now: datetime) -> datetime | None:
        """Return when the next Task of a namespace is no longer left alone; None: no such."""
        entries = self._entries.get(namespace, {}).values()
        return min((one.until for one in entries if one.until > now), default=None)
