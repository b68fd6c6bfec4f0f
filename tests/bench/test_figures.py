"""Figures of a benchmark, and ratios of runs side by side."""

import pytest

from bench.__main__ import find_ratios
from bench.figures import Figure, Readings, percentiles, ratio, table


def test_runs_are_collected_in_their_order() -> None:
    readings = Readings()
    for value in (3.0, 1.0, 2.0):
        readings.add("tasks", "1/s", value)
        readings.add("jobs", "1/s", value / 10)
    tasks, jobs = readings.figures()
    assert tasks.to_json() == {
        "name": "tasks",
        "unit": "1/s",
        "median": 2.0,
        "min": 1.0,
        "max": 3.0,
        "runs": [3.0, 1.0, 2.0],
    }
    assert jobs.name == "jobs"


def test_a_ratio_is_of_runs_side_by_side_and_not_of_medians() -> None:
    above, below = Figure("a", "1/s", (10, 40, 30)), Figure("b", "1/s", (10, 20, 10))
    assert ratio("a_to_b", above, below).runs == (1, 2, 3)
    with pytest.raises(ValueError, match="zip"):
        ratio("a_to_b", above, Figure("b", "1/s", (1,)))


def test_ratios_are_of_what_was_measured() -> None:
    tasks = Figure("tasks", "1/s", (150, 200))
    limit = Figure("limit_create_1_patch", "1/s", (200, 250))
    writes = Figure("writes_per_task", "1", (1.0, 1.01))
    (found, same) = find_ratios([tasks, limit, writes])
    assert (found.name, found.runs, same) == ("tasks_to_limit", (0.75, 0.8), writes)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, {"p50": 1, "p95": 1, "p99": 1}),
        (100, {"p50": 50, "p95": 95, "p99": 99}),
        (101, {"p50": 51, "p95": 96, "p99": 100}),
    ],
)
def test_percentiles_are_of_the_values_themselves(count: int, expected: dict[str, int]) -> None:
    assert percentiles(range(count, 0, -1)) == expected


def test_a_table_has_four_digits() -> None:
    text = table([Figure("tasks", "1/s", (123.456, 99.0, 1234567.0))])
    assert text.splitlines()[-1] == "| tasks | 1/s | 123.5 | 99 | 1.235e+06 | 3 |"
