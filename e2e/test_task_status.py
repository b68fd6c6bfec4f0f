"""A Task's status on the real API server: its state machine, and what people see of it."""

from typing import Any

import pytest

from e2e.api import ApiError
from e2e.kubectl import CommandError, Kubectl
from e2e.manifests import edited, taskqueue
from e2e.stage import (
    ERROR,
    FAILED,
    FINISHED_RULE,
    ILL,
    LATER,
    ME,
    OTHER,
    OUTCOME_RULE,
    RUNNING,
    SUCCEEDED,
    TIME,
    WELL,
    Stage,
    conditions,
    stage,
)

__all__ = ["stage"]

QUEUE = taskqueue("good")


@pytest.mark.parametrize(
    ("before", "change", "message"),
    [
        pytest.param([SUCCEEDED], {"phase": "Running"}, FINISHED_RULE, id="finished runs again"),
        pytest.param([SUCCEEDED], {"phase": "Pending"}, FINISHED_RULE, id="finished is pending"),
        pytest.param(
            [SUCCEEDED],
            {"phase": "Failed", "error": ERROR},
            FINISHED_RULE,
            id="succeeded fails",
        ),
        pytest.param(
            [FAILED], {"phase": "Succeeded", "error": None}, FINISHED_RULE, id="failed succeeds"
        ),
        pytest.param([SUCCEEDED], {"attempts": 3}, FINISHED_RULE, id="finished counts on"),
        pytest.param([SUCCEEDED], {"worker": OTHER}, FINISHED_RULE, id="another worker's outcome"),
        pytest.param(
            [SUCCEEDED], {"completionTime": LATER}, FINISHED_RULE, id="finished finishes again"
        ),
        pytest.param(
            [SUCCEEDED], {"result": {"late": True}}, FINISHED_RULE, id="a late result is added"
        ),
        pytest.param(
            [{**SUCCEEDED, "result": {"sum": 1}}],
            {"result": {"sum": 2}},
            FINISHED_RULE,
            id="a result is changed",
        ),
        pytest.param(
            [FAILED],
            {"error": {"type": "KeyError", "message": "other words"}},
            FINISHED_RULE,
            id="an error is reworded",
        ),
        pytest.param(
            [RUNNING],
            {"phase": "Pending"},
            "phase must not go back to 'Pending'",
            id="running is pending",
        ),
        pytest.param([RUNNING], {"attempts": 1}, "attempts must not go down", id="attempts down"),
        pytest.param(
            [{"dispatches": 3}],
            {"dispatches": 2},
            "dispatches must not go down",
            id="dispatches down",
        ),
        pytest.param([], {"run": 1}, "run must not be changed", id="another run of a new one"),
        pytest.param([RUNNING], {"run": 1}, "run must not be changed", id="run of a running one"),
        pytest.param([SUCCEEDED], {"run": 1}, FINISHED_RULE, id="run of a finished one"),
        pytest.param(
            [SUCCEEDED], {"phase": "Pending", "run": 1}, "nothing of the last run", id="half new"
        ),
        pytest.param(
            [],
            {"phase": "Running", "attempts": 1},
            "worker and attempts of at least 1 must be set while phase is 'Running'",
            id="running without a worker",
        ),
        pytest.param(
            [],
            {"phase": "Running", "worker": ME},
            "worker and attempts of at least 1 must be set while phase is 'Running'",
            id="running without an attempt",
        ),
        pytest.param(
            [RUNNING],
            {"worker": OTHER},
            "another worker must raise attempts to take over a running Task",
            id="take-over without an attempt",
        ),
        pytest.param(
            [RUNNING], {**SUCCEEDED, "worker": OTHER}, OUTCOME_RULE, id="outcome of another worker"
        ),
        pytest.param(
            [RUNNING], {**SUCCEEDED, "attempts": 3}, OUTCOME_RULE, id="outcome of another attempt"
        ),
        pytest.param(
            [RUNNING],
            {"phase": "Succeeded"},
            "completionTime must be set when the Task is finished",
            id="finished at no time",
        ),
        pytest.param(
            [RUNNING],
            {"phase": "Failed", "completionTime": TIME},
            "error must be set when phase is 'Failed' or 'Retrying'",
            id="failed without an error",
        ),
        pytest.param(
            [RUNNING],
            {**SUCCEEDED, "error": ERROR},
            "error must not be set when phase is 'Pending' or 'Succeeded'",
            id="succeeded with an error",
        ),
        pytest.param(
            [],
            {**SUCCEEDED, "conditions": conditions(Succeeded="Unknown")},
            "condition Finished must be 'True' when the Task is finished, and only then",
            id="finished, and kubectl wait is not told",
        ),
        pytest.param(
            [RUNNING],
            {"conditions": conditions(Succeeded="Unknown", Finished="True")},
            "condition Finished must be 'True' when the Task is finished, and only then",
            id="running, and kubectl wait is told that it is finished",
        ),
        pytest.param(
            [RUNNING],
            {**SUCCEEDED, "conditions": None},
            "condition Finished must be 'True' when the Task is finished, and only then",
            id="finished without conditions",
        ),
        pytest.param(
            [RUNNING],
            {**SUCCEEDED, "conditions": ILL},
            "condition Succeeded must be 'True' when phase is 'Succeeded', and only then",
            id="succeeded, and the condition says no",
        ),
        pytest.param(
            [],
            {"conditions": conditions(Succeeded="True")},
            "condition Succeeded must be 'True' when phase is 'Succeeded', and only then",
            id="pending, and the condition says that it has succeeded",
        ),
        pytest.param(
            [RUNNING],
            {**FAILED, "conditions": WELL},
            "condition Succeeded must be 'True' when phase is 'Succeeded', and only then",
            id="failed, and the condition says well",
        ),
        pytest.param(
            [RUNNING],
            {**FAILED, "conditions": conditions(Succeeded="Unknown", Finished="True")},
            "condition Succeeded must be 'False' when phase is 'Failed' or 'Cancelled'",
            id="failed, and the condition does not say so",
        ),
        pytest.param(
            [], {"attempts": 1}, "attempts must be 0 when phase is 'Pending'", id="tried and new"
        ),
        pytest.param(
            [RUNNING], {"attempts": 101}, "less than or equal to 100", id="too many attempts"
        ),
        pytest.param(
            [], {"dispatches": 2**31}, "less than or equal to 2147483647", id="too many copies"
        ),
        pytest.param([], {"phase": "Lost"}, 'supported values: "Pending"', id="unknown phase"),
        pytest.param([], {"attempts": -1}, "status.attempts", id="negative attempts"),
    ],
)
def test_status_cannot(
    stage: Stage, before: list[dict[str, Any]], change: dict[str, Any], message: str
) -> None:
    said = stage.refusal(stage.put(*before), change)
    assert "status" in said
    assert message in said


@pytest.mark.parametrize(
    "statuses",
    [
        pytest.param([SUCCEEDED], id="short success: one write"),
        pytest.param([FAILED], id="short failure: one write"),
        pytest.param([RUNNING, SUCCEEDED], id="success"),
        pytest.param([RUNNING, FAILED], id="failure"),
        pytest.param([RUNNING, {"progress": {"percent": 50}}, SUCCEEDED], id="progress"),
        pytest.param(
            [RUNNING, {**RUNNING, "attempts": 3, "worker": OTHER}], id="take-over by another"
        ),
        pytest.param([RUNNING, {**RUNNING, "attempts": 3}], id="next attempt of the same"),
        pytest.param(
            [
                RUNNING,
                {**FAILED, "worker": OTHER, "error": {"type": "WorkerLost", "message": ""}},
            ],
            id="worker lost, said by another",
        ),
        pytest.param([{"dispatches": 2}, RUNNING], id="second publication"),
    ],
)
def test_status_can(stage: Stage, statuses: list[dict[str, Any]]) -> None:
    body = stage.put(*statuses)
    for field, value in statuses[-1].items():
        stored = body["status"][field]
        expected = {**stored, **value} if isinstance(value, dict) else value
        assert stored == expected


def test_write_meant_for_an_earlier_task_of_the_name_is_refused(stage: Stage) -> None:
    body = stage.put()
    raised = {"op": "add", "path": "/status/dispatches", "value": 2}
    with pytest.raises(ApiError) as error:
        stage.patch(body, {"op": "test", "path": "/metadata/uid", "value": "another"}, raised)
    assert error.value.status == 422
    uid = body["metadata"]["uid"]
    done = stage.patch(body, {"op": "test", "path": "/metadata/uid", "value": uid}, raised)
    assert done["status"]["dispatches"] == 2


# What people type.


def test_taskqueue_can_be_scaled(kubectl: Kubectl) -> None:
    kubectl.apply([edited(QUEUE, {"metadata.name": "scaled"})])
    kubectl.run("scale", "tq", "scaled", "--replicas=3")
    assert kubectl.get_json("tq", "scaled")["spec"]["workers"]["replicas"] == 3
    with pytest.raises(CommandError, match=r"replicas.*less than or equal to 1000"):
        kubectl.run("scale", "tq", "scaled", "--replicas=1001")


def test_tasks_can_be_selected_by_queue_handler_and_phase(kubectl: Kubectl, stage: Stage) -> None:
    name = stage.put(SUCCEEDED)["metadata"]["name"]
    waiting = stage.put()["metadata"]["name"]
    selector = "--field-selector=status.phase=Succeeded,spec.queue=nowhere,spec.handler=echo"
    found = kubectl.run("get", "tasks.taskqueue.dev", "-o", "name", selector)
    assert f"task.taskqueue.dev/{name}\n" in found
    assert waiting not in found
    assert kubectl.run("get", "tqt", "-o", "name", "--field-selector=spec.queue=other") == ""


@pytest.mark.parametrize(
    ("arguments", "columns"),
    [
        pytest.param(
            ["tasks"], "NAME QUEUE HANDLER STATUS PROGRESS ATTEMPTS DURATION AGE", id="tasks"
        ),
        pytest.param(
            ["tqt", "-o", "wide"],
            "NAME QUEUE HANDLER STATUS PROGRESS ATTEMPTS DURATION AGE WORKER NEXT FINISHED TTL RUN "
            "RERUN DISPATCH ERROR MESSAGE",
            id="tasks, wide",
        ),
        pytest.param(
            ["taskqueues"],
            "NAME READY REASON WORKERS PENDING RUNNING RETRYING SUCCEEDED FAILED DEAD AGE",
            id="queues",
        ),
        pytest.param(
            ["tq", "-o", "wide"],
            "NAME READY REASON WORKERS PENDING RUNNING RETRYING SUCCEEDED FAILED DEAD AGE DESIRED "
            "BACKLOG SCALING MESSAGE",
            id="queues, wide",
        ),
    ],
)
def test_columns(kubectl: Kubectl, stage: Stage, arguments: list[str], columns: str) -> None:
    kubectl.apply([edited(QUEUE, {"metadata.name": "columns"})])
    stage.put(FAILED)
    head, *rows = kubectl.run("get", *arguments).splitlines()
    assert " ".join(head.split()) == columns
    assert rows


def test_columns_show_how_a_task_failed(kubectl: Kubectl, stage: Stage) -> None:
    name = stage.put(FAILED)["metadata"]["name"]
    row = kubectl.run("get", "tqt", name, "-o", "wide", "--no-headers").split()
    assert row[:5] == [name, "nowhere", "echo", "Failed", "2"]
    assert row[-6:] == ["p", TIME, "0", "0", "KeyError", "'x'"]


def test_both_kinds_are_in_one_category(kubectl: Kubectl, stage: Stage) -> None:
    kubectl.apply([edited(QUEUE, {"metadata.name": "category"})])
    stage.put()
    found = kubectl.run("get", "taskqueue-dev", "-o", "name")
    assert "taskqueue.taskqueue.dev/category" in found
    assert "task.taskqueue.dev/" in found


@pytest.mark.parametrize("kind", ["taskqueue", "taskqueues", "tq", "taskqueues.taskqueue.dev"])
def test_a_taskqueue_is_found_under_every_name_of_its_kind(kubectl: Kubectl, kind: str) -> None:
    """A category of the same name would hide the singular from kubectl."""
    kubectl.apply([edited(QUEUE, {"metadata.name": "named"})])
    found = kubectl.run("get", kind, "named", "-o", "name")
    assert found.strip() == "taskqueue.taskqueue.dev/named"
