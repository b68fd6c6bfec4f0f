"""The soak's plan is the same for a seed, and its account finds what is wrong."""

from dataclasses import replace

import pytest

from e2e.recorder import Run
from e2e.soak.accounting import Blow, settle_accounts, show
from e2e.soak.plan import FAULTS, QUEUES, NewTask, make_plan

MINUTES = 10 * 60.0


def test_a_plan_can_be_repeated() -> None:
    assert make_plan(7, MINUTES) == make_plan(7, MINUTES)
    assert make_plan(7, MINUTES) != make_plan(8, MINUTES)


@pytest.mark.parametrize("seed", range(5))
def test_a_plan_has_something_of_everything(seed: int) -> None:
    plan = make_plan(seed, MINUTES)
    assert {fault.kind for fault in plan.faults} == set(FAULTS)
    assert {task.queue for task in plan.tasks} == set(QUEUES)
    assert {task.intended for task in plan.tasks} == {"Succeeded", "Failed", "Cancelled"}
    assert any(task.later for task in plan.tasks)
    assert len({task.name for task in plan.tasks}) == len(plan.tasks)
    for acts in (plan.tasks, plan.faults):
        times = [act.at for act in acts]
        assert times == sorted(times)
        assert times[-1] < MINUTES


TASK = NewTask(0.0, "a", "quorum", "slow", {})
START = Run("start", "uid", 1, "a", "pod-1", None, 100.0)
AGAIN = replace(START, pod="pod-2", time=103.0)


def test_all_is_well() -> None:
    later = replace(START, attempt=2, pod="pod-2", time=103.0)
    account = settle_accounts([TASK], {"a": "Succeeded"}, [START, later], [])
    assert account.good
    assert (account.created, account.attempts, account.ended) == (1, 2, {"Succeeded": 1})


@pytest.mark.parametrize("phases", [{}, {"a": "Running"}, {"a": "Failed"}, {"a": "Cancelled"}])
def test_a_task_that_does_not_end_as_intended_is_lost(phases: dict[str, str]) -> None:
    account = settle_accounts([TASK], phases, [], [])
    assert not account.good
    assert account.lost == [f"a (slow, quorum): {phases.get('a', 'gone')}"]
    assert "lost: a (slow, quorum)" in show(account)


@pytest.mark.parametrize(
    ("queue", "blows", "explained"),
    [
        pytest.param("quorum", [], False, id="nothing happened"),
        pytest.param("quorum", [("pod-1", 100.5, 100.6)], True, id="its worker was killed"),
        pytest.param("quorum", [("pod-2", 100.5, 100.6)], False, id="another was killed"),
        pytest.param("quorum", [("pod-1", 103.5, 103.6)], False, id="killed too late"),
        pytest.param("quorum", [("pod-1", 90.0, 99.0)], False, id="it was over by then"),
        pytest.param("quorum", [("", 90.0, 101.0)], True, id="the API server was away"),
        pytest.param("always", [("pod-1", 100.5, 100.6)], False, id="every start is written"),
    ],
)
def test_a_second_start_needs_an_explanation(
    queue: str, blows: list[tuple[str, float, float]], explained: bool
) -> None:
    hits = [
        Blow("worker killed", begun, ended, frozenset([pod] if pod else []))
        for pod, begun, ended in blows
    ]
    task = replace(TASK, queue=queue)
    account = settle_accounts([task], {"a": "Succeeded"}, [START, AGAIN], hits)
    assert len(account.doubled) == 1
    assert account.good == explained
    assert ("NOT EXPLAINED" in show(account)) != explained
