"""How many dead letters there are, and when that is told."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue_operator.domain.dead_letters import (
    TOLD_SECONDS,
    LetterCount,
    describe_letters,
    start_count,
)
from tests.operator.builders import KEY

NOW = 1000.0


def read(count: LetterCount, *numbers: int) -> LetterCount:
    for number in numbers:
        count = count.read(number)
    return count


@pytest.mark.parametrize(
    ("stored", "numbers", "known"),
    [
        pytest.param(None, (), None, id="nothing is known at first"),
        pytest.param(None, (0,), 0, id="an empty queue"),
        pytest.param(None, (3,), 3, id="some"),
        pytest.param(None, (3, 0), 3, id="one zero is not believed"),
        pytest.param(None, (3, 0, 0), 0, id="the second is"),
        pytest.param(None, (3, 0, 3, 0), 3, id="each time anew"),
        pytest.param(None, (3, 0, 2), 2, id="less is believed"),
        pytest.param(7, (), 7, id="what was stored is known"),
        pytest.param(7, (0,), 7, id="a zero after what was stored"),
        pytest.param(0, (0,), 0, id="a zero after a zero"),
    ],
)
def test_what_is_known(stored: int | None, numbers: tuple[int, ...], known: int | None) -> None:
    assert read(start_count(stored), *numbers).number == known


@pytest.mark.parametrize(
    ("stored", "numbers", "news"),
    [
        pytest.param(None, (0,), False, id="none"),
        pytest.param(None, (0, 1), True, id="the first"),
        pytest.param(None, (5,), True, id="some, of which nobody has told"),
        pytest.param(5, (5,), False, id="as many as an earlier operator has told of"),
        pytest.param(5, (6,), True, id="more than that"),
        pytest.param(5, (4,), False, id="less than that"),
        pytest.param(5, (0, 0, 1), True, id="one, after none"),
        pytest.param(5, (0, 5), False, id="a zero that was none"),
    ],
)
def test_a_rise_is_news(stored: int | None, numbers: tuple[int, ...], news: bool) -> None:
    assert read(start_count(stored), *numbers).is_news(NOW) is news


def test_for_some_minutes_no_other_rise_is_news() -> None:
    count = read(start_count(0), 1).tell(NOW)
    assert not count.is_news(NOW)
    count = read(count, 2)
    assert not count.is_news(NOW + TOLD_SECONDS - 1)
    assert count.is_news(NOW + TOLD_SECONDS)
    assert not read(count, 1).is_news(NOW + TOLD_SECONDS)


def test_a_rise_after_a_fall_is_news_once_the_time_is_over() -> None:
    count = read(read(start_count(0), 9).tell(NOW), 0, 0, 1)
    assert not count.is_news(NOW + 1)
    assert count.is_news(NOW + TOLD_SECONDS)


def test_what_could_not_be_told_is_news_still() -> None:
    before = read(start_count(0), 1)
    assert before.tell(NOW).untell(before).is_news(NOW)
    assert read(before.tell(NOW), 2).untell(before).is_news(NOW)


@given(st.lists(st.integers(0, 3), min_size=1), st.integers(1, 60))
def test_never_more_than_one_event_in_the_time(numbers: list[int], every: int) -> None:
    count, told = start_count(0), []
    for index, number in enumerate(numbers):
        now = NOW + index * every
        count = count.read(number)
        if count.is_news(now):
            count = count.tell(now)
            told.append(now)
    assert all(later - earlier >= TOLD_SECONDS for earlier, later in pairwise(told))


def test_the_event_says_how_many_where_and_what_to_do() -> None:
    text = describe_letters(KEY, 12)
    assert "'tqd.shop.emails' in RabbitMQ: 12;" in text
    assert "--field-selector=spec.queue=emails,status.phase=Failed" in text
    assert "docs/dead-letters.md" in text
