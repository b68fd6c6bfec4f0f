"""What the schema lets through of scaling is what the code can read, and its defaults fit."""

import json
import re
from typing import Any

import pytest

from taskqueue_api.crd import structural_schema
from taskqueue_api.durations import parse_duration
from taskqueue_api.scaling import PODS_MOST, ScalingSpec
from taskqueue_api.taskqueue import TaskQueueSpec, WorkersSpec

SCHEMA = structural_schema(ScalingSpec)
FIELDS: dict[str, Any] = SCHEMA["properties"]
UP: dict[str, Any] = FIELDS["scaleUp"]["properties"]
DOWN: dict[str, Any] = FIELDS["scaleDown"]["properties"]
WORKERS = structural_schema(WorkersSpec)


def find_bounds(field: dict[str, Any]) -> tuple[float, float]:
    """Return the least and the most seconds that the rules of a duration allow."""
    text = json.dumps(field)
    found = [re.search(rf"{sign} duration\('(\w+)'\)", text) for sign in (">=", "<=")]
    low, high = (parse_duration(bound[1]).total_seconds() for bound in found if bound)
    return low, high


@pytest.mark.parametrize(
    ("field", "bounds", "default"),
    [
        pytest.param(UP["stabilization"], (0, 3600), "0s", id="up"),
        pytest.param(DOWN["stabilization"], (0, 3600), "1m", id="down"),
        # Within no time at all, no step could ever be made.
        pytest.param(UP["period"], (1, 3600), "15s", id="period up"),
        pytest.param(DOWN["period"], (1, 3600), "15s", id="period down"),
        pytest.param(FIELDS["idleBeforeZero"], (0, 86400), "5m", id="idle"),
    ],
)
def test_a_duration_has_bounds_that_its_default_is_within(
    field: dict[str, Any], bounds: tuple[float, float], default: str
) -> None:
    assert find_bounds(field) == bounds
    assert field["default"] == default
    assert bounds[0] <= parse_duration(default).total_seconds() <= bounds[1]


@pytest.mark.parametrize(
    ("field", "bounds", "default"),
    [
        pytest.param(FIELDS["minReplicas"], (0, PODS_MOST), 0, id="minimum"),
        pytest.param(FIELDS["maxReplicas"], (1, PODS_MOST), 10, id="maximum"),
        pytest.param(FIELDS["targetPerSlot"], (1, 1000), 1, id="target"),
        pytest.param(UP["maxStep"], (1, PODS_MOST), None, id="step up"),
        pytest.param(DOWN["maxStep"], (1, PODS_MOST), None, id="step down"),
    ],
)
def test_a_number_has_bounds(
    field: dict[str, Any], bounds: tuple[int, int], default: int | None
) -> None:
    assert (field["minimum"], field["maximum"]) == bounds
    assert field.get("default") == default


def test_the_schemas_defaults_are_those_of_the_code() -> None:
    # The code also reads objects that were stored before the schema had these fields.
    for field, model in (
        ("scaleUp", ScalingSpec().scale_up),
        ("scaleDown", ScalingSpec().scale_down),
    ):
        values = model.model_dump(by_alias=True, exclude_none=True)
        assert FIELDS[field]["default"] == values
        assert {key: FIELDS[field]["properties"][key]["default"] for key in values} == values


def test_without_scaling_there_is_none() -> None:
    scaling = WORKERS["properties"]["scaling"]
    assert "default" not in scaling
    assert WORKERS["required"] == ["handlers"]
    assert WorkersSpec.model_validate({"handlers": {}}).scaling is None


def test_the_minimum_is_compared_with_the_maximum_and_both_are_named() -> None:
    (rule,) = SCHEMA["x-kubernetes-validations"]
    assert rule["rule"] == "self.minReplicas <= self.maxReplicas"
    for name in ("minReplicas", "maxReplicas"):
        assert name in rule["message"]
        assert f"self.{name}" in rule["messageExpression"]


def test_replicas_beside_scaling_are_refused_but_for_the_default() -> None:
    (rule,) = WORKERS["x-kubernetes-validations"]
    assert rule["rule"] == "!has(self.scaling) || self.replicas == 1"
    assert WORKERS["properties"]["replicas"]["default"] == 1


def test_a_taskqueue_is_not_paused_unless_it_says_so() -> None:
    paused = structural_schema(TaskQueueSpec)["properties"]["paused"]
    assert (paused["type"], paused["default"]) == ("boolean", False)
