"""What the schema lets through of a history is what the code can read."""

import json
import re
from typing import Any

import pytest

from taskqueue_api.crd import structural_schema
from taskqueue_api.durations import parse_duration
from taskqueue_api.history import LIMIT_MOST, HistorySpec
from taskqueue_api.task import TaskSpec
from taskqueue_api.taskqueue import TaskQueueSpec

SCHEMA = structural_schema(HistorySpec)
FIELDS: dict[str, Any] = SCHEMA["properties"]
TTL = structural_schema(TaskSpec)["properties"]["ttlAfterFinished"]


@pytest.mark.parametrize("field", [FIELDS["succeeded"], FIELDS["failed"], TTL])
def test_an_age_may_be_nothing_and_a_year_and_both_can_be_read(field: dict[str, Any]) -> None:
    text = json.dumps(field)
    bounds = [re.search(rf"{sign} duration\('(\w+)'\)", text) for sign in (">=", "<=")]
    low, high = (parse_duration(bound[1]) for bound in bounds if bound)
    assert (low.total_seconds(), high.days) == (0, 365)
    assert "default" not in field


def test_the_limit_is_bounded_and_may_be_nothing() -> None:
    assert (FIELDS["limit"]["minimum"], FIELDS["limit"]["maximum"]) == (0, LIMIT_MOST)
    assert "default" not in FIELDS["limit"]


def test_what_gitops_tools_track_is_kept_unless_asked_for() -> None:
    assert FIELDS["gitOps"]["default"] is False
    assert HistorySpec().git_ops is False
    assert HistorySpec.model_validate({"gitOps": True}).git_ops is True


def test_without_a_history_there_is_none() -> None:
    history = structural_schema(TaskQueueSpec)["properties"]["history"]
    assert "default" not in history
    assert "history" not in structural_schema(TaskQueueSpec)["required"]
    assert "ttlAfterFinished" not in structural_schema(TaskSpec)["required"]


def test_a_history_that_deletes_nothing_is_refused() -> None:
    (rule,) = SCHEMA["x-kubernetes-validations"]
    for field in ("succeeded", "failed", "limit"):
        assert f"has(self.{field})" in rule["rule"]
        assert field in rule["message"]
