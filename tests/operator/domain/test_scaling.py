"""Scaling at a moment: how many workers the backlog needs, and what is said of it."""

from dataclasses import replace
from typing import Any

import pytest

from taskqueue_api.taskqueue import WorkersSpec
from taskqueue_operator.domain.scaling import Pace, Policy, read_policy
from tests.operator.scaling import IMAGE, POLICY, Deployment

SLOW_UP = replace(POLICY, up=Pace(window=30, step=None, period=15))
STEPS = replace(POLICY, up=Pace(0, 2, 15), down=Pace(60, 3, 15))
AT_LEAST_TWO = replace(POLICY, minimum=2)
AT_MOST_THREE = replace(POLICY, maximum=3)


@pytest.mark.parametrize(
    ("policy", "replicas", "seen", "expected"),
    [
        pytest.param(POLICY, 0, {}, (0, "Idle"), id="nothing at all"),
        pytest.param(POLICY, 0, {"due": 1}, (1, "BacklogGrew"), id="the first Task"),
        pytest.param(POLICY, 0, {"due": 9}, (3, "BacklogGrew"), id="a remainder gets a pod"),
        pytest.param(
            POLICY, 1, {"due": 4, "messages": 5}, (2, "BacklogGrew"), id="messages from elsewhere"
        ),
        pytest.param(
            POLICY, 1, {"due": 5, "messages": 0}, (2, "BacklogGrew"), id="Tasks not yet published"
        ),
        pytest.param(POLICY, 2, {"due": 8}, (2, "Steady"), id="just enough"),
        pytest.param(POLICY, 2, {"due": 99}, (10, "BacklogGrew"), id="up to the maximum"),
        pytest.param(POLICY, 10, {"due": 99}, (10, "AtMaximum"), id="the maximum holds"),
        pytest.param(AT_LEAST_TWO, 2, {"due": 1}, (2, "AtMinimum"), id="the minimum holds"),
        pytest.param(AT_LEAST_TWO, 0, {}, (2, "AtMinimum"), id="a new queue gets its minimum"),
        pytest.param(
            AT_LEAST_TWO, 1, {"messages": None}, (2, "AtMinimum"), id="the minimum needs no broker"
        ),
        pytest.param(AT_MOST_THREE, 5, {"due": 99}, (3, "AtMaximum"), id="a maximum lowered"),
        pytest.param(
            AT_MOST_THREE, 5, {"messages": None}, (3, "AtMaximum"), id="the maximum neither"
        ),
        pytest.param(
            replace(AT_LEAST_TWO, up=SLOW_UP.up), 0, {"due": 40}, (2, "AtMinimum"), id="at once"
        ),
        pytest.param(POLICY, 3, {"due": 1}, (3, "Stabilizing"), id="down takes its time"),
        pytest.param(POLICY, 3, {"messages": None}, (3, "BacklogUnknown"), id="nothing is known"),
        pytest.param(
            POLICY, 1, {"due": 9, "messages": None}, (3, "BacklogGrew"), id="Tasks alone raise"
        ),
        pytest.param(SLOW_UP, 1, {"due": 9}, (1, "Stabilizing"), id="up takes its time, if asked"),
        pytest.param(STEPS, 1, {"due": 40}, (3, "StepLimited"), id="a step up"),
        pytest.param(STEPS, 1, {"due": 12}, (3, "BacklogGrew"), id="as much as a step"),
        pytest.param(
            POLICY, 2, {"due": 40, "ready": 1, "fault": IMAGE}, (2, "Blocked"), id="none can start"
        ),
        pytest.param(
            POLICY, 2, {"due": 40, "fault": IMAGE}, (3, "Blocked"), id="all there are run: one more"
        ),
        pytest.param(
            POLICY, 0, {"due": 40, "fault": IMAGE}, (1, "Blocked"), id="one finds out how it is"
        ),
        pytest.param(
            POLICY, 2, {"due": 8, "ready": 1, "fault": IMAGE}, (2, "Blocked"), id="said at rest too"
        ),
        pytest.param(
            POLICY, 2, {"due": 8, "fault": IMAGE}, (2, "Steady"), id="a surplus pod has a fault"
        ),
        pytest.param(
            AT_LEAST_TWO, 1, {"ready": 0, "fault": IMAGE}, (2, "AtMinimum"), id="the minimum is due"
        ),
        pytest.param(POLICY, 7, {"due": 99, "paused": True}, (0, "Paused"), id="paused"),
        pytest.param(
            replace(AT_LEAST_TWO, down=STEPS.down),
            7,
            {"messages": None, "busy": 5, "paused": True},
            (0, "Paused"),
            id="paused, whatever else",
        ),
    ],
)
def test_a_first_look(
    policy: Policy, replicas: int, seen: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert Deployment(policy, replicas).see(0, **seen)[:2] == expected


@pytest.mark.parametrize(
    ("policy", "replicas", "seen", "message"),
    [
        pytest.param(
            POLICY, 1, {"due": 9}, "a backlog of 9 needs 3 pods; there was 1", id="BacklogGrew"
        ),
        pytest.param(
            POLICY,
            2,
            {"due": 99},
            "a backlog of 99 needs 25 pods; maxReplicas is 10, there were 2",
            id="BacklogGrew beyond the maximum",
        ),
        pytest.param(
            POLICY,
            10,
            {"due": 99},
            "a backlog of 99 needs 25 pods; maxReplicas is 10",
            id="AtMaximum",
        ),
        pytest.param(
            AT_MOST_THREE,
            5,
            {"due": 4},
            "a backlog of 4 needs 1 pod; maxReplicas is 3, there were 5",
            id="AtMaximum, from more",
        ),
        pytest.param(
            POLICY,
            3,
            {"due": 4},
            "a backlog of 4 needs 1 pod; 3 were needed within the last 1m",
            id="Stabilizing",
        ),
        pytest.param(
            STEPS,
            1,
            {"due": 40},
            "a backlog of 40 needs 10 pods; at most 2 more within 15s",
            id="StepLimited",
        ),
        pytest.param(
            POLICY,
            2,
            {"due": 40, "ready": 0, "fault": IMAGE},
            "a backlog of 40 needs 10 pods; no more are tried while pods cannot start: "
            "ImagePullBackOff: pod 'a': no such image",
            id="Blocked",
        ),
        pytest.param(
            replace(POLICY, down=Pace(0, None, 15)),
            3,
            {"due": 4, "messages": None},
            "a backlog of at least 4 needs 1 pod; none is taken away, since RabbitMQ does not say "
            "how many messages there are",
            id="BacklogUnknown",
        ),
        pytest.param(
            POLICY,
            3,
            {"due": 7, "paused": True},
            "spec.paused is true; what is not at work waits until it is false",
            id="Paused",
        ),
    ],
)
def test_a_message_names_the_numbers(
    policy: Policy, replicas: int, seen: dict[str, Any], message: str
) -> None:
    assert Deployment(policy, replicas).see(0, **seen).message == message


def test_a_policy_is_read_from_the_spec() -> None:
    scaling = {
        "minReplicas": 2,
        "maxReplicas": 7,
        "targetPerSlot": 3,
        "scaleUp": {"maxStep": 4},
        "scaleDown": {"stabilization": "90s", "period": "1m"},
        "idleBeforeZero": "1h",
    }
    spec = WorkersSpec.model_validate({"handlers": {}, "concurrency": 4, "scaling": scaling})
    assert read_policy(spec) == Policy(
        minimum=2,
        maximum=7,
        per_pod=12,
        up=Pace(window=0, step=4, period=15),
        down=Pace(window=90, step=None, period=60),
        idle_seconds=3600,
    )


def test_without_scaling_there_is_no_policy() -> None:
    assert read_policy(WorkersSpec.model_validate({"handlers": {}})) is None


def test_the_defaults_are_read() -> None:
    spec = WorkersSpec.model_validate({"handlers": {}, "concurrency": 4, "scaling": {}})
    assert read_policy(spec) == POLICY
