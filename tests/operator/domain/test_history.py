"""Which finished Tasks are to be deleted, and which are left alone."""

from datetime import timedelta
from typing import Any

import pytest

from taskqueue_api.history import HistorySpec
from taskqueue_api.names import GITOPS_ANNOTATIONS, GITOPS_LABELS
from taskqueue_operator.domain.history import (
    FinishedTask,
    Obstacle,
    decide_expired,
    find_obstacle,
)
from tests.operator.builders import NOW


def build_finished(
    name: str, minutes_ago: float, phase: str = "Succeeded", ttl: float | None = None
) -> FinishedTask:
    """Return a Task that finished so long ago. ttl: its own, minutes."""
    own = None if ttl is None else timedelta(minutes=ttl)
    return FinishedTask(name, phase, NOW - timedelta(minutes=minutes_ago), own)


OLD, MIDDLE, NEW = (build_finished(name, ago) for name, ago in (("o", 30), ("m", 20), ("n", 10)))
FAILED = build_finished("f", 25, "Failed")
ALL = [NEW, FAILED, OLD, MIDDLE]


def history(**fields: Any) -> HistorySpec:
    return HistorySpec.model_validate(fields)


@pytest.mark.parametrize(
    ("tasks", "spec", "expired", "due"),
    [
        pytest.param([], history(limit=0), [], None, id="no Tasks"),
        pytest.param(ALL, None, [], None, id="no TaskQueue"),
        pytest.param(ALL, history(), [], None, id="no history"),
        pytest.param(
            ALL, history(succeeded="15m"), ["o age", "m age"], -5, id="age of what succeeded"
        ),
        pytest.param(ALL, history(failed="15m"), ["f age"], None, id="age of what failed"),
        pytest.param(ALL, history(failed="25m"), ["f age"], None, id="to the second"),
        pytest.param(ALL, history(failed="25m1s"), [], -1 / 60, id="a second too early"),
        pytest.param(
            ALL,
            history(succeeded="0s", failed="0s"),
            ["o age", "f age", "m age", "n age"],
            None,
            id="at once, the oldest first",
        ),
        pytest.param(ALL, history(limit=2), ["o limit", "f limit"], None, id="the newest stay"),
        pytest.param(ALL, history(limit=4), [], None, id="just so many"),
        pytest.param(ALL, history(limit=0), [f"{n} limit" for n in "ofmn"], None, id="none stays"),
        pytest.param(
            ALL, history(succeeded="25m", limit=2), ["o age", "f limit"], -5, id="both reasons"
        ),
        pytest.param(
            [OLD, MIDDLE, build_finished("x", 5, ttl=1)],
            history(limit=2),
            ["x age"],
            None,
            id="what its age has claimed takes nobody's place",
        ),
        pytest.param(
            [OLD, MIDDLE],
            history(succeeded="1h", limit=1),
            ["o limit"],
            -40,
            id="due is the age of what stays",
        ),
        pytest.param([build_finished("t", 5, ttl=4)], None, ["t age"], None, id="own TTL, alone"),
        pytest.param(
            [build_finished("t", 5, ttl=9)], history(succeeded="1m"), [], -4, id="own TTL, longer"
        ),
        pytest.param(
            [build_finished("t", 5, ttl=0)],
            history(succeeded="1h"),
            ["t age"],
            None,
            id="own TTL, at once",
        ),
        pytest.param(
            [build_finished("t", 5, ttl=60), NEW],
            history(limit=0),
            ["n limit", "t limit"],
            None,
            id="the limit holds in spite of an own TTL",
        ),
        pytest.param([build_finished("t", -5, ttl=0)], None, [], -5, id="an end yet to come"),
        pytest.param(
            [build_finished(name, 5) for name in "ba"],
            history(limit=1),
            ["a limit"],
            None,
            id="the same second: by name",
        ),
        pytest.param(
            [build_finished("c", 50, "Cancelled")],
            history(failed="0s"),
            ["c age"],
            None,
            id="cancelled goes as failed",
        ),
        pytest.param(
            [build_finished("c", 50, "Paused")],
            history(succeeded="0s", failed="0s"),
            [],
            None,
            id="a phase of a later version",
        ),
    ],
)
def test_decide_expired(
    tasks: list[FinishedTask], spec: HistorySpec | None, expired: list[str], due: float | None
) -> None:
    """due: minutes, negative: from now on."""
    verdict = decide_expired(tasks, spec, NOW)
    assert [f"{one.task.name} {one.reason}" for one in verdict.expired] == expired
    assert verdict.due == (None if due is None else NOW - timedelta(minutes=due))


METADATA = {"uid": "u", "resourceVersion": "10"}


@pytest.mark.parametrize(
    ("changes", "git_ops", "expected"),
    [
        pytest.param({}, False, None, id="nothing in the way"),
        pytest.param({"resourceVersion": "9"}, False, None, id="older, though greater as text"),
        pytest.param({"resourceVersion": "11"}, True, Obstacle.CHANGED, id="newer than the list"),
        pytest.param({"deletionTimestamp": "x"}, True, Obstacle.BEING_DELETED, id="on its way out"),
        pytest.param({"labels": {"app": "x"}, "annotations": None}, False, None, id="own labels"),
        *(
            pytest.param({"labels": {key: "x"}}, False, Obstacle.TRACKED, id=key)
            for key in GITOPS_LABELS
        ),
        *(
            pytest.param({"annotations": {key: ""}}, False, Obstacle.TRACKED, id=f"{key} as note")
            for key in GITOPS_ANNOTATIONS
        ),
        pytest.param({"labels": {GITOPS_LABELS[0]: "x"}}, True, None, id="tracked, and asked for"),
    ],
)
def test_find_obstacle(changes: dict[str, Any], git_ops: bool, expected: Obstacle | None) -> None:
    assert find_obstacle(METADATA | changes, "10", git_ops=git_ops) == expected
