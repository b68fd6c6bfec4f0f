"""A scale-down takes idle pods first, then those with the least work."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue_operator.domain.deletion_cost import WorkerPod, decide_cost, pick_idle

NOW = 1_000_000.0
INT32_MAX = 2**31 - 1

IDLE = WorkerPod("idle")
ORDER = [
    IDLE,
    WorkerPod("unknown age", running=1),
    WorkerPod("just begun", running=1, since=NOW - 1),
    WorkerPod("an hour", running=1, since=NOW - 3600),
    WorkerPod("a year", running=1, since=NOW - 365 * 86400),
    WorkerPod("two", running=2, since=NOW),
    WorkerPod("full", running=64, since=NOW - 86400),
]


def test_the_order_is_by_work() -> None:
    costs = [decide_cost(pod, NOW) for pod in ORDER]
    assert costs[0] == 0
    assert costs == sorted(set(costs))


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        pytest.param(WorkerPod("a"), {}, id="idle, as by default"),
        pytest.param(WorkerPod("a", annotation="0"), {}, id="idle, and marked so"),
        pytest.param(WorkerPod("a", annotation="105"), {"a": "0"}, id="idle by now"),
        pytest.param(WorkerPod("a", running=1, since=NOW - 10), {"a": "104"}, id="busy by now"),
        pytest.param(
            WorkerPod("a", running=1, since=NOW - 15, annotation="104"),
            {},
            id="busy, and marked so",
        ),
        pytest.param(
            WorkerPod("a", running=1, since=NOW - 16, annotation="104"), {"a": "105"}, id="longer"
        ),
        pytest.param(
            WorkerPod("a", running=2, since=NOW, annotation="100"), {"a": "200"}, id="more work"
        ),
        pytest.param(WorkerPod("a", annotation="what"), {"a": "0"}, id="somebody's own text"),
        pytest.param(
            WorkerPod("a", running=1, since=NOW + 5), {"a": "100"}, id="begun by a clock ahead"
        ),
    ],
)
def test_only_what_differs_is_set(pod: WorkerPod, expected: dict[str, str]) -> None:
    assert pick_idle([pod], NOW) == expected


@given(st.integers(0, 64), st.floats(0, 1e12))
def test_a_cost_is_one_that_kubernetes_takes(running: int, age: float) -> None:
    cost = decide_cost(WorkerPod("a", running=running, since=NOW - age), NOW)
    assert 0 <= cost <= INT32_MAX
    assert (cost == 0) == (running == 0)


@given(st.integers(1, 63), st.floats(0, 1e12), st.floats(0, 1e12))
def test_more_work_costs_more_however_long_it_has_run(
    running: int, age: float, other: float
) -> None:
    less = decide_cost(WorkerPod("a", running=running, since=NOW - age), NOW)
    assert decide_cost(WorkerPod("a", running=running + 1, since=NOW - other), NOW) > less


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_longer_work_does_not_cost_less(age: float, more: float) -> None:
    shorter = decide_cost(WorkerPod("a", running=1, since=NOW - age), NOW)
    assert decide_cost(WorkerPod("a", running=1, since=NOW - age - more), NOW) >= shorter


def test_what_was_set_is_not_set_again() -> None:
    costs = pick_idle(ORDER, NOW)
    assert "idle" not in costs
    marked = [WorkerPod(pod.name, pod.running, pod.since, costs.get(pod.name)) for pod in ORDER]
    assert pick_idle(marked, NOW) == {}
