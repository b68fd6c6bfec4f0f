"""A cap on all worker pods is shared out fairly, and always the same way."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.domain.pod_shares import Want, apply_cap, share
from taskqueue_operator.domain.scaling import Decision

want = st.builds(Want, st.integers(0, 6), st.integers(0, 12))
wants = st.dictionaries(st.builds(QueueKey, st.sampled_from("ab"), st.sampled_from("xyz")), want)
caps = st.integers(0, 60)
Wants = dict[QueueKey, Want]


def build_wants(**by_name: tuple[int, int]) -> Wants:
    return {QueueKey("shop", name): Want(*want) for name, want in by_name.items()}


@pytest.mark.parametrize(
    ("cap", "given_wants", "shares"),
    [
        pytest.param(9, {}, {}, id="nobody"),
        pytest.param(9, {"a": (0, 4), "b": (1, 5)}, {"a": 4, "b": 5}, id="enough for all"),
        pytest.param(6, {"a": (0, 9), "b": (0, 9)}, {"a": 3, "b": 3}, id="equal shares"),
        pytest.param(7, {"b": (0, 9), "a": (0, 9)}, {"a": 4, "b": 3}, id="ties by name"),
        pytest.param(
            9, {"a": (0, 9), "b": (0, 2), "c": (0, 9)}, {"a": 4, "b": 2, "c": 3}, id="small wants"
        ),
        pytest.param(
            6, {"a": (0, 9), "b": (4, 9), "c": (0, 9)}, {"a": 1, "b": 4, "c": 1}, id="minimums"
        ),
        pytest.param(
            8, {"a": (0, 9), "b": (4, 9)}, {"a": 4, "b": 4}, id="a minimum is part of the share"
        ),
        pytest.param(
            5,
            {"a": (4, 9), "b": (4, 4), "c": (1, 9)},
            {"a": 2, "b": 2, "c": 1},
            id="too many musts",
        ),
        pytest.param(
            2, {"a": (5, 0), "b": (0, 2)}, {"a": 0, "b": 2}, id="paused, whatever its minimum"
        ),
        pytest.param(0, {"a": (2, 3)}, {"a": 0}, id="nothing to share"),
    ],
)
def test_share(cap: int, given_wants: dict[str, tuple[int, int]], shares: dict[str, int]) -> None:
    got = share(cap, build_wants(**given_wants))
    assert {key.name: pods for key, pods in got.items()} == shares


@given(caps, wants)
def test_all_pods_are_used_that_somebody_wants_and_no_more(cap: int, wanted: Wants) -> None:
    shares = share(cap, wanted)
    assert shares.keys() == wanted.keys()
    assert all(0 <= shares[key] <= want.desired for key, want in wanted.items())
    assert sum(shares.values()) == min(cap, sum(want.desired for want in wanted.values()))


@given(caps, wants)
def test_a_greater_cap_takes_nothing_from_anybody(cap: int, wanted: Wants) -> None:
    less, more = share(cap, wanted), share(cap + 1, wanted)
    assert all(more[key] >= less[key] for key in wanted)


@given(caps, wants)
def test_nobody_is_behind_another_but_by_minimums_wants_and_ties(cap: int, wanted: Wants) -> None:
    shares = share(cap, wanted)
    least = {key: min(want) for key, want in wanted.items()}
    if sum(least.values()) > cap:
        least = dict.fromkeys(least, 0)
        tops = {key: min(want) for key, want in wanted.items()}
    else:
        tops = {key: want.desired for key, want in wanted.items()}
    for poor in wanted:
        for rich in wanted:
            if shares[poor] < tops[poor] and shares[rich] > least[rich]:
                assert shares[rich] <= shares[poor] + 1
                assert shares[rich] <= shares[poor] or rich < poor


@given(caps, wants, st.randoms(use_true_random=False))
def test_the_order_in_which_queues_come_changes_nothing(
    cap: int, wanted: Wants, random: Random
) -> None:
    items = list(wanted.items())
    random.shuffle(items)
    assert share(cap, dict(items)) == share(cap, wanted)


def test_a_decision_within_its_share_is_left_as_it_is() -> None:
    decision = Decision(3, "BacklogGrew", "why")
    assert apply_cap(decision, 3, 10) == decision


def test_a_decision_beyond_its_share_says_so() -> None:
    decision = apply_cap(Decision(9, "BacklogGrew", "why"), 4, 10)
    assert (decision.replicas, decision.reason) == (4, "CapReached")
    assert "9 pods are wanted; of the 10" in decision.message
    assert decision.message.endswith("has 4")
