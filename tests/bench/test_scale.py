"""The pure parts of what is measured of many Tasks and TaskQueues, and of an idle worker."""

from typing import Any

import pytest

from bench.scale import is_idle, is_ready, mean_between
from bench.tasks import cpu_per_task
from bench.worker import per_slot


def queue(**conditions: tuple[str, str]) -> dict[str, Any]:
    """Return a TaskQueue with conditions: status and reason by type."""
    return {
        "status": {
            "conditions": [
                {"type": kind, "status": status, "reason": reason}
                for kind, (status, reason) in conditions.items()
            ]
        }
    }


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({}, False, id="nobody has seen it yet"),
        pytest.param(queue(Ready=("True", "Ready")), False, id="nothing is decided yet"),
        pytest.param(
            queue(Ready=("False", "Broker"), Scaling=("True", "Idle")), False, id="not ready"
        ),
        pytest.param(
            queue(Ready=("True", "Ready"), Scaling=("True", "Steady")), False, id="at work"
        ),
        pytest.param(queue(Ready=("True", "Ready"), Scaling=("True", "Idle")), True, id="idle"),
    ],
)
def test_a_queue_is_idle_when_it_is_ready_and_needs_no_worker(
    body: dict[str, Any], expected: bool
) -> None:
    assert is_idle(body) is expected


def test_a_queue_may_be_ready_before_it_is_idle() -> None:
    assert is_ready(queue(Ready=("True", "Ready")))
    assert not is_ready(queue(Ready=("False", "Broker")))
    assert not is_ready({})


def test_cost_of_a_task_is_what_came_on_top_in_milliseconds() -> None:
    before = {"operator": 10.0, "api_server": 100.0}
    after = {"operator": 11.5, "api_server": 106.0}
    assert cpu_per_task(before, after, 1000) == {"operator": 1.5, "api_server": 6.0}


def test_memory_of_a_slot_is_between_the_fewest_and_the_most() -> None:
    assert per_slot({1: 60.0, 8: 81.0, 4: 75.0}) == 3.0


def test_mean_is_of_what_came_between() -> None:
    assert mean_between((10.0, 100.0), (13.0, 150.0)) == pytest.approx(0.06)
