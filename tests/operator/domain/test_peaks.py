"""The highest number of a window is what held within it, at whatever moment."""

from hypothesis import given
from hypothesis import strategies as st

from taskqueue_operator.domain.peaks import Peaks

steps = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), min_size=1, max_size=30)
"""Seconds since the push before, and the number."""


@given(steps, st.integers(0, 40))
def test_the_highest_is_that_of_a_number_that_holds_until_the_next(
    pushes: list[tuple[int, int]], window: int
) -> None:
    peaks, now = Peaks(), 0
    spans: list[tuple[float, int]] = []  # until when a number held
    for seconds, number in pushes:
        now += seconds
        spans[-1:] = [(now, held) for _, held in spans[-1:]]
        spans.append((now, number))
        peaks = peaks.push(number, now, window)
        within = [held for until, held in spans if until > now - window]
        assert peaks.highest == max([*within, number])


@given(steps)
def test_what_is_kept_does_not_grow_beyond_the_numbers_there_are(
    pushes: list[tuple[int, int]],
) -> None:
    peaks, now = Peaks(), 0
    for seconds, number in pushes:
        now += seconds
        peaks = peaks.push(number, now, 1e9)
        assert len(peaks.marks) <= 10


def test_a_window_does_not_pass_while_nobody_looks() -> None:
    peaks = Peaks().push(5, 0, 60).push(1, 1000, 60)
    assert peaks.highest == 5
    assert peaks.push(1, 1059, 60).highest == 5
    assert peaks.push(1, 1060, 60).highest == 1


def test_a_window_of_nothing_holds_what_is_now() -> None:
    assert Peaks().push(5, 0, 0).push(1, 0, 0).highest == 1
