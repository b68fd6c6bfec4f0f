"""Tasks as the API server shows them, and the patches that change their status."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from taskqueue_api.conditions import MESSAGE_MAX, read_time, rfc3339, rfc3339_milli
from taskqueue_api.messages import TaskUid
from taskqueue_api.task import FINISHED_PHASES
from taskqueue_worker.outcomes import Cancelled, Failure, Outcome, Success, failure
from taskqueue_worker.retrying import Again

Patch = list[dict[str, Any]]

_REASON_MAX = 64
_LONG_AGO = "2000-01-01T00:00:00Z"
"""For the time of a next attempt that cannot be read: it is due."""
_PHASES = {Success: "Succeeded", Failure: "Failed", Cancelled: "Cancelled"}


@dataclass(frozen=True)
class Identity:
    """This worker. instance: one life of the process."""

    pod: str
    pod_uid: str
    node: str
    instance: str

    def to_status(self) -> dict[str, str]:
        """Return `status.worker`."""
        return {
            "pod": self.pod,
            "podUid": self.pod_uid,
            "node": self.node,
            "instance": self.instance,
        }


@dataclass(frozen=True)
class TaskView:
    """What a GET of a Task shows, as far as the worker cares."""

    uid: TaskUid
    resource_version: str
    phase: str
    run: int
    attempts: int
    dispatches: int
    start_time: str | None
    worker: Mapping[str, str]
    error_type: str
    error_message: str
    next_attempt_time: str | None = None
    cancel: bool = False
    has_progress: bool = False

    @property
    def concluded(self) -> bool:
        """Whether the phase is a final one."""
        return self.phase in FINISHED_PHASES

    def has_ended(self, attempt: int) -> bool:
        """Return whether this attempt is over, well or not."""
        return self.concluded or (self.phase == "Retrying" and attempt <= self.attempts)


def view_task(body: Mapping[str, Any]) -> TaskView:
    """Return a Task as read from the API server, whose schema guarantees the shape."""
    status = body.get("status", {})
    error = status.get("error", {})
    return TaskView(
        uid=TaskUid(body["metadata"]["uid"]),
        resource_version=body["metadata"]["resourceVersion"],
        phase=status.get("phase", "Pending"),
        run=status.get("run", 0),
        attempts=status.get("attempts", 0),
        dispatches=status.get("dispatches", 1),
        start_time=_readable(status.get("startTime"), None),
        worker=status.get("worker", {}),
        error_type=error.get("type", ""),
        error_message=error.get("message", ""),
        next_attempt_time=_next_attempt_time(status),
        cancel=bool(body.get("spec", {}).get("cancel")),
        has_progress="progress" in status,
    )


def _next_attempt_time(status: Mapping[str, Any]) -> str | None:
    text = status.get("nextAttemptTime")
    return None if text is None else _readable(text, _LONG_AGO)


def _readable(text: str | None, otherwise: str | None) -> str | None:
    """Return a time of a status, if it is one: the schema does not say so."""
    return otherwise if read_time(text) is None else text


@dataclass(frozen=True)
class Progress:
    """How far a handler says it has come. percent: 0 to 100. message: bounded, may be empty."""

    percent: int
    message: str = ""

    def to_status(self) -> dict[str, Any]:
        """Return `status.progress`."""
        return {"percent": self.percent, "message": self.message}


@dataclass(frozen=True)
class Attempt:
    """One attempt that this worker makes. started: by the clock of this node."""

    uid: TaskUid
    run: int
    number: int
    started: datetime
    worker: Identity


def running_patch(
    attempt: Attempt, view: TaskView | None, now: datetime, progress: Progress | None = None
) -> Patch:
    """Return the patch that claims a Task.

    view: the read that the claim is based on; None: the handler runs already, and has come as far
    as `progress`. One that was running shows from now on that its attempt was lost.
    """
    conditions = [
        _condition("Reconciling", "True", "Running", "", now),
        _condition("Succeeded", "Unknown", "Running", "", now),
    ]
    values = {
        "phase": "Running",
        **_attempt_values(attempt),
        "conditions": conditions,
        **_progress_values(progress),
    }
    patch = _patch(attempt.uid, view.resource_version if view else None, values)
    if view is not None and view.has_progress:
        # Of the attempt before; this one starts from nothing.
        patch.append({"op": "remove", "path": "/status/progress"})
    if view is not None and view.phase == "Running":
        error = _error_value(lost_with_worker(view))
        patch.append({"op": "add", "path": "/status/error", "value": error})
    return patch + _no_next_attempt(view)


def _no_next_attempt(view: TaskView | None) -> Patch:
    """Return what a Task that waited for its next attempt no longer shows."""
    waited = view is not None and view.next_attempt_time is not None
    return [{"op": "remove", "path": "/status/nextAttemptTime"}] if waited else []


def progress_patch(attempt: Attempt, progress: Progress) -> Patch:
    """Return the patch that shows how far an attempt has come, and nothing of any other.

    The API server refuses it unless the Task is shown as running by this very attempt.
    """
    mine = {
        "phase": "Running",
        "run": attempt.run,
        "attempts": attempt.number,
        "worker/instance": attempt.worker.instance,
    }
    tests = [
        {"op": "test", "path": f"/status/{field}", "value": value} for field, value in mine.items()
    ]
    values = _progress_values(progress)
    first, *rest = _patch(attempt.uid, None, values)
    return [first, *tests, *rest]


def _progress_values(progress: Progress | None) -> dict[str, Any]:
    return {} if progress is None else {"progress": progress.to_status()}


def lost_with_worker(view: TaskView) -> Failure:
    """Return how the attempt ended that a running Task shows, as its worker is there no more."""
    pod = view.worker.get("pod", "")
    return failure("WorkerLost", f"attempt {view.attempts} was lost with its worker, pod '{pod}'")


@dataclass(frozen=True)
class Ended:
    """An attempt that is over.

    again: when there is another. seconds: how long the handler ran. progress: what it said last
    of how far it had come; None: nothing.
    """

    attempt: Attempt
    outcome: Outcome
    again: Again | None
    seconds: float
    completed: datetime
    progress: Progress | None = None

    @property
    def next_attempt_time(self) -> str | None:
        """When the next attempt starts; None: there is none."""
        return rfc3339_milli(self.completed + self.again.delay) if self.again else None


def ended_patch(ended: Ended) -> Patch:
    """Return the patch with what came of an attempt."""
    attempt, outcome = ended.attempt, ended.outcome
    values = {
        **_attempt_values(attempt),
        "duration": format_duration(ended.seconds),
        **_progress_values(ended.progress),
        **(_retrying_values(ended, ended.again) if ended.again else _finished_values(ended)),
    }
    patch = _patch(attempt.uid, None, values)
    if isinstance(outcome, Success) and attempt.number > 1:
        # The failure of the attempt before. Set first: it may not be there, and what is not
        # there cannot be removed.
        nothing = {"type": "", "message": ""}
        patch.append({"op": "add", "path": "/status/error", "value": nothing})
        patch.append({"op": "remove", "path": "/status/error"})
    return patch


def _finished_values(ended: Ended) -> dict[str, Any]:
    now = ended.completed
    return {"completionTime": rfc3339(now), **_outcome_values(ended.outcome, now)}


def _retrying_values(ended: Ended, again: Again) -> dict[str, Any]:
    error, now = again.error, ended.completed
    what = f"attempt {ended.attempt.number} failed, {ended.attempt.number + 1} comes at "
    conditions = [
        _condition("Reconciling", "True", "Retrying", f"{what}{ended.next_attempt_time}", now),
        _condition("Succeeded", "Unknown", reason_of(error.type), error.message[:MESSAGE_MAX], now),
    ]
    return {
        "phase": "Retrying",
        "nextAttemptTime": ended.next_attempt_time,
        "error": _error_value(error),
        "conditions": conditions,
    }


def conclude_patch(view: TaskView, outcome: Outcome, now: datetime) -> Patch:
    """Return the patch that ends a Task without another attempt, based on a read."""
    values = {"completionTime": rfc3339(now), **_outcome_values(outcome, now)}
    return _patch(view.uid, view.resource_version, values) + _no_next_attempt(view)


def _attempt_values(attempt: Attempt) -> dict[str, Any]:
    return {
        "run": attempt.run,
        "attempts": attempt.number,
        "startTime": rfc3339(attempt.started),
        "worker": attempt.worker.to_status(),
    }


def _outcome_values(outcome: Outcome, now: datetime) -> dict[str, Any]:
    if isinstance(outcome, Success):
        conditions = [
            _condition("Succeeded", "True", "Succeeded", "", now),
            _condition("Finished", "True", "Succeeded", "", now),
        ]
        values: dict[str, Any] = {"phase": "Succeeded", "conditions": conditions}
        if outcome.result is not None:
            values["result"] = json.loads(outcome.result)
        return values
    if isinstance(outcome, Cancelled):
        conditions = [
            _condition("Succeeded", "False", "Cancelled", "spec.cancel is true", now),
            _condition("Finished", "True", "Cancelled", "", now),
        ]
        return {"phase": "Cancelled", "conditions": conditions}
    reason = reason_of(outcome.type)
    message = outcome.message[:MESSAGE_MAX]
    conditions = [
        _condition("Succeeded", "False", reason, message, now),
        _condition("Finished", "True", reason, "", now),
        _condition("Stalled", "True", reason, "", now),
    ]
    return {"phase": "Failed", "error": _error_value(outcome), "conditions": conditions}


def _error_value(error: Failure) -> dict[str, str]:
    log = {"log": error.log} if error.log else {}
    return {"type": error.type, "message": error.message, **log}


def _condition(kind: str, status: str, reason: str, message: str, now: datetime) -> dict[str, str]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": rfc3339(now),
    }


def _patch(uid: TaskUid, resource_version: str | None, values: Mapping[str, Any]) -> Patch:
    """Return a JSON Patch that sets fields of the status of this one Task.

    `add` on a member of an object sets it, there or not.
    """
    patch: Patch = [{"op": "test", "path": "/metadata/uid", "value": uid}]
    if resource_version is not None:
        path = "/metadata/resourceVersion"
        patch.append({"op": "test", "path": path, "value": resource_version})
    patch += [
        {"op": "add", "path": f"/status/{field}", "value": value} for field, value in values.items()
    ]
    return patch


def reason_of(error_type: str) -> str:
    """Return an error type as the reason of a condition: ASCII letters and digits, CamelCase."""
    words = re.findall(r"[A-Za-z0-9]+", error_type)
    reason = "".join(word[0].upper() + word[1:] for word in words).lstrip("0123456789")
    return reason[:_REASON_MAX] or "HandlerFailed"


def format_duration(seconds: float) -> str:
    """Return a length of time as people read it: `14ms`, `3.2s`, `2m5s`, `1h2m`."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    if milliseconds < 59_950:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m"


def concluded_view(view: TaskView, outcome: Outcome) -> TaskView:
    """Return a Task as it is after it was ended without another attempt."""
    kind, message = _error_of(outcome)
    phase = _PHASES[type(outcome)]
    return replace(
        view, phase=phase, next_attempt_time=None, error_type=kind, error_message=message
    )


def ended_view(ended: Ended) -> TaskView:
    """Return the Task as it is after its outcome was written."""
    attempt, outcome = ended.attempt, ended.outcome
    kind, message = _error_of(outcome)
    return TaskView(
        uid=attempt.uid,
        resource_version="",
        phase="Retrying" if ended.again else _PHASES[type(outcome)],
        run=attempt.run,
        attempts=attempt.number,
        dispatches=0,
        start_time=None,
        worker=attempt.worker.to_status(),
        error_type=kind,
        error_message=message,
        next_attempt_time=ended.next_attempt_time,
    )


def _error_of(outcome: Outcome) -> tuple[str, str]:
    return (outcome.type, outcome.message) if isinstance(outcome, Failure) else ("", "")
