"""The patches that a worker sends, held against the API's own models."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskqueue_api import task as api
from taskqueue_api.messages import TaskUid
from taskqueue_worker import outcomes
from taskqueue_worker.outcomes import Cancelled, Failure, Outcome, Success, failure
from taskqueue_worker.retrying import Again
from taskqueue_worker.settle import PublishNext, settle
from taskqueue_worker.statuses import (
    Attempt,
    Ended,
    Identity,
    Patch,
    Progress,
    TaskView,
    conclude_patch,
    concluded_view,
    ended_patch,
    ended_view,
    format_duration,
    progress_patch,
    reason_of,
    running_patch,
    view_task,
)

STARTED = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
NOW = datetime(2026, 1, 1, 12, 0, 7, tzinfo=UTC)
ME = Identity(pod="p", pod_uid="pu", node="n", instance="i")
ATTEMPT = Attempt(TaskUid("u"), 0, 2, STARTED, ME)


def values(patch: Patch, **before: Any) -> dict[str, Any]:
    """Return the status after a patch, and check its form. before: the status until then.

    Raises KeyError when it removes what is not there: the API server refuses that.
    """
    assert patch[0] == {"op": "test", "path": "/metadata/uid", "value": "u"}
    status = dict(before)
    for entry in patch:
        field = entry["path"].removeprefix("/status/")
        if entry["op"] == "add":
            status[field] = entry["value"]
        elif entry["op"] == "remove":
            del status[field]
        else:
            assert entry["op"] == "test"
    return status


def ended(
    outcome: Outcome, seconds: float = 1, *, again: timedelta | None = None, attempt: int = 2
) -> Ended:
    """Return an attempt that is over; again: the time until the next."""
    following = None
    if again is not None:
        assert isinstance(outcome, Failure)
        following = Again(outcome, again)
    return Ended(replace(ATTEMPT, number=attempt), outcome, following, seconds, NOW)


def view(**status: Any) -> TaskView:
    return view_task({"metadata": {"uid": "u", "resourceVersion": "77"}, "status": status})


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {entry["type"]: entry["status"] for entry in status["conditions"]}


def test_a_success_is_one_patch_that_the_schema_takes() -> None:
    status = values(ended_patch(ended(Success(b'{"a": [1]}'), 0.014)))
    parsed = api.TaskStatus.model_validate(status)
    assert (parsed.phase, parsed.attempts, parsed.duration) == ("Succeeded", 2, "14ms")
    assert parsed.result == {"a": [1]}
    assert parsed.completion_time == "2026-01-01T12:00:07Z"
    assert conditions(status) == {"Succeeded": "True", "Finished": "True"}
    assert "error" not in status
    assert "dispatches" not in status


def test_no_result_leaves_no_result() -> None:
    assert "result" not in values(ended_patch(ended(Success(None))))


def test_a_failure_says_why_and_that_it_is_stuck() -> None:
    status = values(ended_patch(ended(failure("my_error", "why"))))
    parsed = api.TaskStatus.model_validate(status)
    assert parsed.error == api.TaskError(type="my_error", message="why")
    assert conditions(status) == {"Succeeded": "False", "Finished": "True", "Stalled": "True"}
    assert {entry["reason"] for entry in status["conditions"]} == {"MyError"}


def test_a_claim_rests_on_the_version_that_was_read() -> None:
    patch = running_patch(ATTEMPT, view(phase="Pending"), NOW)
    assert patch[1] == {"op": "test", "path": "/metadata/resourceVersion", "value": "77"}
    status = values(patch)
    assert api.TaskStatus.model_validate(status).worker is not None
    assert conditions(status) == {"Reconciling": "True", "Succeeded": "Unknown"}


def test_giving_up_changes_neither_attempt_nor_worker() -> None:
    lost = view(phase="Running", attempts=5, worker=ME.to_status())
    status = values(conclude_patch(lost, failure("WorkerLost", "lost"), NOW))
    assert status["phase"] == "Failed"
    assert not {"attempts", "worker", "run"} & status.keys()


def test_what_was_written_is_seen_as_concluded() -> None:
    assert ended_view(ended(Success(None))).concluded
    assert ended_view(ended(BOOM)).concluded
    assert ended_view(ended(BOOM)).error_type == "Boom"


BOOM = failure("Boom", "why")
ERROR = {"type": "Boom", "message": "why"}


def test_a_failure_that_is_tried_again_says_why_and_when() -> None:
    status = values(ended_patch(ended(BOOM, 0.5, again=timedelta(milliseconds=1500))))
    parsed = api.TaskStatus.model_validate(status)
    assert (parsed.phase, parsed.attempts, parsed.duration) == ("Retrying", 2, "500ms")
    assert parsed.next_attempt_time == "2026-01-01T12:00:08.500Z"
    assert parsed.error == api.TaskError(type="Boom", message="why")
    assert parsed.completion_time is None
    assert conditions(status) == {"Reconciling": "True", "Succeeded": "Unknown"}
    reconciling, succeeded = status["conditions"]
    assert reconciling["reason"] == "Retrying"
    assert reconciling["message"] == "attempt 2 failed, 3 comes at 2026-01-01T12:00:08.500Z"
    assert (succeeded["reason"], succeeded["message"]) == ("Boom", "why")


def test_a_failure_whose_words_are_long_fits_the_conditions_too() -> None:
    long = failure("Boom", "x" * 10_000)
    status = values(ended_patch(ended(long, again=timedelta())))
    assert api.TaskStatus.model_validate(status).phase == "Retrying"


@pytest.mark.parametrize("before", [{"error": ERROR}, {}], ids=["failure", "lost worker"])
@pytest.mark.parametrize("attempt", [2, 5])
def test_a_success_after_another_attempt_leaves_no_error(
    attempt: int, before: dict[str, Any]
) -> None:
    status = values(ended_patch(ended(Success(b"1"), attempt=attempt)), **before)
    assert "error" not in status
    assert api.TaskStatus.model_validate(status).phase == "Succeeded"


def test_a_success_at_once_has_nothing_to_remove() -> None:
    patch = ended_patch(ended(Success(None), attempt=1))
    assert {entry["op"] for entry in patch} == {"test", "add"}
    assert "error" not in values(patch)


@pytest.mark.parametrize("again", [None, timedelta(seconds=1)], ids=["failed", "retrying"])
def test_another_failure_replaces_the_one_before(again: timedelta | None) -> None:
    before = {"error": {"type": "Earlier", "message": "before"}}
    status = values(ended_patch(ended(BOOM, again=again)), **before)
    assert status["error"] == ERROR


def test_the_last_failure_is_final() -> None:
    status = values(ended_patch(ended(BOOM, attempt=5)), error=ERROR)
    assert (status["phase"], status["attempts"]) == ("Failed", 5)
    assert status["completionTime"] == "2026-01-01T12:00:07Z"
    assert "nextAttemptTime" not in status


def test_a_claim_of_the_next_attempt_ends_the_waiting_and_keeps_the_error() -> None:
    before = {"error": ERROR, "nextAttemptTime": "2026-01-01T12:00:08.500Z"}
    retried = view(phase="Retrying", attempts=1, **before)
    status = values(running_patch(ATTEMPT, retried, NOW), **before)
    assert "nextAttemptTime" not in status
    parsed = api.TaskStatus.model_validate(status)
    assert (parsed.phase, parsed.attempts) == ("Running", 2)
    assert parsed.error is not None


@pytest.mark.parametrize(
    "before", [None, view(phase="Pending"), view(phase="Running", attempts=1)], ids=str
)
def test_a_claim_of_a_task_that_was_not_retried_has_nothing_to_remove(
    before: TaskView | None,
) -> None:
    assert "remove" not in {entry["op"] for entry in running_patch(ATTEMPT, before, NOW)}


@pytest.mark.parametrize(
    ("written", "phase", "concluded", "due"),
    [
        pytest.param(ended(Success(None)), "Succeeded", True, None, id="success"),
        pytest.param(ended(BOOM), "Failed", True, None, id="failure"),
        pytest.param(
            ended(BOOM, again=timedelta(seconds=3)),
            "Retrying",
            False,
            "2026-01-01T12:00:10.000Z",
            id="retried",
        ),
    ],
)
def test_what_was_written_is_seen_as_a_read_would_show_it(
    written: Ended, phase: str, concluded: bool, due: str | None
) -> None:
    seen = ended_view(written)
    read = view(**values(ended_patch(written)))
    assert (seen.phase, seen.concluded, seen.next_attempt_time) == (phase, concluded, due)
    for field in ("uid", "run", "attempts", "phase", "error_type", "error_message"):
        assert getattr(seen, field) == getattr(read, field)
    assert seen.next_attempt_time == read.next_attempt_time


@pytest.mark.parametrize(
    ("phase", "attempts", "attempt", "expected"),
    [
        pytest.param("Pending", 0, 1, False, id="waits"),
        pytest.param("Running", 2, 1, False, id="a later one runs"),
        pytest.param("Running", 2, 2, False, id="it runs"),
        pytest.param("Retrying", 2, 1, True, id="a later one failed"),
        pytest.param("Retrying", 2, 2, True, id="it failed"),
        pytest.param("Retrying", 2, 3, False, id="the one before failed"),
        pytest.param("Failed", 2, 3, True, id="failed for good"),
        pytest.param("Succeeded", 2, 2, True, id="succeeded"),
    ],
)
def test_whether_an_attempt_has_ended(
    phase: str, attempts: int, attempt: int, expected: bool
) -> None:
    assert view(phase=phase, attempts=attempts).has_ended(attempt) is expected


@pytest.mark.parametrize("time", ["soon", "2026-01-02T12:00:00", "9999-12-31T23:59:59Z"])
def test_a_time_that_cannot_be_read_ends_no_worker(time: str) -> None:
    """Whoever may write a status may write any text there."""
    seen = view(phase="Retrying", attempts=1, nextAttemptTime=time, startTime=time)
    assert seen.start_time is None
    following = settle(seen, seen.uid, 0)
    assert isinstance(following, PublishNext)
    assert following.due < NOW


def test_the_bounds_are_those_of_the_api() -> None:
    assert outcomes.RESULT_MAX_BYTES == api.RESULT_MAX_BYTES
    assert outcomes.ERROR_MESSAGE_MAX == api.ERROR_MESSAGE_MAX
    assert outcomes.ERROR_TYPE_MAX == api.ERROR_TYPE_MAX
    assert outcomes.ERROR_LOG_MAX_BYTES == api.ERROR_LOG_MAX_BYTES
    assert outcomes.PROGRESS_MESSAGE_MAX == api.PROGRESS_MESSAGE_MAX


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


def test_a_cancelled_task_has_ended_and_did_not_stall() -> None:
    status = values(ended_patch(ended(Cancelled(), 0.5)))
    parsed = api.TaskStatus.model_validate(status)
    assert (parsed.phase, parsed.error, parsed.attempts) == ("Cancelled", None, 2)
    assert parsed.completion_time is not None
    assert conditions(status) == {"Succeeded": "False", "Finished": "True"}
    assert ended_view(ended(Cancelled())).concluded


def test_a_task_that_waited_for_another_attempt_waits_no_longer_once_concluded() -> None:
    waiting = view(phase="Retrying", attempts=1, nextAttemptTime="2026-01-01T12:01:00.000Z")
    before = {"nextAttemptTime": "2026-01-01T12:01:00.000Z"}
    for outcome, phase in ((Cancelled(), "Cancelled"), (BOOM, "Failed")):
        status = values(conclude_patch(waiting, outcome, NOW), **before)
        assert status["phase"] == phase
        assert "nextAttemptTime" not in status
        seen = concluded_view(waiting, outcome)
        assert (seen.phase, seen.concluded, seen.next_attempt_time) == (phase, True, None)


def test_the_attempt_after_a_lost_worker_says_what_became_of_the_one_before() -> None:
    other = {"pod": "tq-q-2", "instance": "other"}
    lost = view(phase="Running", attempts=1, worker=other)
    status = values(running_patch(ATTEMPT, lost, NOW))
    words = "attempt 1 was lost with its worker, pod 'tq-q-2'"
    assert status["error"] == {"type": "WorkerLost", "message": words}
    assert "error" not in values(running_patch(ATTEMPT, view(), NOW))


HALFWAY = Progress(40, "halfway")


def test_progress_is_written_only_where_this_attempt_is_shown_as_running() -> None:
    patch = progress_patch(ATTEMPT, HALFWAY)
    tests = {entry["path"]: entry["value"] for entry in patch if entry["op"] == "test"}
    assert tests == {
        "/metadata/uid": "u",
        "/status/phase": "Running",
        "/status/run": 0,
        "/status/attempts": 2,
        "/status/worker/instance": "i",
    }
    (change,) = patch[len(tests) :]
    assert change == {
        "op": "add",
        "path": "/status/progress",
        "value": {"percent": 40, "message": "halfway"},
    }
    api.TaskProgress.model_validate(change["value"])


def test_running_may_be_written_with_the_progress_so_far() -> None:
    assert values(running_patch(ATTEMPT, None, NOW, HALFWAY))["progress"] == HALFWAY.to_status()
    assert "progress" not in values(running_patch(ATTEMPT, None, NOW))


def test_the_next_attempt_starts_without_the_progress_of_the_one_before() -> None:
    before = {"phase": "Running", "attempts": 1, "progress": {"percent": 80}}
    assert "progress" not in values(running_patch(ATTEMPT, view(**before), NOW), **before)


@pytest.mark.parametrize("again", [None, timedelta(seconds=1)])
def test_an_outcome_brings_the_last_progress_along(again: timedelta | None) -> None:
    over = ended(BOOM, again=again)
    status = values(ended_patch(replace(over, progress=HALFWAY)), progress={"percent": 3})
    assert status["progress"] == HALFWAY.to_status()
    kept = values(ended_patch(over), progress={"percent": 3})
    assert kept["progress"] == {"percent": 3}
    api.TaskStatus.model_validate(status)


@pytest.mark.parametrize("again", [None, timedelta(seconds=1)])
def test_an_error_has_the_last_lines_if_there_are_any(again: timedelta | None) -> None:
    printed = replace(BOOM, log="one\ntwo")
    status = values(ended_patch(ended(printed, again=again)))
    assert status["error"]["log"] == "one\ntwo"
    api.TaskStatus.model_validate(status)
    assert "log" not in values(ended_patch(ended(BOOM, again=again)))["error"]
