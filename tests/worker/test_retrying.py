"""Whether a failed attempt is followed by another."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from taskqueue_api.names import DELAY_MAX
from taskqueue_api.retries import ONCE, RetryPolicy, parse_policy
from taskqueue_worker.outcomes import Failure, Outcome, Success, failure, final
from taskqueue_worker.retrying import Again, decide_retry

THREE: dict[str, Any] = {"maxAttempts": 3, "backoff": {"type": "Fixed", "initial": "1m"}}
BOOM = failure("Boom", "why")
MINUTE = timedelta(minutes=1)


def decide(outcome: Outcome, attempt: int, policy: RetryPolicy, number: float = 0.5) -> Any:
    return decide_retry(outcome, attempt, policy, lambda: number)


@pytest.mark.parametrize(
    ("outcome", "attempt", "spec", "delay"),
    [
        pytest.param(BOOM, 1, THREE, MINUTE, id="first failure"),
        pytest.param(BOOM, 2, THREE, MINUTE, id="one left"),
        pytest.param(BOOM, 3, THREE, None, id="the last"),
        pytest.param(BOOM, 4, THREE, None, id="beyond the last: lost workers"),
        pytest.param(BOOM, 1, None, None, id="no policy"),
        pytest.param(BOOM, 1, {"maxAttempts": 1}, None, id="one attempt"),
        pytest.param(BOOM, 2, {}, timedelta(seconds=2), id="exponential by default"),
        pytest.param(BOOM, 1, {"backoff": {"type": "Immediate"}}, timedelta(), id="again at once"),
        pytest.param(Success(None), 1, THREE, None, id="success"),
        pytest.param(Success(b"1"), 3, THREE, None, id="success at last"),
        pytest.param(final("Rejected", "m"), 1, THREE, None, id="permanent"),
        pytest.param(
            failure("Retry", "m", after=7), 1, THREE, timedelta(seconds=7), id="asked for a time"
        ),
        pytest.param(failure("Retry", "m", after=0), 1, THREE, timedelta(), id="asked for no time"),
        pytest.param(failure("Retry", "m", after=7), 3, THREE, None, id="asked after the last"),
        pytest.param(failure("Retry", "m", after=7), 1, None, None, id="asked, but no policy"),
        pytest.param(
            failure("Retry", "m", permanent=True, after=7), 1, THREE, None, id="asked and permanent"
        ),
        pytest.param(failure("Retry", "m"), 1, THREE, MINUTE, id="asked, by the policy"),
        pytest.param(
            failure("Retry", "m", after=0.05),
            1,
            THREE,
            timedelta(milliseconds=50),
            id="asked for less than the ladder's unit",
        ),
        pytest.param(
            failure("Retry", "m", after=DELAY_MAX.total_seconds()),
            1,
            THREE,
            DELAY_MAX,
            id="asked for the longest",
        ),
        pytest.param(
            failure("Retry", "m", after=DELAY_MAX.total_seconds() + 1),
            1,
            THREE,
            DELAY_MAX,
            id="asked for more than the ladder reaches",
        ),
    ],
)
def test_decide_retry(
    outcome: Outcome, attempt: int, spec: dict[str, Any] | None, delay: timedelta | None
) -> None:
    expected = None
    if delay is not None:
        assert isinstance(outcome, Failure)
        expected = Again(outcome, delay)
    assert decide(outcome, attempt, parse_policy(spec)) == expected


@pytest.mark.parametrize(
    ("number", "delay"),
    [(0.0, timedelta(seconds=48)), (0.5, MINUTE), (0.75, timedelta(seconds=66))],
)
def test_jitter_is_drawn_for_each_pause(number: float, delay: timedelta) -> None:
    again = decide(BOOM, 1, parse_policy(THREE), number)
    assert again.delay == delay


def test_a_pause_is_at_most_what_the_ladder_reaches() -> None:
    policy = replace(parse_policy(THREE), initial=2 * DELAY_MAX)
    assert decide(BOOM, 1, policy).delay == DELAY_MAX


@pytest.mark.parametrize("number", [0.0, 0.999])
def test_what_a_handler_asks_for_has_no_jitter(number: float) -> None:
    again = decide(failure("Retry", "m", after=100), 1, parse_policy(THREE), number)
    assert again.delay == timedelta(seconds=100)


@pytest.mark.parametrize(
    "error_type",
    ["Timeout", "Killed", "OutOfMemory", "Exited", "ExitCode", "SlotNotStarted", "KeyError"],
)
def test_faults_that_may_pass_are_tried_again(error_type: str) -> None:
    assert decide(failure(error_type, "m"), 1, parse_policy(THREE)) is not None


def test_the_number_of_attempts_is_exact() -> None:
    policy = parse_policy({"maxAttempts": 100, "backoff": {"type": "Immediate"}})
    followed = [attempt for attempt in range(1, 200) if decide(BOOM, attempt, policy)]
    assert followed == list(range(1, 100))
    assert decide(BOOM, 1, ONCE) is None
