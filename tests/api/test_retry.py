"""What the schema lets through of a retry policy is what the code can read and the ladder hold."""

import json
import re
from typing import Any

import pytest

from taskqueue_api.crd import structural_schema
from taskqueue_api.durations import parse_duration
from taskqueue_api.names import DELAY_MAX
from taskqueue_api.retries import (
    FACTOR_DEFAULT,
    JITTER_DEFAULT,
    MAX_ATTEMPTS_DEFAULT,
    parse_policy,
)
from taskqueue_api.retry import Backoff, RetrySpec
from taskqueue_api.task import TaskSpec
from taskqueue_api.taskqueue import TaskQueueSpec

SCHEMA = structural_schema(RetrySpec)
FIELDS: dict[str, Any] = SCHEMA["properties"]["backoff"]["properties"]


def longest(field: str) -> str:
    """Return the longest duration that the rules of a field allow."""
    found = re.search(r"<= duration\('(\w+)'\)", json.dumps(FIELDS[field]))
    assert found
    return found[1]


def test_a_task_and_its_taskqueue_say_it_in_the_same_words() -> None:
    for spec in (TaskSpec, TaskQueueSpec):
        retry = structural_schema(spec)["properties"]["retry"]
        assert retry["properties"] == SCHEMA["properties"]
        # Without one the Task's is the TaskQueue's, and that is a single attempt.
        assert "default" not in retry
        assert "retry" not in structural_schema(spec).get("required", [])


@pytest.mark.parametrize("kind", FIELDS["type"]["enum"])
def test_every_kind_of_the_schema_can_be_read(kind: str) -> None:
    assert parse_policy({"backoff": {"type": kind}}).kind == kind


def test_defaults_of_the_schema_are_those_of_the_code() -> None:
    empty = RetrySpec.model_validate({}).model_dump(by_alias=True, exclude_none=True)
    assert parse_policy(empty) == parse_policy({})
    backoff = Backoff.model_validate({}).model_dump(by_alias=True, exclude_none=True)
    assert parse_policy({"backoff": backoff}) == parse_policy({})


@pytest.mark.parametrize(
    ("field", "default"),
    [("factor", FACTOR_DEFAULT), ("jitter", JITTER_DEFAULT)],
)
def test_a_default_lies_within_the_bounds_of_its_field(field: str, default: float) -> None:
    assert FIELDS[field]["minimum"] <= default <= FIELDS[field]["maximum"]


def test_attempts_are_bounded() -> None:
    attempts = SCHEMA["properties"]["maxAttempts"]
    assert (attempts["minimum"], attempts["maximum"]) == (1, 100)
    assert attempts["default"] == MAX_ATTEMPTS_DEFAULT


@pytest.mark.parametrize("kind", ["Fixed", "Exponential", "Random"])
def test_the_longest_pause_of_the_schema_is_within_reach_of_the_ladder(kind: str) -> None:
    backoff = {
        "type": kind,
        "initial": longest("initial"),
        "factor": FIELDS["factor"]["maximum"],
        "max": longest("max"),
        "jitter": FIELDS["jitter"]["maximum"],
    }
    # At its cap the longest is the one without jitter, else the one with all of it.
    policy = parse_policy({"backoff": backoff})
    pause = max(policy.pause(100, lambda: 0.0), policy.pause(100, lambda: 1 - 2**-53))
    assert pause <= DELAY_MAX
    assert pause >= parse_duration(longest("initial"))
