"""The patches that a worker sends, held against the API's own models."""

from datetime import UTC, datetime
from typing import Any

import pytest

from taskqueue_api import task as api
from taskqueue_api.messages import TaskUid
from taskqueue_worker import outcomes
from taskqueue_worker.outcomes import Success, failure
from taskqueue_worker.statuses import (
    Attempt,
    Identity,
    Patch,
    concluded_view,
    finished_patch,
    format_duration,
    reason_of,
    running_patch,
    view_task,
    worker_lost_patch,
)

STARTED = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
NOW = datetime(2026, 1, 1, 12, 0, 7, tzinfo=UTC)
ME = Identity(pod="p", pod_uid="pu", node="n", instance="i")
ATTEMPT = Attempt(TaskUid("u"), 0, 2, STARTED, ME)


def values(patch: Patch) -> dict[str, Any]:
    """Return the status fields that a patch sets, and check its form."""
    assert patch[0] == {"op": "test", "path": "/metadata/uid", "value": "u"}
    sets = [entry for entry in patch if entry["op"] != "test"]
    assert all(entry["op"] == "add" for entry in sets)
    return {entry["path"].removeprefix("/status/"): entry["value"] for entry in sets}


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {entry["type"]: entry["status"] for entry in status["conditions"]}


def test_a_success_is_one_patch_that_the_schema_takes() -> None:
    status = values(finished_patch(ATTEMPT, Success(b'{"a": [1]}'), 0.014, NOW))
    parsed = api.TaskStatus.model_validate(status)
    assert (parsed.phase, parsed.attempts, parsed.duration) == ("Succeeded", 2, "14ms")
    assert parsed.result == {"a": [1]}
    assert parsed.completion_time == "2026-01-01T12:00:07Z"
    assert conditions(status) == {"Succeeded": "True", "Finished": "True"}
    assert "error" not in status
    assert "dispatches" not in status


def test_no_result_leaves_no_result() -> None:
    assert "result" not in values(finished_patch(ATTEMPT, Success(None), 1, NOW))


def test_a_failure_says_why_and_that_it_is_stuck() -> None:
    status = values(finished_patch(ATTEMPT, failure("my_error", "why"), 1, NOW))
    parsed = api.TaskStatus.model_validate(status)
    assert parsed.error == api.TaskError(type="my_error", message="why")
    assert conditions(status) == {"Succeeded": "False", "Finished": "True", "Stalled": "True"}
    assert {entry["reason"] for entry in status["conditions"]} == {"MyError"}


def test_a_claim_rests_on_the_version_that_was_read() -> None:
    patch = running_patch(ATTEMPT, "77", NOW)
    assert patch[1] == {"op": "test", "path": "/metadata/resourceVersion", "value": "77"}
    status = values(patch)
    assert api.TaskStatus.model_validate(status).worker is not None
    assert conditions(status) == {"Reconciling": "True", "Succeeded": "Unknown"}


def test_giving_up_changes_neither_attempt_nor_worker() -> None:
    view = view_task(
        {
            "metadata": {"uid": "u", "resourceVersion": "5"},
            "status": {"phase": "Running", "attempts": 5, "worker": ME.to_status()},
        }
    )
    status = values(worker_lost_patch(view, failure("WorkerLost", "lost"), NOW))
    assert status["phase"] == "Failed"
    assert not {"attempts", "worker", "run"} & status.keys()


def test_what_was_written_is_seen_as_concluded() -> None:
    assert concluded_view(ATTEMPT, Success(None)).concluded
    assert concluded_view(ATTEMPT, failure("E", "m")).error_type == "E"


def test_the_bounds_are_those_of_the_api() -> None:
    assert outcomes.RESULT_MAX_BYTES == api.RESULT_MAX_BYTES
    assert outcomes.ERROR_MESSAGE_MAX == api.ERROR_MESSAGE_MAX
    assert outcomes.ERROR_TYPE_MAX == api.ERROR_TYPE_MAX


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0ms"),
        (0.0144, "14ms"),
        (0.9996, "1.0s"),
        (3.21, "3.2s"),
        (59.94, "59.9s"),
        (59.96, "1m0s"),
        (125, "2m5s"),
        (3720, "1h2m"),
        (86400, "24h0m"),
    ],
)
def test_durations_as_people_read_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("error_type", "reason"),
    [
        ("ValueError", "ValueError"),
        ("my_error", "MyError"),
        ("Ünï", "N"),
        ("例外", "HandlerFailed"),
        ("", "HandlerFailed"),
        ("1st", "st"),
        ("A" * 100, "A" * 64),
    ],
)
def test_a_reason_is_what_kubernetes_takes(error_type: str, reason: str) -> None:
    assert reason_of(error_type) == reason
