"""Scaling over time: windows, steps, readings that are missing or wrong, and idleness."""

from dataclasses import replace
from typing import Any

import pytest

from taskqueue_operator.domain.scaling import Pace, lacks_confirmation
from taskqueue_operator.domain.scaling_history import Observation, Reading
from tests.operator.scaling import IMAGE, POLICY, Deployment, settled

SLOW_UP = replace(POLICY, up=Pace(window=30, step=None, period=15))
STEPS = replace(POLICY, up=Pace(0, 2, 15), down=Pace(60, 3, 15))
AT_LEAST_TWO = replace(POLICY, minimum=2)


def test_going_down_needs_a_whole_window() -> None:
    deployment = settled(5)
    assert deployment.see(5, due=4, confirmed=True)[:2] == (5, "Stabilizing")
    assert deployment.see(64.9, due=4)[:2] == (5, "Stabilizing")
    assert deployment.see(65, due=4)[:2] == (1, "BacklogShrank")


def test_the_window_begins_with_the_second_reading_that_is_lower() -> None:
    deployment = settled(5)
    # It may be wrong, so that the queue is still as long as before.
    assert deployment.see(5, due=4, messages=20)[:2] == (5, "Steady")
    assert deployment.see(10, due=4)[:2] == (5, "Steady")
    assert deployment.see(15, due=4)[:2] == (5, "Stabilizing")
    assert deployment.see(74.9, due=4)[:2] == (5, "Stabilizing")
    assert deployment.see(75, due=4)[:2] == (1, "BacklogShrank")


def test_a_peak_within_the_window_starts_it_anew() -> None:
    deployment = settled(5)
    deployment.see(5, due=4, confirmed=True)
    deployment.see(40, due=12)
    deployment.see(45, due=4, confirmed=True)
    assert deployment.see(64.9, due=4).replicas == 5
    assert deployment.see(65, due=4)[:2] == (3, "Stabilizing")
    # Until 45 it was as at 40.
    assert deployment.see(104.9, due=4)[:2] == (3, "Stabilizing")
    assert deployment.see(105, due=4)[:2] == (1, "BacklogShrank")


def test_after_a_restart_nothing_goes_down_before_a_whole_window() -> None:
    deployment = Deployment(replicas=5)
    for at in range(0, 60, 5):
        assert deployment.see(at, due=4)[:2] == (5, "Stabilizing")
    assert deployment.see(60, due=4)[:2] == (1, "BacklogShrank")


def test_after_a_restart_nothing_goes_down_by_a_single_reading() -> None:
    deployment = Deployment(replace(POLICY, down=Pace(0, None, 15)), replicas=5)
    assert deployment.see(0, due=4)[:2] == (5, "BacklogUnknown")
    assert deployment.see(1, due=4, read_at=0)[:2] == (5, "BacklogUnknown")
    assert deployment.see(2, due=4)[:2] == (1, "BacklogShrank")


def test_a_single_low_reading_takes_nothing_away() -> None:
    deployment = Deployment(replace(POLICY, down=Pace(0, None, 15)), replicas=5)
    for at, messages in enumerate((20, 20, 3, 20, 20)):
        assert deployment.see(at, due=1, messages=messages).replicas == 5
    # Looked at again, it is still the same reading.
    assert deployment.see(5, due=1, messages=3).replicas == 5
    assert deployment.see(6, due=1, messages=3, read_at=5).replicas == 5
    assert deployment.see(7, due=1, messages=4, read_at=6)[:2] == (1, "BacklogShrank")


def test_nothing_goes_down_while_rabbitmq_is_silent_nor_for_a_window_after() -> None:
    deployment = settled(5)
    for at in range(5, 600, 5):
        assert deployment.see(at, due=4, messages=None).replicas == 5
    assert deployment.see(600, due=28, messages=None)[:2] == (7, "BacklogGrew")
    for at in range(605, 665, 5):
        assert deployment.see(at, due=4).replicas == 7
    assert deployment.see(665, due=4).replicas == 1


def test_a_silence_within_the_window_starts_it_anew() -> None:
    deployment = settled(5)
    for at in range(5, 60, 5):
        deployment.see(at, due=4)
    deployment.see(60, due=4, messages=None)
    # Silence, too, holds until something else is known.
    assert deployment.see(65, due=4).replicas == 5
    assert deployment.see(70, due=4).replicas == 5
    assert deployment.see(124, due=4)[:2] == (5, "Stabilizing")
    assert deployment.see(125, due=4)[:2] == (1, "BacklogShrank")


def test_a_zero_that_nothing_confirms_takes_nothing_away() -> None:
    deployment = settled(5)
    for at in range(5, 1000, 5):
        decision = deployment.see(at, messages=0)
        assert decision.replicas == 5
    assert decision.reason == "BacklogUnknown"
    assert "not confirmed" in decision.message


def test_a_zero_that_is_confirmed_when_it_matters_counts_from_its_beginning() -> None:
    deployment = settled(5)
    for at in range(5, 75, 5):
        deployment.see(at, messages=0)
    assert deployment.see(75, messages=0, confirmed=True)[:2] == (1, "KeptWarm")


def test_a_confirmed_zero_does_not_wait_for_a_second_one() -> None:
    deployment = settled(5)
    deployment.see(5, messages=0, confirmed=True)
    deployment.see(64, messages=0)
    assert deployment.see(65, messages=0, confirmed=True).replicas == 1


def test_confirmation_is_asked_for_when_it_is_all_that_is_in_the_way() -> None:
    deployment = settled(5)
    asked = []
    for at in range(5, 400, 5):
        decision = deployment.see(at, messages=0)
        observation = Observation(0, Reading(0, at), 5, 5, 0)
        if lacks_confirmation(observation, decision):
            asked.append(at)
            deployment.see(at, messages=0, confirmed=True)
    # Once to go down to the last pod, once for that one, and not at rest.
    assert asked == [70, 305]
    assert deployment.replicas == 0


def test_a_silence_cannot_be_confirmed_away() -> None:
    deployment = Deployment(replace(POLICY, down=Pace(0, None, 15)), replicas=5)
    decision = deployment.see(0, messages=None)
    assert decision.reason == "BacklogUnknown"
    assert not lacks_confirmation(Observation(0, None, 5, 5, 0), decision)
    decision = deployment.see(1, messages=4)
    assert decision.reason == "BacklogUnknown"
    assert not lacks_confirmation(Observation(0, Reading(4, 1), 5, 5, 0), decision)


def test_the_last_pod_goes_when_nothing_was_to_do_for_long_enough() -> None:
    deployment = settled(1)
    for at in range(5, 305, 5):
        assert deployment.see(at, messages=0, confirmed=True).replicas == 1
    assert deployment.see(305, messages=0, confirmed=True)[:2] == (0, "Idle")
    assert deployment.see(306, messages=0)[:2] == (0, "Idle")


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param({"due": 1, "messages": 0}, id="a Task"),
        pytest.param({"messages": 1}, id="a message"),
        pytest.param({"messages": 0, "busy": 1}, id="work that nobody else knows of"),
        pytest.param({"messages": None}, id="silence"),
        pytest.param({"paused": True}, id="a pause"),
    ],
)
def test_what_is_no_idleness_starts_it_anew(seen: dict[str, Any]) -> None:
    deployment = settled(1)
    deployment.see(5, messages=0, confirmed=True)
    deployment.see(200, **seen)
    deployment.replicas = 1
    for at in range(205, 505, 5):
        assert deployment.see(at, messages=0, confirmed=True).replicas == 1
    assert deployment.see(505, messages=0, confirmed=True).replicas == 0


def test_many_pods_go_to_the_last_one_and_then_to_none() -> None:
    deployment = settled(8)
    seen = [deployment.see(at, messages=0, confirmed=True).replicas for at in range(5, 310, 5)]
    assert seen == [8] * 12 + [1] * 48 + [0]


def test_with_a_minimum_the_last_pods_stay() -> None:
    deployment = settled(3, AT_LEAST_TWO)
    for at in range(5, 1000, 5):
        decision = deployment.see(at, messages=0, confirmed=True)
    assert decision[:2] == (2, "AtMinimum")


def test_going_up_waits_until_more_was_needed_for_the_whole_window() -> None:
    deployment = settled(1, SLOW_UP)
    assert deployment.see(5, due=20)[:2] == (1, "Stabilizing")
    assert deployment.see(20, due=12, confirmed=True)[:2] == (1, "Stabilizing")
    assert deployment.see(25, due=20)[:2] == (1, "Stabilizing")
    assert deployment.see(34.9, due=20)[:2] == (1, "Stabilizing")
    assert deployment.see(35, due=20)[:2] == (3, "Stabilizing")
    # Until 25 three were enough.
    assert deployment.see(54.9, due=20)[:2] == (3, "Stabilizing")
    assert deployment.see(55, due=20)[:2] == (5, "BacklogGrew")


def test_the_first_pod_comes_at_once_whatever_the_window() -> None:
    deployment = Deployment(SLOW_UP)
    deployment.see(-1000)
    assert deployment.see(0, due=20)[:2] == (1, "Stabilizing")
    assert deployment.see(29.9, due=20)[:2] == (1, "Stabilizing")
    assert deployment.see(30, due=20)[:2] == (5, "BacklogGrew")


def test_steps_up_are_counted_within_their_period() -> None:
    deployment = settled(1, STEPS)
    seen = [deployment.see(at, due=40).replicas for at in range(1, 60, 5)]
    # At 1 from 1 to 3, which is seen at 6; so the next one comes 15 s after that.
    assert seen == [3, 3, 3, 3, 5, 5, 5, 5, 7, 7, 7, 7]


def test_steps_down_are_counted_within_their_period() -> None:
    deployment = settled(10, STEPS)
    deployment.see(5, due=4, confirmed=True)
    seen = [deployment.see(at, due=4) for at in range(70, 130, 5)]
    assert [one.replicas for one in seen] == [7, 7, 7, 7, 4, 4, 4, 4, 1, 1, 1, 1]
    assert seen[0].reason == seen[1].reason == "StepLimited"


def test_each_direction_has_a_period_of_its_own() -> None:
    policy = replace(POLICY, up=Pace(0, 2, 5), down=Pace(0, 3, 60))
    deployment = settled(10, policy)
    seen = [deployment.see(at, due=4, confirmed=True).replicas for at in (100, 101, 160, 161)]
    assert seen == [7, 7, 7, 4]
    seen = [deployment.see(at, due=40).replicas for at in (162, 163, 167, 168)]
    assert seen == [6, 6, 6, 8]


def test_after_a_restart_no_step_down_is_made_before_a_whole_period() -> None:
    deployment = Deployment(replace(POLICY, down=Pace(0, 3, 15)), replicas=10)
    seen = [deployment.see(at, due=4).replicas for at in range(0, 20, 5)]
    assert seen == [10, 10, 10, 7]


def test_a_fault_counts_for_a_while_after_it_was_last_seen() -> None:
    deployment = settled(2)
    assert deployment.see(5, due=40, ready=1, fault=IMAGE).replicas == 2
    # Pods in a crash loop run in between.
    assert deployment.see(10, due=40, ready=1)[:2] == (2, "Blocked")
    assert deployment.see(34.9, due=40, ready=1)[:2] == (2, "Blocked")
    assert deployment.see(35, due=40, ready=1)[:2] == (10, "BacklogGrew")


def test_a_fault_does_not_keep_pods() -> None:
    deployment = settled(5)
    for at in range(5, 75, 5):
        decision = deployment.see(at, due=4, ready=0, fault=IMAGE)
    assert decision[:2] == (1, "BacklogShrank")


def test_what_was_paused_goes_on_at_once() -> None:
    deployment = settled(3, SLOW_UP)
    deployment.see(5, due=12, paused=True)
    assert deployment.see(600, due=30, paused=True)[:2] == (0, "Paused")
    assert deployment.see(601, due=30)[:2] == (8, "BacklogGrew")


def test_what_was_paused_without_work_stays_at_none() -> None:
    deployment = settled(3)
    deployment.see(5, paused=True)
    assert deployment.see(10)[:2] == (0, "Idle")
