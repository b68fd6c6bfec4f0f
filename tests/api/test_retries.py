"""When a failed attempt is followed by another, and after what time."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue_api.retries import (
    ONCE,
    BadPolicyError,
    RetryPolicy,
    parse_policy,
    read_policy,
    write_policy,
)

SECOND = timedelta(seconds=1)
ALMOST_ONE = 1 - 2**-53
"""The greatest number that random.random() gives."""

KINDS = ("Immediate", "Fixed", "Exponential", "Random")
EXPONENTIAL: dict[str, Any] = {"type": "Exponential", "jitter": 0}


def policy(**backoff: Any) -> RetryPolicy:
    return parse_policy({"backoff": backoff})


def middle() -> float:
    """Give the random number that makes no pause longer nor shorter."""
    return 0.5


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        pytest.param({"type": "Immediate"}, [0, 0, 0, 0], id="immediate"),
        pytest.param({"type": "Fixed", "initial": "3s"}, [3, 3, 3, 3], id="fixed"),
        pytest.param({"type": "Fixed"}, [1, 1, 1, 1], id="fixed by default"),
        pytest.param({"type": "Fixed", "initial": "1h"}, [3600] * 4, id="fixed beyond max"),
        pytest.param({}, [1, 2, 4, 8], id="exponential by default"),
        pytest.param(
            {"type": "Exponential", "initial": "100ms", "factor": 10},
            [0.1, 1, 10, 100],
            id="exponential",
        ),
        pytest.param(
            {"type": "Exponential", "initial": "2s", "factor": 3, "max": "10s"},
            [2, 6, 9, 9],
            id="exponential, capped",
        ),
        pytest.param(
            {"type": "Exponential", "initial": "2s", "max": "2s"}, [1.8] * 4, id="capped at once"
        ),
        pytest.param(
            {"type": "Exponential", "initial": "2s", "factor": 1}, [2] * 4, id="does not grow"
        ),
        pytest.param(
            {"type": "Exponential", "initial": "1s", "factor": 1.5}, [1, 1.5, 2.25, 3.375], id="1.5"
        ),
        pytest.param(
            {"type": "Random", "initial": "2s", "max": "4s"}, [3, 3, 3, 3], id="random, middle"
        ),
    ],
)
def test_pauses_by_kind(backoff: dict[str, Any], expected: list[float]) -> None:
    pauses = [policy(**backoff).pause(attempt, middle) for attempt in range(1, 5)]
    assert pauses == [timedelta(seconds=seconds) for seconds in expected]


@pytest.mark.parametrize(
    ("backoff", "low", "high"),
    [
        pytest.param({"type": "Fixed", "initial": "10s", "jitter": 0.5}, 5, 15, id="fixed"),
        pytest.param({"type": "Fixed", "initial": "10s", "jitter": 1}, 0, 20, id="all of it"),
        pytest.param({"type": "Fixed", "initial": "10s", "jitter": 0}, 10, 10, id="none"),
        pytest.param({"type": "Fixed", "initial": "10s"}, 8, 12, id="by default"),
        pytest.param({"type": "Exponential", "initial": "10s"}, 8, 12, id="exponential"),
        pytest.param({"type": "Random", "initial": "2s", "max": "4s"}, 2, 4, id="random"),
        pytest.param({"type": "Immediate"}, 0, 0, id="immediate"),
    ],
)
def test_jitter_stays_within_its_bounds(backoff: dict[str, Any], low: float, high: float) -> None:
    made = policy(**backoff)
    assert made.pause(1, lambda: 0.0) == timedelta(seconds=low)
    longest = made.pause(1, lambda: ALMOST_ONE)
    assert longest.total_seconds() == pytest.approx(high)
    assert longest <= timedelta(seconds=high)


@pytest.mark.parametrize("jitter", [0.2, 1])
@pytest.mark.parametrize(
    ("initial", "attempt"),
    [
        pytest.param("10s", 1, id="capped at once"),
        pytest.param("5s", 2, id="just grown to the cap"),
        pytest.param("4s", 3, id="grown beyond the cap"),
        pytest.param("1s", 1000, id="long at the cap"),
    ],
)
def test_at_the_cap_pauses_get_shorter_only_and_differ(
    initial: str, attempt: int, jitter: float
) -> None:
    made = policy(type="Exponential", initial=initial, max="10s", jitter=jitter)
    numbers = (0.0, 0.25, 0.5, 0.75, ALMOST_ONE)
    random = iter(numbers).__next__
    pauses = [made.pause(attempt, random) for _ in numbers]
    most, least = 10 * SECOND, 10 * SECOND * (1 - jitter)
    assert all(least <= pause <= most for pause in pauses)
    assert (max(pauses), min(pauses)) == (most, least)
    assert len(set(pauses)) == len(numbers)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, ALMOST_ONE])
def test_just_below_the_cap_no_two_pauses_are_equal(share: float) -> None:
    made = policy(type="Exponential", initial="512s", max="600s", jitter=1)
    assert made.pause(1, lambda: share) == timedelta(seconds=600) * share


@given(
    st.sampled_from(KINDS),
    st.integers(100, 604_800_000),
    st.integers(100, 604_800_000),
    st.floats(1, 100),
    st.floats(0, 1),
    st.integers(1, 10**9),
    st.floats(0, 1, exclude_max=True),
)
def test_any_policy_of_the_schema_gives_a_pause_within_its_bounds(
    kind: str,
    first: int,
    second: int,
    factor: float,
    jitter: float,
    attempt: int,
    number: float,
) -> None:
    initial, most = sorted((first, second))
    made = policy(type=kind, initial=f"{initial}ms", max=f"{most}ms", factor=factor, jitter=jitter)
    pause = made.pause(attempt, lambda: number)
    bound = {"Immediate": 0, "Fixed": initial * (1 + jitter)}.get(kind, most)
    assert timedelta() <= pause
    assert pause <= timedelta(milliseconds=bound) + timedelta(microseconds=1)


@given(st.integers(1, 300), st.floats(1, 100))
def test_an_exponential_pause_never_gets_shorter(attempt: int, factor: float) -> None:
    made = policy(**EXPONENTIAL, factor=factor)
    assert made.pause(attempt, middle) <= made.pause(attempt + 1, middle)


@pytest.mark.parametrize("attempt", [100, 101, 1025, 10**9, 2**63, 10**400], ids=str)
@pytest.mark.parametrize("factor", [2, 100], ids=lambda factor: f"factor {factor}")
def test_a_huge_attempt_overflows_nothing(attempt: int, factor: float) -> None:
    made = policy(**EXPONENTIAL, initial="168h", max="168h", factor=factor)
    assert made.pause(attempt, middle) == timedelta(hours=168)
    assert policy(**EXPONENTIAL, factor=factor).pause(attempt, middle) == timedelta(minutes=10)


def test_a_factor_close_to_one_still_comes_to_its_maximum_or_stays_below() -> None:
    made = policy(**EXPONENTIAL, factor=1.001)
    assert SECOND < made.pause(10**9, middle) <= timedelta(minutes=10)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(None, ONCE, id="no policy: a failure is final"),
        pytest.param(
            {},
            RetryPolicy(5, "Exponential", SECOND, 2.0, timedelta(minutes=10), 0.2),
            id="all defaults",
        ),
        pytest.param(
            {"backoff": None},
            RetryPolicy(5, "Exponential", SECOND, 2.0, timedelta(minutes=10), 0.2),
            id="no backoff",
        ),
        pytest.param(
            {
                "maxAttempts": 3,
                "backoff": {
                    "type": "Random",
                    "initial": "1m30s",
                    "factor": 3,
                    "max": "1h",
                    "jitter": 1,
                },
            },
            RetryPolicy(3, "Random", 90 * SECOND, 3.0, timedelta(hours=1), 1.0),
            id="all of it",
        ),
    ],
)
def test_a_policy_is_read_with_its_defaults(
    spec: dict[str, Any] | None, expected: RetryPolicy
) -> None:
    assert parse_policy(spec) == expected
    assert read_policy(write_policy(spec)) == expected


def test_without_a_policy_there_is_one_attempt() -> None:
    assert ONCE.max_attempts == 1
    assert (write_policy(None), read_policy("")) == ("", ONCE)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"maxAttempts": 0}, id="no attempt"),
        pytest.param({"maxAttempts": -1}, id="less than none"),
        pytest.param({"maxAttempts": "many"}, id="attempts are no number"),
        pytest.param({"maxAttempts": None}, id="attempts are null"),
        pytest.param({"backoff": {"type": "Linear"}}, id="unknown kind"),
        pytest.param({"backoff": {"type": ["Fixed"]}}, id="kind is a list"),
        pytest.param({"backoff": "Fixed"}, id="backoff is a text"),
        pytest.param({"backoff": {"initial": "soon"}}, id="no duration"),
        pytest.param({"backoff": {"initial": 5}}, id="a duration without unit"),
        pytest.param({"backoff": {"max": "-1s"}}, id="a negative duration"),
        pytest.param({"backoff": {"factor": 0.5}}, id="a factor that shrinks"),
        pytest.param({"backoff": {"factor": "fast"}}, id="factor is no number"),
        pytest.param({"backoff": {"jitter": -0.1}}, id="jitter below 0"),
        pytest.param({"backoff": {"jitter": 1.1}}, id="jitter above 1"),
        pytest.param({"backoff": {"jitter": float("nan")}}, id="jitter is no number"),
        pytest.param([], id="a list"),
        pytest.param(5, id="a number"),
    ],
)
def test_what_is_no_policy_is_refused(spec: Any) -> None:
    with pytest.raises(BadPolicyError, match="not a retry policy"):
        parse_policy(spec)
    with pytest.raises(BadPolicyError, match="not a retry policy"):
        read_policy(write_policy(spec))


@pytest.mark.parametrize("text", ["{", "maxAttempts: 3", "[]", '"5"', "\x00"], ids=repr)
def test_text_that_holds_no_policy_is_refused(text: str) -> None:
    with pytest.raises(BadPolicyError, match="not a retry policy"):
        read_policy(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 100_000, id="nested too deeply"),
        pytest.param('{"maxAttempts": Infinity}', id="attempts without end"),
        pytest.param('{"maxAttempts": 1e999}', id="attempts beyond any number"),
        pytest.param('{"backoff": {"factor": NaN}}', id="factor is no number"),
        pytest.param('{"backoff": {"factor": Infinity}}', id="factor without end"),
        pytest.param('{"backoff": {"factor": 1e308}}', id="factor that overflows"),
        pytest.param('{"backoff": {"initial": "0s"}}', id="initial of nothing"),
        pytest.param('{"backoff": {"type": "Fixed", "initial": "23000000000h"}}', id="for ever"),
    ],
)
def test_a_policy_that_the_schema_never_let_through_is_refused_or_harmless(text: str) -> None:
    # A header may hold anything: whoever can publish to a work queue writes it.
    try:
        made = read_policy(text)
    except BadPolicyError:
        return
    for attempt in (1, 2, 1000):
        assert made.pause(attempt, lambda: ALMOST_ONE) >= timedelta()


def test_text_is_the_same_for_equal_policies() -> None:
    one = {"maxAttempts": 3, "backoff": {"type": "Fixed", "initial": "1s"}}
    other = {"backoff": {"initial": "1s", "type": "Fixed"}, "maxAttempts": 3}
    assert write_policy(one) == write_policy(other)
    assert " " not in write_policy(one)
