"""Whether a message's Task may be started, and how that is told to the others. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from taskqueue_api.conditions import rfc3339
from taskqueue_api.holder import is_alive
from taskqueue_api.messages import TaskHeaders, TaskUid
from taskqueue_worker.outcomes import DEADLINE_EXCEEDED, Cancelled, Failure, final
from taskqueue_worker.statuses import Identity, TaskView, lost_with_worker

FRESH_SECONDS = 5.0
MAX_ATTEMPTS = 5
"""A Task whose worker was lost is given up after so many attempts, or more where its retry policy
allows more. Also without any policy: that a node went away is no fault of the Task."""


class Path(Enum):
    """How a message is claimed."""

    FRESH = "fresh"
    """Start at once; write Running only if it still runs after a second."""
    PLAIN = "plain"
    """Read the Task, start; write Running only if it still runs after a second."""
    CAREFUL = "careful"
    """Read the Task, write Running, start."""


def choose_path(
    headers: TaskHeaders,
    *,
    redelivered: bool,
    server_now: float | None,
    suspect: bool = False,
    always: bool = False,
) -> Path:
    """Return how a message is to be claimed.

    redelivered: it may have been run before; so may a dead letter that was put back.
    server_now: the API server's time in seconds since 1970; None: unknown.
    suspect: whether the operator hinted at the Task.
    always: whether the TaskQueue wants every start to be written first.
    """
    first = headers.attempt == 1 and headers.run == 0 and headers.dispatches == 1
    # What comes through the ladder may come twice.
    if always or redelivered or not first or headers.delayed or suspect:
        return Path.CAREFUL
    if server_now is not None and is_late(headers, server_now):
        return Path.CAREFUL
    # A Task from the future means that the estimate is wrong.
    if server_now is not None and -1 <= server_now - headers.created.timestamp() < FRESH_SECONDS:
        return Path.FRESH
    return Path.PLAIN


def is_late(headers: TaskHeaders, server_now: float) -> bool:
    """Return whether no attempt may be started any more."""
    return headers.deadline is not None and headers.deadline.timestamp() < server_now


@dataclass(frozen=True)
class Start:
    """Start attempt `attempt`. write: write Running first, based on the version that was read."""

    attempt: int
    write: bool


@dataclass(frozen=True)
class Drop:
    """Nothing is to be done for this message; acknowledge it. reason: for the log."""

    reason: str


@dataclass(frozen=True)
class Concluded:
    """The message's attempt is over: settle the message from the Task's status."""


@dataclass(frozen=True)
class AskPod:
    """Another worker says it runs it: whether that worker lives decides."""

    pod: str


@dataclass(frozen=True)
class Conclude:
    """It is not to be started, now or ever; write so."""

    outcome: Failure | Cancelled


@dataclass(frozen=True)
class Park:
    """A living worker runs it: judge again later."""


Verdict = Start | Drop | Concluded | AskPod | Conclude | Park


def judge(
    view: TaskView | None,
    uid: TaskUid,
    headers: TaskHeaders,
    path: Path,
    me: Identity,
    most: int,
    server_now: float,
) -> Verdict:
    """Return what a GET of the message's Task means for it.

    view: None when it is gone. most: attempts in all, by the Task's retry policy.

    The caller does not run the Task now: a message for one that it runs never comes here.
    """
    if view is None:
        return Drop("the Task is gone")
    if view.uid != uid:
        return Drop("the Task was deleted and created again")
    if view.run != headers.run:
        return Drop(f"the Task is in run {view.run}, the message is of run {headers.run}")
    if view.has_ended(headers.attempt):
        return Concluded()
    if view.phase == "Running":
        if view.worker.get("instance") == me.instance:
            # Claimed by this process, then lost before it was started, say with the connection.
            return next_attempt(view, headers, server_now, most)
        return AskPod(view.worker.get("pod", ""))
    if view.cancel:
        return Conclude(Cancelled())
    if is_late(headers, server_now):
        return Conclude(_too_late(headers, view.attempts + 1))
    plain = path is Path.PLAIN and view.dispatches == headers.dispatches
    return Start(view.attempts + 1, write=not plain)


def judge_holder(
    view: TaskView,
    headers: TaskHeaders,
    pod: Mapping[str, Any] | None,
    server_now: float,
    most: int,
) -> Verdict:
    """Return what the pod of the worker that holds a Task means. pod: None when it is gone."""
    if is_alive(view.worker.get("podUid"), view.start_time, pod, server_now):
        return Park()
    return next_attempt(view, headers, server_now, most)


def next_attempt(view: TaskView, headers: TaskHeaders, server_now: float, most: int) -> Verdict:
    """Return the verdict on a running Task whose worker is lost. most: attempts in all."""
    if view.cancel:
        return Conclude(Cancelled())
    if view.attempts >= max(most, MAX_ATTEMPTS) or is_late(headers, server_now):
        return Conclude(lost_with_worker(view))
    return Start(view.attempts + 1, write=True)


def _too_late(headers: TaskHeaders, attempt: int) -> Failure:
    when = rfc3339(headers.deadline) if headers.deadline else ""
    words = f"attempt {attempt} was not started before the deadline, {when}"
    return final(DEADLINE_EXCEEDED, words)


def is_wanted(view: TaskView | None, uid: TaskUid, run: int, attempt: int, me: Identity) -> bool:
    """Return whether an attempt that runs here is to go on. view: None when the Task is gone."""
    if view is None or view.uid != uid or view.run != run or view.cancel or view.concluded:
        return False
    another = view.worker.get("instance") not in (None, me.instance)
    return view.attempts <= attempt and not (another and view.attempts == attempt)
