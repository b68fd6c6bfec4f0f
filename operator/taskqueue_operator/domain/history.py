"""Which finished Tasks are to be deleted, and which of those must be left alone after all."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Literal, NamedTuple

from taskqueue_api.durations import parse_duration
from taskqueue_api.history import HistorySpec
from taskqueue_api.names import GITOPS_ANNOTATIONS, GITOPS_LABELS

Reason = Literal["age", "limit"]
REASONS: tuple[Reason, ...] = ("age", "limit")


class FinishedTask(NamedTuple):
    """A finished Task, as far as a list shows it.

    finished: when it ended; written in whole seconds.
    ttl: its own; None: what its TaskQueue says holds.
    """

    name: str
    phase: str
    finished: datetime
    ttl: timedelta | None


class Expired(NamedTuple):
    """A Task that is to be deleted, and why."""

    task: FinishedTask
    reason: Reason


class Verdict(NamedTuple):
    """What is to become of the finished Tasks of one queue.

    expired: to be deleted, the oldest first.
    due: when the age of the next one is reached; None: of none.
    """

    expired: list[Expired]
    due: datetime | None


class Obstacle(Enum):
    """Why a Task that is to be deleted is left alone for now."""

    TRACKED = "Tracked"
    BEING_DELETED = "BeingDeleted"
    CHANGED = "Changed"
    REFUSED = "Refused"


def decide_expired(
    tasks: Iterable[FinishedTask], history: HistorySpec | None, now: datetime
) -> Verdict:
    """Return which of a queue's finished Tasks are to be deleted.

    history: the TaskQueue's; None: there is no TaskQueue, so that only a Task's own TTL holds.
    """
    ages = _ages(history)
    expired: list[Expired] = []
    kept: list[FinishedTask] = []
    dues: dict[str, datetime] = {}
    for task in sorted(tasks, key=lambda one: (one.finished, one.name)):
        age = task.ttl if task.ttl is not None else ages.get(task.phase)
        if age is not None and task.finished + age <= now:
            expired.append(Expired(task, "age"))
            continue
        kept.append(task)
        if age is not None:
            dues[task.name] = task.finished + age
    if history is not None and history.limit is not None:
        # What its age has claimed does not count: it will not be there.
        for task in kept[: max(0, len(kept) - history.limit)]:
            expired.append(Expired(task, "limit"))
            dues.pop(task.name, None)
        expired.sort(key=lambda one: (one.task.finished, one.task.name))
    return Verdict(expired, min(dues.values(), default=None))


def _ages(history: HistorySpec | None) -> dict[str, timedelta]:
    """Return the age at which Tasks of a phase are deleted; phases without one are left out."""
    if history is None:
        return {}
    ended = {"Failed": history.failed, "Cancelled": history.failed}
    given = {"Succeeded": history.succeeded, **ended}
    return {phase: parse_duration(text) for phase, text in given.items() if text is not None}


def find_obstacle(metadata: Mapping[str, Any], version: str, *, git_ops: bool) -> Obstacle | None:
    """Return what keeps a Task from being deleted.

    metadata: as it is now.
    version: `resourceVersion` of the list that showed it as finished.
    git_ops: delete it even if a GitOps tool tracks it.
    """
    if "deletionTimestamp" in metadata:
        return Obstacle.BEING_DELETED
    # A list shows no UIDs. But whatever was created after it, or brought to life again, is newer
    # than the list. These numbers are etcd's revisions, which Kubernetes lets clients compare.
    if int(metadata["resourceVersion"]) > int(version):
        return Obstacle.CHANGED
    if not git_ops and is_tracked(metadata):
        return Obstacle.TRACKED
    return None


def is_tracked(metadata: Mapping[str, Any]) -> bool:
    """Return whether a GitOps tool would create the object again when it is deleted."""
    labels = metadata.get("labels") or {}
    annotations = metadata.get("annotations") or {}
    return any(key in labels for key in GITOPS_LABELS) or any(
        key in annotations for key in GITOPS_ANNOTATIONS
    )
