"""The operator's few writes to a Task's status, as JSON Patches.

Each begins with tests of UID, phase and run: a bare PATCH would be applied to a new Task of the
same name, over a worker's outcome, or to the next run.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from taskqueue_api.conditions import MESSAGE_MAX, rfc3339
from taskqueue_api.task import ERROR_MESSAGE_MAX, NEW_STATUS
from taskqueue_operator.domain.dispatching import Refusal, WaitingTask
from taskqueue_operator.domain.rerunning import Rerun

JsonPatch = list[dict[str, Any]]


def patch_announcement(task: WaitingTask) -> JsonPatch:
    """Return the patch that announces the Task's next publication. task: as it was read."""
    return [
        *_tests(task),
        {"op": "test", "path": "/status/dispatches", "value": task.dispatches},
        {"op": "add", "path": "/status/dispatches", "value": task.announced().dispatches},
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
    """Return the patch that fails a Task that can never be run, or no more."""
    error = {"type": refusal.type, "message": refusal.message[:ERROR_MESSAGE_MAX]}
    types = {"Succeeded": "False", "Finished": "True", "Stalled": "True"}
    return [
        *_end(task, "Failed", _conditions(types, refusal, now), now),
        {"op": "add", "path": "/status/error", "value": error},
    ]


def patch_cancelled(task: WaitingTask, now: datetime) -> JsonPatch:
    """Return the patch that ends a Task that was to be cancelled, and had not been started."""
    why = Refusal("Cancelled", "spec.cancel is true; it waited for its turn")
    types = {"Succeeded": "False", "Finished": "True"}
    return _end(task, "Cancelled", _conditions(types, why, now), now)


def patch_lost_cancelled(body: Mapping[str, Any], now: datetime) -> JsonPatch:
    """Return the patch that ends a running Task that was to be cancelled, and whose worker is lost.

    body: the Task as it was read. Nothing but that very state is ended.
    """
    status = body["status"]
    why = Refusal("Cancelled", "spec.cancel is true; its worker was lost")
    types = {"Succeeded": "False", "Finished": "True"}
    return [
        {"op": "test", "path": "/metadata/uid", "value": body["metadata"]["uid"]},
        {"op": "test", "path": "/status/phase", "value": "Running"},
        {"op": "test", "path": "/status/run", "value": status.get("run", 0)},
        {"op": "test", "path": "/status/attempts", "value": status["attempts"]},
        {"op": "test", "path": "/status/worker", "value": status["worker"]},
        *_final("Cancelled", _conditions(types, why, now), now),
    ]


def patch_rerun(rerun: Rerun) -> JsonPatch:
    """Return the patch that starts a finished Task all over.

    The status as a whole is that of a new Task: nothing of the last run is left.
    """
    return [
        {"op": "test", "path": "/metadata/uid", "value": rerun.uid},
        {"op": "test", "path": "/metadata/resourceVersion", "value": rerun.resource_version},
        {"op": "add", "path": "/status", "value": {**NEW_STATUS, "run": rerun.run}},
    ]


def _end(
    task: WaitingTask, phase: str, conditions: list[dict[str, str]], now: datetime
) -> JsonPatch:
    patch = [*_tests(task), *_final(phase, conditions, now)]
    if task.retrying:
        patch.append({"op": "remove", "path": "/status/nextAttemptTime"})
    return patch


def _final(phase: str, conditions: list[dict[str, str]], now: datetime) -> JsonPatch:
    return [
        {"op": "add", "path": "/status/phase", "value": phase},
        {"op": "add", "path": "/status/completionTime", "value": rfc3339(now)},
        {"op": "add", "path": "/status/conditions", "value": conditions},
    ]


def _conditions(types: Mapping[str, str], why: Refusal, now: datetime) -> list[dict[str, str]]:
    return [
        {
            "type": kind,
            "status": status,
            "reason": why.type,
            "message": why.message[:MESSAGE_MAX],
            "lastTransitionTime": rfc3339(now),
        }
        for kind, status in types.items()
    ]


def _tests(task: WaitingTask) -> JsonPatch:
    return [
        {"op": "test", "path": "/metadata/uid", "value": task.uid},
        {"op": "test", "path": "/status/phase", "value": task.phase},
        {"op": "test", "path": "/status/run", "value": task.run},
    ]
