"""What the schema lets through of limits is what RabbitMQ takes."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from taskqueue_api.crd import structural_schema
from taskqueue_api.dead_letters import LENGTH_MOST, DeadLetterSpec
from taskqueue_api.durations import parse_duration
from taskqueue_api.kinds import TASKQUEUE
from taskqueue_api.taskqueue import TaskQueueSpec, TaskQueueStatus

SCHEMA = structural_schema(DeadLetterSpec)
FIELDS: dict[str, Any] = SCHEMA["properties"]


def test_an_age_is_one_that_rabbitmq_takes() -> None:
    text = json.dumps(FIELDS["ttl"])
    bounds = [re.search(rf"{sign} duration\('(\w+)'\)", text) for sign in (">=", "<=")]
    low, high = (parse_duration(bound[1]) for bound in bounds if bound)
    assert low == timedelta(seconds=1)
    assert high / timedelta(milliseconds=1) < 2**32
    assert "default" not in FIELDS["ttl"]


def test_a_length_is_at_most_that_of_the_declaration() -> None:
    length = FIELDS["maxLength"]
    assert (length["minimum"], length["maximum"]) == (1, LENGTH_MOST)
    assert "default" not in length


def test_nothing_is_dropped_for_its_age_unless_asked_for() -> None:
    spec = structural_schema(TaskQueueSpec)
    assert "default" not in spec["properties"]["deadLetter"]
    assert "deadLetter" not in spec["required"]


@pytest.mark.parametrize("field", ["maxLength", "ttl"])
def test_limits_that_limit_nothing_are_refused(field: str) -> None:
    (rule,) = SCHEMA["x-kubernetes-validations"]
    assert f"has(self.{field})" in rule["rule"]
    assert field in rule["message"]


def test_a_number_that_is_not_known_is_not_shown_as_zero() -> None:
    assert TaskQueueStatus().dead_letters is None
    assert "deadLetters" not in TaskQueueStatus().model_dump(by_alias=True, exclude_none=True)
    assert [column.name for column in TASKQUEUE.columns if not column.priority].count("Dead") == 1
