"""Tasks that cannot be deleted are not read again and again."""

from datetime import timedelta

import pytest

from taskqueue_operator.domain import set_aside
from taskqueue_operator.domain.history import FinishedTask, Obstacle
from taskqueue_operator.domain.set_aside import PAUSES, SetAside
from tests.operator.builders import NOW

TASK = FinishedTask("a", "Failed", NOW, None)
OTHER = TASK._replace(name="b")


@pytest.mark.parametrize("obstacle", list(Obstacle))
def test_a_task_is_left_alone_for_a_while(obstacle: Obstacle) -> None:
    aside = SetAside()
    aside.add("shop", TASK, obstacle, NOW)
    end = NOW + PAUSES[obstacle]
    just_before = end - timedelta(seconds=1)
    assert aside.holds("shop", TASK, just_before, git_ops=False)
    assert aside.next_end("shop", just_before) == end
    assert not aside.holds("shop", TASK, end, git_ops=False)
    assert aside.next_end("shop", end) is None


@pytest.mark.parametrize("obstacle", list(Obstacle))
def test_being_tracked_is_no_obstacle_once_it_may_be(obstacle: Obstacle) -> None:
    aside = SetAside()
    aside.add("shop", TASK, obstacle, NOW)
    held = aside.holds("shop", TASK, NOW, git_ops=True)
    assert held == (obstacle is not Obstacle.TRACKED)


def test_others_are_not_meant() -> None:
    aside = SetAside()
    aside.add("shop", TASK, Obstacle.TRACKED, NOW)
    again = TASK._replace(finished=NOW + timedelta(seconds=1))
    for namespace, task in (("shop", OTHER), ("shop", again), ("elsewhere", TASK)):
        assert not aside.holds(namespace, task, NOW, git_ops=False)
    assert aside.next_end("elsewhere", NOW) is None


def test_what_no_longer_exists_is_forgotten() -> None:
    aside = SetAside()
    for task in (TASK, OTHER):
        aside.add("shop", task, Obstacle.TRACKED, NOW)
    aside.add("elsewhere", TASK, Obstacle.TRACKED, NOW)
    aside.keep_only("shop", [OTHER, TASK._replace(name="c")])
    aside.keep_only("never seen", [TASK])
    assert not aside.holds("shop", TASK, NOW, git_ops=False)
    assert aside.holds("shop", OTHER, NOW, git_ops=False)
    assert aside.holds("elsewhere", TASK, NOW, git_ops=False)
    aside.keep_only("shop", [])
    assert aside.next_end("shop", NOW) is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_aside, "MOST", 3)
    aside = SetAside()
    tasks = [TASK._replace(name=str(number)) for number in range(10)]
    for task in tasks:
        aside.add("shop", task, Obstacle.TRACKED, NOW)
    assert sum(aside.holds("shop", task, NOW, git_ops=False) for task in tasks) <= 3
    assert aside.holds("shop", tasks[-1], NOW, git_ops=False)
