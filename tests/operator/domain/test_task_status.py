"""The operator's patches of Tasks: tested first, and never against the CRD's rules."""

from typing import Any

import pytest

from taskqueue_api.conditions import Condition
from taskqueue_api.task import ERROR_MESSAGE_MAX, TaskStatus
from taskqueue_operator.domain.dispatching import Refusal
from taskqueue_operator.domain.task_status import (
    JsonPatch,
    patch_announcement,
    patch_dispatched,
    patch_refused,
)
from tests.operator.builders import NOW, build_task, build_waiting
from tests.operator.fakes import apply_json_patch

NOW_TEXT = "2026-01-02T12:00:00Z"
REFUSAL = Refusal("PayloadTooLarge", "too large")

PATCHES = [
    pytest.param(patch_announcement(build_waiting(dispatches=1)), id="announcement"),
    pytest.param(
        patch_dispatched(build_waiting(), ok=False, reason="QueueNotFound", message="m", now=NOW),
        id="held",
    ),
    pytest.param(
        patch_dispatched(build_waiting(), ok=True, reason="Published", message="m", now=NOW),
        id="published",
    ),
    pytest.param(patch_refused(build_waiting(), REFUSAL, NOW), id="refused"),
]


def patched(patch: JsonPatch, **status: Any) -> TaskStatus:
    """Return the status of a pending Task after a patch."""
    body = apply_json_patch(build_task(status=status), patch)
    return TaskStatus.model_validate(body["status"])


def by_type(conditions: list[Condition]) -> dict[str, tuple[str, str]]:
    return {item.type: (item.status, item.reason) for item in conditions}


@pytest.mark.parametrize("patch", PATCHES)
def test_a_patch_begins_with_tests_of_uid_phase_and_run(patch: JsonPatch) -> None:
    assert patch[:3] == [
        {"op": "test", "path": "/metadata/uid", "value": "uid-welcome"},
        {"op": "test", "path": "/status/phase", "value": "Pending"},
        {"op": "test", "path": "/status/run", "value": 0},
    ]


@pytest.mark.parametrize("patch", PATCHES)
def test_a_patch_for_one_run_does_nothing_to_the_next(patch: JsonPatch) -> None:
    with pytest.raises(ValueError, match="/status/run"):
        patched(patch, run=1)


def test_a_patch_of_a_retried_task_tests_that_it_still_waits_to_be_retried() -> None:
    patch = patch_announcement(build_waiting(phase="Retrying", attempt=3))
    assert patch[1] == {"op": "test", "path": "/status/phase", "value": "Retrying"}
    status = {"phase": "Retrying", "attempts": 2, "nextAttemptTime": NOW_TEXT, "dispatches": 1}
    announced = patched(patch, **status)
    assert announced == TaskStatus.model_validate(
        build_task(status={**status, "dispatches": 2})["status"]
    )
    with pytest.raises(ValueError, match="/status/phase"):
        patched(patch, dispatches=1)


@pytest.mark.parametrize("patch", PATCHES)
def test_a_patch_touches_nothing_but_status(patch: JsonPatch) -> None:
    assert {item["op"] for item in patch} == {"test", "add"}
    for item in patch[2:]:
        assert item["path"].startswith("/status/")


def test_an_announcement_raises_dispatches_by_one_and_nothing_else() -> None:
    status = patched(patch_announcement(build_waiting(dispatches=3)), dispatches=3)
    assert status == TaskStatus.model_validate(build_task(status={"dispatches": 4})["status"])


@pytest.mark.parametrize("stored", [2, 4], ids=["somebody was slower", "somebody was quicker"])
def test_an_announcement_fails_when_dispatches_is_not_what_was_read(stored: int) -> None:
    with pytest.raises(ValueError, match="/status/dispatches"):
        patched(patch_announcement(build_waiting(dispatches=3)), dispatches=stored)


def test_a_held_task_is_told_and_stays_in_progress() -> None:
    status = patched(
        patch_dispatched(build_waiting(), ok=False, reason="QueueNotFound", message="why", now=NOW)
    )
    assert status.phase == "Pending"
    assert by_type(status.conditions) == {
        "Reconciling": ("True", "Pending"),
        "Succeeded": ("Unknown", "Pending"),
        "Dispatched": ("False", "QueueNotFound"),
    }
    assert status.conditions[2].message == "why"
    assert status.conditions[2].last_transition_time == NOW_TEXT


def test_a_published_task_is_told_too() -> None:
    patch = patch_dispatched(build_waiting(), ok=True, reason="Published", message="", now=NOW)
    assert by_type(patched(patch).conditions)["Dispatched"] == ("True", "Published")


def test_a_refused_task_has_all_that_the_rules_ask_of_a_failed_one() -> None:
    status = patched(patch_refused(build_waiting(), REFUSAL, NOW))
    assert status.phase == "Failed"
    assert status.completion_time == NOW_TEXT
    assert status.error
    assert (status.error.type, status.error.message) == REFUSAL
    assert status.attempts == 0
    assert by_type(status.conditions) == {
        "Succeeded": ("False", "PayloadTooLarge"),
        "Finished": ("True", "PayloadTooLarge"),
        "Stalled": ("True", "PayloadTooLarge"),
    }


@pytest.mark.parametrize("length", [ERROR_MESSAGE_MAX - 1, ERROR_MESSAGE_MAX + 1])
def test_any_message_is_cut_to_what_the_schema_takes(length: int) -> None:
    # RabbitMQ's or the API server's own words are in it; the API server would refuse the write.
    text = "x" * length
    patched(patch_dispatched(build_waiting(), ok=False, reason="R", message=text, now=NOW))
    patched(patch_refused(build_waiting(), Refusal("R", text), NOW))
