"""What holds of scaling whatever is seen, in any order."""

from itertools import pairwise
from typing import NamedTuple

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from taskqueue_operator.domain.scaling import Decision, Pace, Policy, decide
from taskqueue_operator.domain.scaling_history import Fault, History, Observation, Reading
from tests.operator.scaling import IMAGE


class Look(NamedTuple):
    """One look at a queue, so many seconds after the one before. messages: None: unknown."""

    seconds: int
    due: int
    messages: int | None
    confirmed: bool
    busy: int
    unready: int
    fault: Fault | None
    paused: bool


class Made(NamedTuple):
    """A decision that was made, at a time, from so many pods."""

    now: float
    look: Look
    before: int
    decision: Decision


def seldom(value: st.SearchStrategy[bool]) -> st.SearchStrategy[bool]:
    return st.one_of(st.just(False), st.just(False), st.just(False), value)


few = st.sampled_from([0, 0, 0, 1, 3, 8, 20, 60])
looks = st.builds(
    Look,
    seconds=st.sampled_from([0, 1, 5, 5, 20, 70]),
    due=few,
    messages=st.one_of(few, few, few, st.none()),
    confirmed=st.booleans(),
    busy=st.sampled_from([0, 0, 0, 2]),
    unready=st.sampled_from([0, 0, 1, 9]),
    fault=st.one_of(st.none(), st.none(), st.none(), st.just(IMAGE)),
    paused=seldom(st.booleans()),
)
scripts = st.lists(looks, max_size=15)
paces = st.builds(
    Pace,
    window=st.sampled_from([0, 0, 30, 60]),
    step=st.sampled_from([None, None, 1, 3]),
    period=st.sampled_from([1, 15, 60]),
)
policies = st.builds(
    Policy,
    minimum=st.sampled_from([0, 0, 1, 3]),
    maximum=st.sampled_from([3, 10]),
    per_pod=st.sampled_from([1, 4, 7]),
    up=paces,
    down=paces,
    idle_seconds=st.sampled_from([0, 30, 100]),
)
starts = st.integers(0, 12)


START = History()


def play(
    policy: Policy,
    replicas: int,
    script: list[Look],
    history: History = START,
    now: float = 0,
) -> tuple[list[Made], History]:
    """Return what is decided, and done at once, and the history in the end."""
    made = []
    for look in script:
        now += look.seconds
        reading = None if look.messages is None else Reading(look.messages, now, look.confirmed)
        ready = max(0, replicas - look.unready)
        observation = Observation(
            look.due, reading, replicas, ready, look.busy, look.fault, look.paused
        )
        decision, history = decide(observation, history, policy, now)
        made.append(Made(now, look, replicas, decision))
        replicas = decision.replicas
    return made, history


def need(policy: Policy, work: int) -> int:
    """Return the pods for so much work, within minimum and maximum."""
    return min(max(-(-work // policy.per_pod), policy.minimum), policy.maximum)


@given(policies, starts, scripts)
def test_pods_are_within_minimum_and_maximum_unless_paused(
    policy: Policy, replicas: int, script: list[Look]
) -> None:
    for one in play(policy, replicas, script)[0]:
        if one.look.paused:
            assert one.decision[:2] == (0, "Paused")
        else:
            assert policy.minimum <= one.decision.replicas <= policy.maximum


@given(policies, starts, scripts)
def test_nothing_goes_down_while_the_backlog_is_unknown(
    policy: Policy, replicas: int, script: list[Look]
) -> None:
    for one in play(policy, replicas, script)[0]:
        unknown = one.look.messages is None or (one.look.messages == 0 and not one.look.confirmed)
        if unknown and not one.look.paused:
            assert one.decision.replicas >= min(one.before, policy.maximum)


@given(policies, starts, scripts)
def test_never_more_pods_than_the_backlog_needs_and_never_fewer_for_it(
    policy: Policy, replicas: int, script: list[Look]
) -> None:
    made, _ = play(policy, replicas, script)
    for earlier, one in zip([None, *made], made, strict=False):
        if one.look.paused:
            continue
        # A reading that is lower counts only when the next one, too, is lower.
        seen = [look.messages or 0 for look in (one.look, earlier and earlier.look) if look]
        highest = need(policy, max(one.look.due, *seen))
        now = need(policy, max(one.look.due, one.look.messages or 0))
        base = min(max(one.before, policy.minimum), policy.maximum)
        if one.decision.replicas > base:
            assert one.decision.replicas <= highest
        if one.decision.replicas < base:
            assert one.decision.replicas >= now
            if not one.look.confirmed:
                assert one.decision.replicas >= highest


@given(policies, starts, scripts)
def test_what_was_due_within_the_window_is_not_taken_away(
    policy: Policy, replicas: int, script: list[Look]
) -> None:
    made, _ = play(policy, replicas, script)
    for index, one in enumerate(made):
        if one.look.paused or one.decision.replicas >= min(one.before, policy.maximum):
            continue
        since = one.now - policy.down.window
        paused = any(earlier.look.paused for earlier in made[:index])
        assert paused or made[0].now <= since
        for earlier in reversed(made[:index]):
            if earlier.look.paused or earlier.now <= since:
                break
            assert one.decision.replicas >= need(policy, earlier.look.due)


@given(policies, starts, scripts)
def test_the_last_pod_goes_only_after_idleness(
    policy: Policy, replicas: int, script: list[Look]
) -> None:
    made, _ = play(policy, replicas, script)
    for index, one in enumerate(made):
        if one.look.paused or one.before == 0 or one.decision.replicas > 0:
            continue
        assert one.look.confirmed
        assert policy.minimum == 0
        since = one.now
        for earlier in reversed(made[: index + 1]):
            look = earlier.look
            if look.paused or look.due or look.busy or look.messages != 0:
                break
            since = earlier.now
        assert one.now - since >= policy.idle_seconds


@given(policies, starts, scripts)
def test_no_more_than_a_step_within_a_period(
    policy: Policy, replicas: int, script: list[Look]
) -> None:
    made, _ = play(policy, replicas, script)
    for index, one in enumerate(made):
        base = min(max(one.before, policy.minimum), policy.maximum)
        if one.look.paused or one.decision.replicas == base:
            continue
        pace = policy.up if one.decision.replicas > base else policy.down
        if pace.step is None:
            continue
        # What was decided held until the next look; what there was at the start, until the first.
        held = [one.before]
        held += [earlier.before for earlier in made[:index] if earlier.now > one.now - pace.period]
        held += [
            earlier.decision.replicas
            for earlier, later in pairwise(made[: index + 1])
            if later.now > one.now - pace.period
        ]
        if pace is policy.up:
            assert one.decision.replicas <= min(held) + pace.step
        else:
            assert one.decision.replicas >= max(held) - pace.step


@given(policies, starts, scripts)
def test_while_pods_cannot_start_no_more_are_tried(
    policy: Policy, replicas: int, script: list[Look]
) -> None:
    for one in play(policy, replicas, script)[0]:
        base = min(max(one.before, policy.minimum), policy.maximum)
        if one.look.fault and not one.look.paused and one.decision.replicas > base:
            assert one.decision.replicas == base + 1
            assert max(0, one.before - one.look.unready) >= base


@settings(max_examples=50)
@given(policies, starts, scripts, few)
def test_while_nothing_changes_it_comes_to_what_is_needed_and_stays(
    policy: Policy, replicas: int, script: list[Look], due: int
) -> None:
    made, history = play(policy, replicas, script)
    now = 0.0
    if made:
        replicas, now = made[-1].decision.replicas, made[-1].now
    same = Look(5, due, due, True, 0, 0, None, False)
    # Long enough for the slowest policy: ten steps of one pod, each of a minute.
    made, _ = play(policy, replicas, [same] * 200, history, now)
    numbers = [one.decision.replicas for one in made]
    assert numbers[-1] == need(policy, due)
    assert numbers in (sorted(numbers), sorted(numbers, reverse=True))
    # And its words stay too: each change of them is a write.
    assert len({one.decision for one in made[-20:]}) == 1


@given(policies, starts, scripts)
def test_the_same_looks_give_the_same_decisions(
    policy: Policy, replicas: int, script: list[Look]
) -> None:
    assert play(policy, replicas, script) == play(policy, replicas, script)


@given(policies, starts, scripts)
def test_what_was_paused_has_at_once_what_its_tasks_need(
    policy: Policy, replicas: int, script: list[Look]
) -> None:
    assume(policy.up.step is None)
    made, _ = play(policy, replicas, [look._replace(fault=None) for look in script])
    for earlier, one in pairwise(made):
        if earlier.look.paused and not one.look.paused:
            assert one.decision.replicas >= need(policy, one.look.due)
