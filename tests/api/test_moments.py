"""A time of a spec is one that the API server, CEL and Python read alike."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue_api.conditions import read_time, rfc3339, rfc3339_micro, rfc3339_milli
from taskqueue_api.moments import PATTERN

FIRST, LAST = datetime(2000, 1, 1), datetime(2199, 12, 31, 23, 59, 59)  # noqa: DTZ001 - of any zone
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def is_time(text: str) -> bool:
    # Without its anchors: Python's `$` lets a line break through, and that of CEL does not.
    return re.fullmatch(PATTERN.removeprefix("^").removesuffix("$"), text) is not None


@given(st.datetimes(FIRST, LAST, timezones=ZONES))
def test_every_time_of_these_two_centuries_is_one(moment: datetime) -> None:
    text = moment.isoformat()
    assert is_time(text)
    assert read_time(text) == moment


@given(st.from_regex(PATTERN, fullmatch=True).map(str.strip))
def test_whatever_is_one_can_be_read(text: str) -> None:
    assert len(text) <= 40
    assert read_time(text) is not None


@pytest.mark.parametrize("year", range(1999, 2201))
def test_the_last_of_february_is_in_leap_years(year: int) -> None:
    leaps = 2000 <= year < 2200 and year % 4 == 0 and year != 2100
    assert is_time(f"{year}-02-29T00:00:00Z") is leaps


@pytest.mark.parametrize("write", [rfc3339, rfc3339_milli, rfc3339_micro])
def test_what_we_write_is_one(write: object) -> None:
    assert callable(write)
    assert is_time(write(datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("tomorrow", id="a word"),
        pytest.param("2026-12-01", id="a day"),
        pytest.param("2026-12-01T06:00:00", id="no zone"),
        pytest.param("2026-12-01T06:00Z", id="no seconds"),
        pytest.param("2026-12-01 06:00:00Z", id="a space"),
        pytest.param("2026-12-01t06:00:00Z", id="lower case t"),
        pytest.param("2026-12-01T06:00:00z", id="lower case z"),
        pytest.param("2026-12-01T06:00:00+0100", id="an offset without a colon"),
        pytest.param("2026-12-01T06:00:00+24:00", id="an offset of a day"),
        pytest.param("2026-12-01T06:00:00,5Z", id="a comma"),
        pytest.param("2026-12-01T06:00:00.Z", id="no digit after the point"),
        pytest.param("2026-12-01T06:00:60Z", id="a leap second"),
        pytest.param("2026-12-01T24:00:00Z", id="hour 24"),
        pytest.param("2026-04-31T06:00:00Z", id="no such day"),
        pytest.param("2026-13-01T06:00:00Z", id="no such month"),
        pytest.param("1999-12-31T23:59:59Z", id="before"),
        pytest.param("2200-01-01T00:00:00Z", id="after"),
        pytest.param("2026-12-01T06:00:00Z\n", id="a line break"),
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert not is_time(text)
