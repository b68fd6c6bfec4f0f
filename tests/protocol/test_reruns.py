"""What the schema says to reruns, with the patches that operator and worker really send."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from e2e.stage import ILL, WELL
from taskqueue_api.messages import TaskUid
from taskqueue_api.task import NEW_STATUS
from taskqueue_operator.domain.rerunning import decide_rerun
from taskqueue_operator.domain.task_status import patch_rerun
from taskqueue_worker.outcomes import Success, failure
from taskqueue_worker.statuses import Attempt, Ended, Identity, ended_patch, running_patch
from tests.protocol.api_server import apply_patch, build_task, load
from tests.protocol.rules import creation_fault, task_fault

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
UID = TaskUid("a1")
ME = Identity("p", "pu", "n", "me")
RUNNING = {"phase": "Running", "attempts": 1, "worker": {"pod": "p", "instance": "me"}}


def build(phase: str = "Failed", *, run: int = 0, **spec: Any) -> dict[str, Any]:
    """Return a Task that has come so far, in a run that was asked for."""
    task: dict[str, Any] = json.loads(build_task("a", UID, NOW))
    task["spec"] |= {"rerun": run, "payload": {"to": "a"}, **spec}
    task["status"]["run"] = run
    if phase in ("Running", "Succeeded", "Failed", "Cancelled"):
        task["status"] |= RUNNING | {"phase": phase}
    if phase in ("Succeeded", "Failed", "Cancelled"):
        task["status"]["completionTime"] = "2026-01-02T12:00:00Z"
        task["status"]["conditions"] = WELL if phase == "Succeeded" else ILL
    if phase in ("Failed", "Retrying"):
        task["status"]["error"] = {"type": "Boom", "message": "why"}
    if phase == "Retrying":
        task["status"] |= {"phase": phase, "attempts": 1, "nextAttemptTime": "2026-01-02T12:01:00Z"}
    return task


def edited(task: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Return a Task after an edit of its spec."""
    return {**task, "spec": {**task["spec"], **spec}}


def written(task: dict[str, Any], **status: Any) -> dict[str, Any]:
    """Return a Task after a write to its status; None takes a field away."""
    merged = {**task["status"], **status}
    return {**task, "status": {key: item for key, item in merged.items() if item is not None}}


@pytest.mark.parametrize(
    ("before", "spec", "words"),
    [
        pytest.param(build("Failed"), {"rerun": 1}, None, id="failed"),
        pytest.param(build("Succeeded"), {"rerun": 1}, None, id="succeeded"),
        pytest.param(build("Failed", run=1), {"rerun": 2}, None, id="a second time"),
        pytest.param(build("Failed"), {"rerun": 7}, None, id="by more than one"),
        pytest.param(
            build("Failed", retry={"maxAttempts": 2}), {"rerun": 1}, None, id="with a policy"
        ),
        pytest.param(
            build(), {"rerun": 1, "ttlAfterFinished": "1h"}, None, id="with another time to live"
        ),
        pytest.param(build("Pending"), {"rerun": 1}, "rerun of an unfinished Task", id="pending"),
        pytest.param(build("Running"), {"rerun": 1}, "rerun of an unfinished Task", id="running"),
        pytest.param(build("Retrying"), {"rerun": 1}, "rerun of an unfinished", id="retrying"),
        pytest.param(
            build("Running", run=2), {"rerun": 3}, "rerun of an unfinished", id="in its rerun"
        ),
        pytest.param(build(run=2), {"rerun": 1}, "rerun must not go down", id="down"),
        pytest.param(
            build("Cancelled", cancel=True), {"rerun": 1}, "cannot be revived", id="cancelled"
        ),
        pytest.param(
            build("Succeeded", cancel=True), {"rerun": 1}, "cannot be revived", id="too late"
        ),
        pytest.param(build(), {"rerun": 1, "cancel": True}, "cannot be revived", id="and cancel"),
        pytest.param(
            build(), {"rerun": 1, "handler": "b"}, "but for cancel, rerun and", id="and handler"
        ),
        pytest.param(
            build(), {"rerun": 1, "retry": {"maxAttempts": 9}}, "but for cancel, rerun", id="policy"
        ),
    ],
)
def test_who_may_ask_for_a_rerun(
    before: dict[str, Any], spec: dict[str, Any], words: str | None
) -> None:
    fault = task_fault(before, edited(before, **spec))
    assert fault is None if words is None else words in (fault or "")


def test_a_task_that_is_to_be_run_again_can_be_cancelled() -> None:
    asked = edited(build(), rerun=1)
    assert task_fault(asked, edited(asked, cancel=True)) is None


@pytest.mark.parametrize(("rerun", "allowed"), [(0, True), (1, False)])
def test_a_new_task_asks_for_no_rerun(rerun: int, *, allowed: bool) -> None:
    fault = creation_fault({"spec": {**build("Pending")["spec"], "rerun": rerun}})
    assert (fault is None) is allowed


@pytest.mark.parametrize("rerun", [1, 5])
@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_rerun_begins_like_a_new_task(phase: str, rerun: int) -> None:
    asked = edited(written(build(phase), result={"sum": 1}, duration="1s"), rerun=rerun)
    wanted = decide_rerun(asked)
    assert wanted
    answer = apply_patch(json.dumps(asked), json.dumps(patch_rerun(wanted)))
    assert answer.words == ""
    begun = load(answer.body or "")
    assert begun["status"] == {**NEW_STATUS, "run": rerun}
    assert decide_rerun(begun) is None


@pytest.mark.parametrize(
    "path", ["/metadata/uid", "/metadata/resourceVersion"], ids=["another Task", "it has changed"]
)
def test_a_rerun_begins_only_as_it_was_read(path: str) -> None:
    asked = edited(build(), rerun=1)
    wanted = decide_rerun(asked)
    assert wanted
    asked["metadata"][path.rpartition("/")[2]] = "another"
    assert path in apply_patch(json.dumps(asked), json.dumps(patch_rerun(wanted))).words


NEW = {
    "phase": "Pending",
    "run": 1,
    "attempts": 0,
    "worker": None,
    "completionTime": None,
    "conditions": NEW_STATUS["conditions"],
}


@pytest.mark.parametrize(
    ("rerun", "change", "words"),
    [
        pytest.param(0, NEW, "nobody has asked for that run", id="nobody has asked"),
        pytest.param(1, {**NEW, "run": 2}, "nobody has asked for that run", id="a run too far"),
        pytest.param(2, NEW, "rerun of an unfinished Task", id="a run in between"),
        pytest.param(1, {**NEW, "run": 0}, "the Task is finished", id="the same run"),
        pytest.param(1, {**NEW, "phase": "Running"}, "the Task is finished", id="at once running"),
        pytest.param(1, {**NEW, "attempts": 1}, "nothing of the last run", id="attempts left"),
        pytest.param(1, {**NEW, "worker": {"pod": "p"}}, "", id="worker left"),
        pytest.param(1, {**NEW, "dispatches": 4}, "nothing of the last run", id="dispatches"),
        pytest.param(
            1, {**NEW, "completionTime": "2026-01-02T12:00:00Z"}, "nothing of the", id="end left"
        ),
        pytest.param(
            1,
            {**NEW, "conditions": [{"type": "Finished", "status": "True", "reason": "Failed"}]},
            "nothing of the last run",
            id="still said to be finished",
        ),
        pytest.param(1, {**NEW, "conditions": None}, "nothing of the last", id="no conditions"),
        pytest.param(1, {"run": 1}, "the Task is finished", id="only the number"),
    ],
)
def test_a_forged_rerun_is_refused(rerun: int, change: dict[str, Any], words: str) -> None:
    asked = edited(build("Succeeded"), rerun=rerun)
    fault = task_fault(asked, written(asked, **change))
    assert fault is not None
    assert words in fault


def test_the_row_of_these_is_taken_without_its_fault() -> None:
    asked = edited(build("Succeeded"), rerun=1)
    assert task_fault(asked, written(asked, **NEW)) is None


@pytest.mark.parametrize("phase", ["Pending", "Running", "Retrying"])
@pytest.mark.parametrize("late", ["running", "succeeded", "failed"])
def test_what_comes_late_of_the_run_before_is_refused(phase: str, late: str) -> None:
    attempt = Attempt(UID, 0, 1, NOW, ME)
    outcome = Success(b"1") if late == "succeeded" else failure("Boom", "why")
    ended = ended_patch(Ended(attempt, outcome, None, 1.0, NOW))
    patch = running_patch(attempt, None, NOW) if late == "running" else ended
    current = json.dumps(build(phase, run=1))
    answer = apply_patch(current, json.dumps(patch))
    assert answer.body is None
    assert "run must not be changed" in answer.words


def test_what_comes_of_the_new_run_is_stored() -> None:
    ended = Ended(Attempt(UID, 1, 1, NOW, ME), Success(b"1"), None, 1.0, NOW)
    answer = apply_patch(json.dumps(build("Pending", run=1)), json.dumps(ended_patch(ended)))
    assert load(answer.body or "")["status"]["phase"] == "Succeeded"
