"""The simulator of scaling loses and doubles no Task, and its autoscalers do as documented."""

from collections import Counter
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.scaling.autoscalers import Hpa, Keda
from bench.scaling.patterns import PATTERNS, Arrival
from bench.scaling.pods import Pod, View, pick_victims
from bench.scaling.report import build_autoscalers
from bench.scaling.world import START_SECONDS, TAIL_SECONDS, Outcome, World

arrivals = st.lists(
    st.builds(Arrival, st.floats(0, 200), st.floats(0.1, 90)), min_size=1, max_size=30
).map(sorted)


@dataclass
class Scripted:
    """An autoscaler that wants what a script says, and then a single pod."""

    script: list[int]
    name: str = "scripted"
    every: float = 7.0
    on_change: bool = False
    grace: float = 5.0
    looks: list[View] = field(default_factory=list)

    def decide(self, view: View, now: float) -> int:  # noqa: ARG002 - by the script alone
        self.looks.append(view)
        return self.script.pop(0) if self.script else 1

    def cost(self, pod: Pod, now: float) -> int:  # noqa: ARG002
        return 0


def play(
    tasks: list[Arrival], script: list[int], concurrency: int = 1, grace: float = 5
) -> Outcome:
    return World(tasks, Scripted(script, grace=grace), concurrency).run()


@settings(deadline=None)
@given(arrivals, st.lists(st.integers(0, 5), max_size=40), st.integers(1, 3))
def test_every_task_ends_once_whatever_is_done_to_the_pods(
    tasks: list[Arrival], script: list[int], concurrency: int
) -> None:
    scripted = Scripted(script)
    outcome = World(tasks, scripted, concurrency).run()
    assert [job.arrival for job in outcome.jobs] == tasks
    assert all(job.wait is not None and job.wait > -1e-6 for job in outcome.jobs)
    assert sum(job.starts - 1 for job in outcome.jobs) == outcome.killed
    assert outcome.pod_seconds * concurrency > sum(task.seconds for task in tasks)
    for view in scripted.looks:
        assert view.backlog <= len(tasks)


def test_a_pod_takes_as_many_tasks_as_it_has_slots() -> None:
    outcome = play([Arrival(10, 20)] * 5, [1], concurrency=2)
    assert Counter(round(job.wait or 0) for job in outcome.jobs) == {0: 2, 20: 2, 40: 1}


def test_a_task_waits_for_a_pod_to_start() -> None:
    outcome = play([Arrival(1, 1)], [0, 1])
    # Wanted at 7, the second look.
    assert outcome.jobs[0].wait == pytest.approx(7 - 1 + START_SECONDS)


def test_pods_count_until_they_are_gone() -> None:
    outcome = play([Arrival(5, 20)], [1, 0, 0, 0, 0, 0, 0], grace=60)
    # Drained at 7, gone at 25 with its Task; one more from 49 on.
    assert outcome.pod_seconds == pytest.approx(25 + (5 + TAIL_SECONDS - 49))
    assert outcome.killed == 0


def test_what_outlives_the_grace_is_killed_and_runs_again() -> None:
    outcome = play([Arrival(5, 20)], [1, 0])
    # Killed at 12, started again by the pod of 14.
    assert outcome.killed == 1
    assert outcome.jobs[0].starts == 2
    assert outcome.jobs[0].wait == pytest.approx(14 + START_SECONDS - 5)


def test_a_replica_set_takes_what_is_not_ready_then_what_costs_less_then_the_youngest() -> None:
    busy = {0: 90.0}
    pods = [
        Pod(0, created=0, ready=True),
        Pod(1, created=96, ready=True),
        Pod(2, created=98, ready=True, running=busy),
        Pod(3, created=50),
        Pod(4, created=99, ready=True, leaving=True),
    ]
    ours, _, keda, _ = build_autoscalers()
    assert [pod.number for pod in pick_victims(pods, 4, keda, 100)] == [3, 2, 1, 0]
    assert [pod.number for pod in pick_victims(pods, 4, ours, 100)] == [3, 1, 0, 2]


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_is_the_same_for_the_same_seed_and_in_order(name: str) -> None:
    first, second, other = (list(PATTERNS[name](Random(seed), 60)) for seed in (1, 1, 2))  # noqa: S311
    assert first == second != other
    assert first == sorted(first, key=lambda one: one.at)
    assert all(30 <= one.seconds <= 90 for one in first)


def test_steady_work_is_as_much_as_is_said() -> None:
    work = sum(one.seconds for one in PATTERNS["steady"](Random(1), 1.0))  # noqa: S311
    assert work / 1800 == pytest.approx(8, rel=0.05)


def ask(autoscaler: Hpa | Keda, backlogs: list[int], replicas: int) -> list[int]:
    """Return what is decided each 15 s, and done, for these backlogs."""
    decided = []
    for look, backlog in enumerate(backlogs):
        replicas = autoscaler.decide(View(backlog, 0, replicas, replicas), look * 15.0)
        decided.append(replicas)
    return decided


def test_the_hpa_goes_up_by_four_pods_or_doubles_per_15_s() -> None:
    assert ask(Hpa(1, 100, 4), [400] * 7, 1) == [5, 10, 20, 40, 80, 100, 100]


def test_the_hpa_goes_down_after_300_s() -> None:
    decided = ask(Hpa(1, 100, 4), [40] + [4] * 21, 10)
    assert decided == [10] * 20 + [1, 1]


def test_the_hpa_lets_a_tenth_pass() -> None:
    assert ask(Hpa(1, 100, 4), [43, 45], 10) == [10, 12]


def test_keda_looks_each_30_s_while_there_is_no_pod() -> None:
    assert ask(Keda(20, 4), [0, 80, 80, 80, 80, 80], 0) == [0, 0, 1, 5, 10, 20]


def test_keda_takes_all_pods_away_after_300_s_without_work() -> None:
    decided = ask(Keda(20, 4), [40] + [0] * 23, 10)
    # Active at 0; its polls are at 30, 60...; the HPA's own window ends at the same time.
    assert decided[:20] == [10] * 20
    assert decided[-1] == 0
    assert 0 not in decided[:22]
