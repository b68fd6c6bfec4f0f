"""What the schema lets through of limits is what the code can keep."""

import json
import re

import pytest

from taskqueue_api.crd import structural_schema
from taskqueue_api.durations import parse_duration
from taskqueue_api.taskqueue import WorkersSpec

WORKERS = structural_schema(WorkersSpec)["properties"]
RATE = WORKERS["rateLimit"]["properties"]


@pytest.mark.parametrize(
    ("field", "bounds"),
    [
        pytest.param(RATE["tasks"], (1, 10_000), id="starts"),
        pytest.param(WORKERS["maxRunning"], (1, 1000), id="running"),
    ],
)
def test_a_number_has_bounds(field: dict[str, int], bounds: tuple[int, int]) -> None:
    assert (field["minimum"], field["maximum"]) == bounds


def test_the_time_that_starts_are_counted_in_has_bounds() -> None:
    text = json.dumps(RATE["per"])
    bounds = [re.search(rf"{sign} duration\('(\w+)'\)", text) for sign in (">=", "<=")]
    assert [bound and parse_duration(bound[1]).total_seconds() for bound in bounds] == [1, 86_400]
    assert "must be between '1s' and '24h'" in text


def test_a_rate_is_whole_and_without_limits_there_are_none() -> None:
    assert WORKERS["rateLimit"]["required"] == ["tasks", "per"]
    assert not {"default"} & (WORKERS["rateLimit"].keys() | WORKERS["maxRunning"].keys())
    spec = WorkersSpec.model_validate({"handlers": {}})
    assert (spec.rate_limit, spec.max_running) == (None, None)
