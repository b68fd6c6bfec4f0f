"""Tasks as the API server shows them, and the patches that change their status."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from taskqueue_api.conditions import MESSAGE_MAX, rfc3339
from taskqueue_api.messages import TaskUid
from taskqueue_api.task import FINISHED_PHASES
from taskqueue_worker.outcomes import Failure, Outcome, Success

Patch = list[dict[str, Any]]

_REASON_MAX = 64


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

    @property
    def concluded(self) -> bool:
        """Whether the phase is a final one."""
        return self.phase in FINISHED_PHASES


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
        start_time=status.get("startTime"),
        worker=status.get("worker", {}),
        error_type=error.get("type", ""),
        error_message=error.get("message", ""),
    )


@dataclass(frozen=True)
class Attempt:
    """One attempt that this worker makes. started: by the clock of this node."""

    uid: TaskUid
    run: int
    number: int
    started: datetime
    worker: Identity


def running_patch(attempt: Attempt, resource_version: str | None, now: datetime) -> Patch:
    """Return the patch that claims a Task.

    resource_version: of the read that the claim is based on; None: the handler runs already.
    """
    conditions = [
        _condition("Reconciling", "True", "Running", "", now),
        _condition("Succeeded", "Unknown", "Running", "", now),
    ]
    values = {"phase": "Running", **_attempt_values(attempt), "conditions": conditions}
    return _patch(attempt.uid, resource_version, values)


def finished_patch(attempt: Attempt, outcome: Outcome, seconds: float, now: datetime) -> Patch:
    """Return the patch with an attempt's outcome. seconds: how long the handler ran."""
    values = {
        **_attempt_values(attempt),
        "completionTime": rfc3339(now),
        "duration": format_duration(seconds),
        **_outcome_values(outcome, now),
    }
    return _patch(attempt.uid, None, values)


def worker_lost_patch(view: TaskView, error: Failure, now: datetime) -> Patch:
    """Return the patch that gives a Task up whose last possible worker is lost."""
    values = {"completionTime": rfc3339(now), **_outcome_values(error, now)}
    return _patch(view.uid, view.resource_version, values)


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
    reason = reason_of(outcome.type)
    message = outcome.message[:MESSAGE_MAX]
    conditions = [
        _condition("Succeeded", "False", reason, message, now),
        _condition("Finished", "True", reason, "", now),
        _condition("Stalled", "True", reason, "", now),
    ]
    error = {"type": outcome.type, "message": outcome.message}
    return {"phase": "Failed", "error": error, "conditions": conditions}


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


def concluded_view(attempt: Attempt, outcome: Outcome) -> TaskView:
    """Return the Task as it is after its outcome was written."""
    failed = isinstance(outcome, Failure)
    return TaskView(
        uid=attempt.uid,
        resource_version="",
        phase="Failed" if failed else "Succeeded",
        run=attempt.run,
        attempts=attempt.number,
        dispatches=0,
        start_time=None,
        worker=attempt.worker.to_status(),
        error_type=outcome.type if isinstance(outcome, Failure) else "",
        error_message=outcome.message if isinstance(outcome, Failure) else "",
    )
