"""Which workers the deletion of a TaskQueue waits for."""

from datetime import timedelta
from typing import Any

import pytest

from taskqueue_api.conditions import rfc3339
from taskqueue_operator.domain.draining import MARGIN, Drain, decide_drain, describe_drain
from tests.operator.builders import NOW

SOON, LATER = NOW + timedelta(seconds=5), NOW + timedelta(minutes=5)
LOST = NOW - MARGIN


def pod(end: Any = None, phase: str = "Running") -> dict[str, Any]:
    stamp = {"deletionTimestamp": rfc3339(end)} if end else {}
    return {"metadata": stamp, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("pods", "drain"),
    [
        pytest.param([], Drain(0, None, 0), id="none is left"),
        pytest.param([pod(SOON), pod(LATER)], Drain(2, LATER, 0), id="two finish what they run"),
        pytest.param([pod(LOST)], Drain(0, None, 0), id="one on a lost node"),
        pytest.param(
            [pod(LOST + timedelta(seconds=1))],
            Drain(1, LOST + timedelta(seconds=1), 0),
            id="its grace is just over",
        ),
        pytest.param([pod(), pod(SOON)], Drain(1, SOON, 1), id="one is not told yet"),
        pytest.param(
            [pod(SOON, "Succeeded"), pod(phase="Failed")], Drain(0, None, 0), id="ended ones"
        ),
    ],
)
def test_workers_are_waited_for_as_long_as_their_grace(
    pods: list[dict[str, Any]], drain: Drain
) -> None:
    assert decide_drain(pods, NOW) == drain


@pytest.mark.parametrize(
    ("drain", "message"),
    [
        pytest.param(
            Drain(1, SOON, 0), "1 worker finishes the Tasks at work, until {} at the latest", id="1"
        ),
        pytest.param(
            Drain(2, SOON, 1), "2 workers finish the Tasks at work, until {} at the latest", id="2"
        ),
    ],
)
def test_the_condition_says_what_is_waited_for_and_until_when(drain: Drain, message: str) -> None:
    condition = describe_drain(drain, 7)
    assert (condition.type, condition.status, condition.reason) == ("Ready", "False", "Deleting")
    assert condition.message.startswith(message.format(rfc3339(SOON)))
    assert condition.observed_generation == 7
