"""The API server's part of the model: Tasks as JSON text, and JSON Patches on their status."""

import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from taskqueue_api.conditions import rfc3339
from taskqueue_api.task import NEW_STATUS
from tests.protocol.rules import task_fault

NAMESPACE = "shop"
QUEUE = "emails"
HANDLER = "welcome"


class Answer(NamedTuple):
    """What a write comes to. body: as stored; None: refused, and `words` say why."""

    body: str | None
    words: str


def build_task(name: str, uid: str, created: datetime) -> str:
    """Return a new Task as the API server stores it."""
    return json.dumps(
        {
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "uid": uid,
                "creationTimestamp": rfc3339(created),
                "resourceVersion": "1",
            },
            "spec": {"queue": QUEUE, "handler": HANDLER, "priority": 4, "rerun": 0},
            "status": NEW_STATUS,
        }
    )


@cache
def load(body: str) -> Mapping[str, Any]:
    """Return a stored Task; not to be changed."""
    task: Mapping[str, Any] = json.loads(body)
    return task


@cache
def labelled(body: str) -> str:
    """Return a Task after an edit of its labels."""
    task = json.loads(body)
    task["metadata"]["labels"] = {"edited": "yes"}
    return _stored(task)


@cache
def run_again(body: str) -> str:
    """Return a Task after a user asked for another run; before its end, that is refused."""
    task = json.loads(body)
    task["spec"]["rerun"] += 1
    return body if task_fault(load(body), task) else _stored(task)


@cache
def apply_patch(body: str, patch: str) -> Answer:
    """Return what a JSON Patch of the status makes of a Task."""
    task = json.loads(body)
    for step in json.loads(patch):
        *folders, field = step["path"].strip("/").split("/")
        place = task
        for folder in folders:
            place = place[folder]
        if step["op"] == "test" and place.get(field) != step["value"]:
            return Answer(None, f"testing path {step['path']} failed")
        if step["op"] == "remove":
            if field not in place:
                return Answer(None, f"nothing to remove at {step['path']}")
            del place[field]
        elif step["op"] == "add":
            place[field] = step["value"]
    fault = task_fault(load(body), task)
    return Answer(None, f"status: {fault}") if fault else Answer(_stored(task), "")


def _stored(task: dict[str, Any]) -> str:
    version = int(task["metadata"]["resourceVersion"])
    task["metadata"]["resourceVersion"] = str(version + 1)
    return json.dumps(task)


def forget_answers() -> None:
    """Forget what was computed before, as the rules are others now."""
    apply_patch.cache_clear()
    run_again.cache_clear()
