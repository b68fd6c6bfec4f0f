"""One list of conditions becomes the next; times move only when something changed."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from taskqueue_api.conditions import (
    MESSAGE_MAX,
    Condition,
    ConditionStatus,
    merge_conditions,
    parse_time,
    read_time,
    rfc3339,
    rfc3339_micro,
    rfc3339_milli,
)

THEN = "2026-01-02T03:04:05Z"
NOW = datetime(2026, 6, 7, 8, 9, 10, tzinfo=UTC)
NOW_TEXT = "2026-06-07T08:09:10Z"


def condition(
    kind: str = "Ready",
    status: ConditionStatus = "True",
    *,
    reason: str = "Fine",
    message: str = "all is well",
    moment: str | None = THEN,
    generation: int | None = 1,
) -> Condition:
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=moment,
        observed_generation=generation,
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(condition(status="False", moment=None), NOW_TEXT, id="another status"),
        pytest.param(condition(status="Unknown", moment=None), NOW_TEXT, id="status unknown"),
        pytest.param(condition(reason="Better", moment=None), THEN, id="another reason only"),
        pytest.param(condition(message="still", moment=None), THEN, id="another message only"),
        pytest.param(condition(generation=2, moment=None), THEN, id="another generation only"),
    ],
)
def test_the_transition_time_moves_only_with_the_status(change: Condition, expected: str) -> None:
    (merged,) = merge_conditions([condition()], [change], NOW)
    assert merged == change.model_copy(update={"last_transition_time": expected})


def test_a_new_condition_gets_the_time_and_the_last_place() -> None:
    merged = merge_conditions([condition("A"), condition("B")], [condition("C", moment=None)], NOW)
    assert [item.type for item in merged] == ["A", "B", "C"]
    assert merged[2].last_transition_time == NOW_TEXT


def test_the_order_stays_whatever_changes() -> None:
    current = [condition("A"), condition("B"), condition("C")]
    changes = [condition("C", "False"), condition("A", "False")]
    merged = merge_conditions(current, changes, NOW)
    assert [(item.type, item.status) for item in merged] == [
        ("A", "False"),
        ("B", "True"),
        ("C", "False"),
    ]


def test_equal_in_gives_equal_out() -> None:
    current = [condition("A"), condition("B", "False")]
    changes = [item.model_copy(update={"last_transition_time": None}) for item in current]
    assert merge_conditions(current, changes, NOW) == current


def test_a_long_message_is_cut_to_what_the_schema_allows_and_stays_equal() -> None:
    change = condition(moment=None).model_copy(update={"message": "x" * (MESSAGE_MAX + 1)})
    once = merge_conditions([], [change], NOW)
    assert once[0].message == "x" * MESSAGE_MAX
    assert merge_conditions(once, [change], NOW + timedelta(hours=1)) == once


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2026-06-07T08:09:10Z", NOW, id="Z"),
        pytest.param("2026-06-07T10:09:10+02:00", NOW, id="offset"),
        pytest.param(
            "2026-06-07T08:09:10.000001Z", NOW + timedelta(microseconds=1), id="MicroTime"
        ),
    ],
)
def test_times_of_the_api_server_are_read(text: str, expected: datetime) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2026-06-07T10:09:10+02:00", NOW, id="a time"),
        pytest.param(None, None, id="none"),
        pytest.param(7, None, id="a number"),
        pytest.param("soon", None, id="words"),
        pytest.param("2026-06-07T08:09:10", None, id="no zone"),
        pytest.param("9999-12-31T23:59:59Z", None, id="a time to which nothing can be added"),
        pytest.param("0001-01-01T00:00:00Z", None, id="and none taken from"),
    ],
)
def test_times_of_anybody_are_read_where_they_can_be_meant(
    text: object, expected: datetime | None
) -> None:
    assert read_time(text) == expected


def test_times_are_written_in_utc() -> None:
    moment = NOW.astimezone(timezone(timedelta(hours=-7))) + timedelta(microseconds=42)
    assert rfc3339(moment) == NOW_TEXT
    assert rfc3339_micro(moment) == "2026-06-07T08:09:10.000042Z"


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        pytest.param(NOW, "2026-06-07T08:09:10.000Z", id="whole seconds"),
        pytest.param(NOW.replace(microsecond=1999), "2026-06-07T08:09:10.001Z", id="cut"),
        pytest.param(
            NOW.astimezone(timezone(timedelta(hours=2))), "2026-06-07T08:09:10.000Z", id="elsewhere"
        ),
    ],
)
def test_a_moment_with_milliseconds(moment: datetime, text: str) -> None:
    assert rfc3339_milli(moment) == text
    assert moment - parse_time(text) < timedelta(milliseconds=1)
    # What Kubernetes' date-time allows, within the bound of the field.
    assert len(text) <= 32
