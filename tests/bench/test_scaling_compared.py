"""What must hold between this operator's scaling, KEDA's and the HPA's, on made-up arrivals."""

from functools import cache

import pytest

from bench.scaling.patterns import PATTERNS
from bench.scaling.report import Figures, build_autoscalers, run, summarise

OURS, CALM, KEDA, HPA = range(4)

RUNS = [(pattern, seconds, seed) for pattern in PATTERNS for seconds in (5, 60) for seed in (1, 2)]


@cache
def figures(pattern: str, seconds: float, seed: int, autoscaler: int) -> Figures:
    chosen = build_autoscalers()[autoscaler]
    return summarise(run(pattern, seconds, chosen, seed))


@pytest.mark.parametrize(("pattern", "seconds", "seed"), RUNS)
@pytest.mark.parametrize("other", [KEDA, HPA])
def test_tasks_wait_no_longer_than_with_others(
    pattern: str, seconds: float, seed: int, other: int
) -> None:
    ours, theirs = (figures(pattern, seconds, seed, one) for one in (OURS, other))
    assert ours.mean <= theirs.mean
    assert ours.p95 <= theirs.p95


@pytest.mark.parametrize(("pattern", "seconds", "seed"), RUNS)
def test_no_task_is_killed(pattern: str, seconds: float, seed: int) -> None:
    assert figures(pattern, seconds, seed, OURS).killed == 0
    assert figures(pattern, seconds, seed, CALM).killed == 0


def test_others_kill_what_runs_for_longer_than_the_grace() -> None:
    # Or the test above would say nothing.
    assert sum(figures(*one, KEDA).killed for one in RUNS if one[1] == 60) > 0


def test_with_the_same_window_the_number_changes_its_direction_no_more_often() -> None:
    # In all: by chance either may be ahead in a run.
    ours, theirs = (sum(figures(*one, of).flaps for one in RUNS) for of in (CALM, KEDA))
    assert ours <= theirs


@pytest.mark.parametrize("seconds", [5, 60])
def test_bursts_cost_less_than_with_others(seconds: float) -> None:
    for seed in (1, 2):
        ours = figures("burst", seconds, seed, OURS).pod_seconds
        assert ours < figures("burst", seconds, seed, KEDA).pod_seconds
        assert ours < figures("burst", seconds, seed, HPA).pod_seconds
