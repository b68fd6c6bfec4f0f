"""The operator's few writes to a Task's status, as JSON Patches.

Each begins with tests of UID and phase: a bare PATCH would be applied to a new Task of the same
name, or over a worker's outcome.
"""

from datetime import datetime
from typing import Any

from taskqueue_api.conditions import MESSAGE_MAX, rfc3339
from taskqueue_api.task import ERROR_MESSAGE_MAX
from taskqueue_operator.domain.dispatching import Refusal, WaitingTask

JsonPatch = list[dict[str, Any]]


def patch_announcement(task: WaitingTask) -> JsonPatch:
    """Return the patch that announces the Task's next publication.

    task: as it will be published, its `dispatches` already raised.
    """
    return [
        *_tests(task),
        {"op": "test", "path": "/status/dispatches", "value": task.dispatches - 1},
        {"op": "add", "path": "/status/dispatches", "value": task.dispatches},
    ]


def patch_dispatched(
    task: WaitingTask, *, ok: bool, reason: str, message: str, now: datetime
) -> JsonPatch:
    """Return the patch that says that a Task is kept from the queue, or no longer."""
    conditions = [
        {"type": "Reconciling", "status": "True", "reason": task.phase, "message": ""},
        {"type": "Succeeded", "status": "Unknown", "reason": task.phase, "message": ""},
        {
            "type": "Dispatched",
            "status": "True" if ok else "False",
            "reason": reason,
            "message": message[:MESSAGE_MAX],
            "lastTransitionTime": rfc3339(now),
        },
    ]
    return [*_tests(task), {"op": "add", "path": "/status/conditions", "value": conditions}]


def patch_refused(task: WaitingTask, refusal: Refusal, now: datetime) -> JsonPatch:
    """Return the patch that fails a Task that can never be run."""
    moment = rfc3339(now)
    error = {"type": refusal.type, "message": refusal.message[:ERROR_MESSAGE_MAX]}
    conditions = [
        {
            "type": kind,
            "status": status,
            "reason": refusal.type,
            "message": refusal.message[:MESSAGE_MAX],
            "lastTransitionTime": moment,
        }
        for kind, status in (("Succeeded", "False"), ("Finished", "True"), ("Stalled", "True"))
    ]
    return [
        *_tests(task),
        {"op": "add", "path": "/status/phase", "value": "Failed"},
        {"op": "add", "path": "/status/completionTime", "value": moment},
        {"op": "add", "path": "/status/error", "value": error},
        {"op": "add", "path": "/status/conditions", "value": conditions},
    ]


def _tests(task: WaitingTask) -> JsonPatch:
    return [
        {"op": "test", "path": "/metadata/uid", "value": task.uid},
        {"op": "test", "path": "/status/phase", "value": task.phase},
    ]
