"""Which finished Tasks are to be started all over."""

from typing import Any

import pytest

from taskqueue_operator.domain.rerunning import SELECTOR, Rerun, decide_rerun
from tests.operator.builders import KEY, build_task


def build(phase: str, run: int, rerun: int, **spec: Any) -> dict[str, Any]:
    """Return a Task."""
    body = build_task(spec={"rerun": rerun, **spec}, status={"phase": phase, "run": run})
    body["metadata"]["resourceVersion"] = "7"
    return body


@pytest.mark.parametrize(
    ("phase", "run", "rerun", "expected"),
    [
        pytest.param("Failed", 0, 1, 1, id="failed"),
        pytest.param("Succeeded", 1, 2, 2, id="succeeded, again"),
        pytest.param("Cancelled", 0, 1, 1, id="cancelled"),
        pytest.param("Failed", 1, 9, 9, id="far ahead: one run"),
        pytest.param("Failed", 0, 0, None, id="never asked"),
        pytest.param("Failed", 2, 2, None, id="done already"),
        pytest.param("Failed", 2, 1, None, id="further than asked"),
        pytest.param("Pending", 0, 1, None, id="waits"),
        pytest.param("Running", 0, 1, None, id="runs"),
        pytest.param("Retrying", 0, 1, None, id="waits for another attempt"),
    ],
)
def test_decide_rerun(phase: str, run: int, rerun: int, expected: int | None) -> None:
    found = decide_rerun(build(phase, run, rerun))
    assert (found and found.run) == expected


def test_it_says_which_task_as_it_was_read() -> None:
    assert decide_rerun(build("Failed", 0, 1)) == Rerun(
        uid=build_task()["metadata"]["uid"], queue=KEY, name="welcome", resource_version="7", run=1
    )


def test_one_that_was_asked_for_and_then_cancelled_begins_and_is_cancelled_as_it_waits() -> None:
    assert decide_rerun(build("Failed", 0, 1, cancel=True))


def test_one_that_is_being_deleted_is_left_alone() -> None:
    body = build("Failed", 0, 1)
    body["metadata"]["deletionTimestamp"] = "2026-01-02T12:00:00Z"
    assert decide_rerun(body) is None


def test_one_of_an_earlier_definition_is_left_alone() -> None:
    body = build_task(status={"phase": "Failed"})
    assert decide_rerun(body) is None


def test_the_watch_shows_what_has_finished_and_was_to_be_run_again() -> None:
    assert SELECTOR == (
        "spec.rerun!=0,status.phase!=Pending,status.phase!=Running,status.phase!=Retrying"
    )
