"""Retry policies and phase Retrying on the real API server: what it takes and what it refuses."""

from typing import Any

import pytest

from e2e.kubectl import Kubectl
from e2e.manifests import edited, task, taskqueue
from e2e.refusals import Refusal, refusal
from e2e.stage import (
    ERROR,
    FAILED,
    FINISHED_RULE,
    LATER,
    ME,
    OTHER,
    OUTCOME_RULE,
    RUNNING,
    SUCCEEDED,
    TIME,
    Stage,
    stage,
)

__all__ = ["refusal", "stage"]

RETRYING = {
    "phase": "Retrying",
    "attempts": 2,
    "worker": ME,
    "error": ERROR,
    "nextAttemptTime": TIME,
}
AGAIN = {**RUNNING, "attempts": 3, "worker": OTHER, "nextAttemptTime": None}


@pytest.mark.parametrize("kind", ["TaskQueue", "Task"])
@pytest.mark.parametrize(
    ("retry", "field", "must"),
    [
        pytest.param({"maxAttempts": 0}, "maxAttempts", "greater than or equal to 1", id="none"),
        pytest.param({"maxAttempts": 101}, "maxAttempts", "less than or equal to 100", id="many"),
        pytest.param({"attempts": 3}, "attempts", "unknown field", id="unknown field"),
        pytest.param(
            {"maxAttempts": 1, "backoff": {"type": "Fixed"}},
            "",
            "backoff must not be set when maxAttempts is 1: there is nothing to wait for",
            id="a pause before nothing",
        ),
        pytest.param(
            {"backoff": {"type": "Linear"}}, "backoff.type", "supported values", id="unknown kind"
        ),
        pytest.param(
            {"backoff": {"initial": "soon"}},
            "backoff.initial",
            "must be a duration such as '30s', '5m' or '1h30m', not 'soon'",
            id="no duration",
        ),
        pytest.param(
            {"backoff": {"initial": "1m", "max": "30s"}},
            "backoff",
            "max must be at least initial, '1m', not '30s'",
            id="max below initial",
        ),
        pytest.param(
            {"backoff": {"initial": "1h"}},
            "backoff",
            "max must be at least initial, '1h', not '10m', which is its default: set max too",
            id="the default of max below initial",
        ),
        pytest.param(
            {"backoff": {"max": "500ms"}},
            "backoff",
            "max must be at least initial, which is '1s' by default, not '500ms'",
            id="max below the default of initial",
        ),
        pytest.param(
            {"backoff": {"max": "169h"}},
            "backoff.max",
            "must be between '100ms' and '168h', not '169h'",
            id="too long",
        ),
        pytest.param(
            {"backoff": {"type": "Immediate", "initial": "1s"}},
            "backoff",
            "initial must not be set when type is 'Immediate'",
            id="a pause that is none",
        ),
        pytest.param(
            {"backoff": {"type": "Fixed", "factor": 3}},
            "backoff",
            "factor must not be set when type is 'Fixed'",
            id="a fixed pause that grows",
        ),
        pytest.param(
            {"backoff": {"type": "Fixed", "max": "1m"}},
            "backoff",
            "max must not be set when type is 'Fixed'",
            id="a fixed pause with a maximum",
        ),
        pytest.param(
            {"backoff": {"type": "Random", "jitter": 0.5}},
            "backoff",
            "jitter must not be set when type is 'Random'",
            id="random twice",
        ),
        pytest.param(
            {"backoff": {"factor": 0.5}}, "backoff.factor", "greater than or equal", id="shrinks"
        ),
        pytest.param(
            {"backoff": {"jitter": 1.5}}, "backoff.jitter", "less than or equal to 1", id="jitter"
        ),
    ],
)
def test_policy_cannot(
    refusal: Refusal, kind: str, retry: dict[str, Any], field: str, must: str
) -> None:
    base = taskqueue("good") if kind == "TaskQueue" else task("good", "emails")
    text = refusal(edited(base, {"spec.retry": retry}))
    assert ".".join(part for part in ("spec.retry", field) if part) in text
    assert must in text


@pytest.mark.parametrize(
    "retry",
    [
        pytest.param({}, id="nothing but defaults"),
        pytest.param({"maxAttempts": 1}, id="once"),
        pytest.param({"backoff": {"type": "Immediate"}}, id="immediate"),
        pytest.param({"backoff": {"type": "Fixed", "initial": "168h", "jitter": 0}}, id="fixed"),
        pytest.param(
            {"backoff": {"initial": "1s", "factor": 1.5, "max": "1s", "jitter": 1}},
            id="exponential",
        ),
        pytest.param({"backoff": {"type": "Random", "initial": "1s", "max": "2s"}}, id="random"),
    ],
)
def test_policy_can(kubectl: Kubectl, retry: dict[str, Any]) -> None:
    kubectl.apply([edited(taskqueue("polite"), {"spec.retry": retry})])
    stored = kubectl.get_json("tq", "polite")["spec"]["retry"]
    assert stored["maxAttempts"] == retry.get("maxAttempts", 5)


@pytest.mark.parametrize(
    ("before", "change", "message"),
    [
        pytest.param(
            [RUNNING],
            {"phase": "Retrying", "error": ERROR},
            "nextAttemptTime must be set when phase is 'Retrying', and only then",
            id="retrying at no time",
        ),
        pytest.param(
            [RUNNING],
            {"phase": "Retrying", "nextAttemptTime": TIME},
            "error must be set when phase is 'Failed' or 'Retrying'",
            id="retrying for no reason",
        ),
        pytest.param(
            [],
            {**RETRYING, "attempts": 0},
            "attempts must be from 1 to 99 when phase is 'Retrying'",
            id="retrying what was never tried",
        ),
        pytest.param(
            [],
            {**RETRYING, "attempts": 100},
            "attempts must be from 1 to 99 when phase is 'Retrying'",
            id="retrying after the last attempt",
        ),
        pytest.param(
            [RUNNING], {**RETRYING, "worker": OTHER}, OUTCOME_RULE, id="said by another worker"
        ),
        pytest.param(
            [RUNNING], {**RETRYING, "attempts": 3}, OUTCOME_RULE, id="said of another attempt"
        ),
        pytest.param(
            [RETRYING],
            {"phase": "Pending", "nextAttemptTime": None, "error": None},
            "phase must not go back to 'Pending'",
            id="pending again",
        ),
        pytest.param(
            [RETRYING],
            {**RUNNING, "attempts": 3},
            "nextAttemptTime must be set when phase is 'Retrying', and only then",
            id="running and still waiting",
        ),
        pytest.param(
            [RETRYING], {"attempts": 1}, "attempts must not go down", id="an attempt taken back"
        ),
        pytest.param(
            [RETRYING],
            {**RETRYING, "worker": OTHER, "nextAttemptTime": LATER},
            "attempts must go up to end the wait for the next attempt, or to change it",
            id="a late failure of the same attempt",
        ),
        pytest.param(
            [RETRYING],
            {**FAILED, "nextAttemptTime": None},
            "attempts must go up to end the wait for the next attempt, or to change it",
            id="finished by the attempt before",
        ),
        pytest.param(
            [RETRYING, AGAIN],
            {**SUCCEEDED, "attempts": 3, "worker": OTHER},
            "error must not be set when phase is 'Pending' or 'Succeeded'",
            id="succeeded with the error of before",
        ),
        pytest.param([FAILED], RETRYING, FINISHED_RULE, id="finished is tried again"),
    ],
)
def test_status_cannot(
    stage: Stage, before: list[dict[str, Any]], change: dict[str, Any], message: str
) -> None:
    assert message in stage.refusal(stage.put(*before), change)


@pytest.mark.parametrize(
    "statuses",
    [
        pytest.param([RETRYING], id="short failure: one write"),
        pytest.param([RUNNING, RETRYING], id="failure"),
        pytest.param([RUNNING, RETRYING, AGAIN], id="the next attempt, with the error of before"),
        pytest.param(
            [
                RETRYING,
                AGAIN,
                {**SUCCEEDED, "attempts": 3, "worker": OTHER, "error": None},
            ],
            id="success in the end",
        ),
        pytest.param(
            [RETRYING, {**FAILED, "attempts": 3, "nextAttemptTime": None}], id="failed for good"
        ),
    ],
)
def test_status_can(stage: Stage, statuses: list[dict[str, Any]]) -> None:
    body = stage.put(*statuses)
    assert body["status"]["phase"] == statuses[-1]["phase"]
    assert ("nextAttemptTime" in body["status"]) == (body["status"]["phase"] == "Retrying")


def test_columns_show_what_is_tried_again(kubectl: Kubectl, stage: Stage) -> None:
    name = stage.put(RETRYING)["metadata"]["name"]
    row = kubectl.run("get", "tqt", name, "-o", "wide", "--no-headers").split()
    assert row[:5] == [name, "nowhere", "echo", "Retrying", "2"]
    assert row[-6:] == ["p", TIME, "0", "0", "KeyError", "'x'"]
