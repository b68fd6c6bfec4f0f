"""What an event about a Task asks of the operator."""

from typing import Any

import pytest

from taskqueue_operator.domain.observing import Course, decide_course
from tests.operator.builders import build_task

RETRYING = {"phase": "Retrying", "attempts": 1}
DELETED = {"deletionTimestamp": "2026-01-02T12:00:00Z"}


@pytest.mark.parametrize(
    ("event", "status", "cancel", "metadata", "course"),
    [
        pytest.param(None, {}, False, {}, Course.PUBLISH, id="listed"),
        pytest.param("ADDED", {}, False, {}, Course.PUBLISH, id="new"),
        pytest.param("MODIFIED", RETRYING, False, {}, Course.PUBLISH, id="waits for another"),
        pytest.param("ADDED", {}, True, {}, Course.CANCEL, id="created to be cancelled"),
        pytest.param("MODIFIED", {}, True, {}, Course.CANCEL, id="cancelled while it waits"),
        pytest.param(None, RETRYING, True, {}, Course.CANCEL, id="cancelled between attempts"),
        pytest.param(
            "MODIFIED", {"phase": "Running"}, False, {}, Course.KEEP, id="a worker has it"
        ),
        pytest.param("MODIFIED", {"phase": "Running"}, True, {}, Course.STOP, id="cancelled"),
        pytest.param(
            "DELETED", {"phase": "Running"}, False, {}, Course.LOOK, id="finished or deleted"
        ),
        pytest.param(
            "MODIFIED", {"phase": "Running"}, False, DELETED, Course.LOOK, id="being deleted"
        ),
        pytest.param("DELETED", {}, False, {}, Course.FORGET, id="finished in no time, or deleted"),
        pytest.param("MODIFIED", {}, False, DELETED, Course.FORGET, id="being deleted, not begun"),
        pytest.param("DELETED", {}, True, {}, Course.FORGET, id="cancelled and gone"),
        pytest.param(
            "MODIFIED", {"phase": "Cancelled"}, True, {}, Course.FORGET, id="cancelled already"
        ),
    ],
)
def test_decide_course(
    event: str | None,
    status: dict[str, Any],
    cancel: bool,
    metadata: dict[str, Any],
    course: Course,
) -> None:
    body = build_task("a", status=status)
    body["metadata"] |= metadata
    if cancel:
        body["spec"]["cancel"] = True
    assert decide_course(event, body) is course
