"""A worker asks for more messages while its handlers are quick, and for no longer than that."""

from taskqueue_worker.pace import QUICK_SECONDS, SLOW_SECONDS, Pace


def quick_pace() -> Pace:
    """Return one that has become quick."""
    pace = Pace()
    while not pace.quick:
        pace.note(QUICK_SECONDS / 5)
    return pace


def test_it_takes_some_quick_messages_to_be_quick_and_is_told_once() -> None:
    pace = Pace()
    changes = [pace.note(QUICK_SECONDS / 5) for _ in range(100)]
    assert changes.count(True) == 1
    assert 10 < changes.index(True) < 60
    assert pace.quick


def test_one_long_message_ends_it() -> None:
    pace = quick_pace()
    assert pace.note(1.0)
    assert not pace.quick
    assert not pace.note(1.0)


def test_messages_between_quick_and_slow_change_nothing() -> None:
    between = (QUICK_SECONDS + SLOW_SECONDS) / 2
    pace, other = quick_pace(), Pace()
    assert not any(pace.note(between) for _ in range(100))
    assert not any(other.note(between) for _ in range(100))
    assert pace.quick
    assert not other.quick


def test_a_message_that_waited_in_vain_ends_it_before_any_slot_is_free() -> None:
    pace = quick_pace()
    assert pace.end()
    assert not pace.quick
    assert not pace.end()
    assert not pace.note(QUICK_SECONDS / 5)
    assert not pace.quick
