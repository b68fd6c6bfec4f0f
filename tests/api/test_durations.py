"""A duration is what Go's time.ParseDuration takes, and nothing else."""

import re
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue_api.durations import HOLDABLE, PATTERN, format_duration, parse_duration

MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}

GO_LONGEST = timedelta(microseconds=2**63 // 1000)

part = st.tuples(
    st.integers(0, 999), st.none() | st.integers(0, 999), st.sampled_from(sorted(MILLISECONDS))
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("30s", timedelta(seconds=30), id="seconds"),
        pytest.param("5m", timedelta(minutes=5), id="minutes"),
        pytest.param("24h", timedelta(hours=24), id="hours"),
        pytest.param("100ms", timedelta(milliseconds=100), id="milliseconds, not minutes"),
        pytest.param("1h30m", timedelta(minutes=90), id="two parts"),
        pytest.param("1m1ms", timedelta(minutes=1, milliseconds=1), id="m before ms"),
        pytest.param("1.5h", timedelta(minutes=90), id="fraction"),
        pytest.param("0s", timedelta(), id="zero"),
        pytest.param("1s1s", timedelta(seconds=2), id="the same unit twice, as in Go"),
    ],
)
def test_a_duration_is_read(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@given(st.lists(part, min_size=1, max_size=6))
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, int | None, str]]) -> None:
    text = "".join(
        f"{whole}{'' if fraction is None else f'.{fraction:03}'}{unit}"
        for whole, fraction, unit in parts
    )
    total = sum(
        (whole + Fraction(fraction or 0, 1000)) * MILLISECONDS[unit]
        for whole, fraction, unit in parts
    )
    assert abs(parse_duration(text) / timedelta(microseconds=1) - float(total * 1000)) <= 1


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("30", id="no unit"),
        pytest.param("s", id="no number"),
        pytest.param("1d", id="days"),
        pytest.param("-1s", id="negative"),
        pytest.param("+1s", id="sign"),
        pytest.param("1 s", id="space inside"),
        pytest.param(" 1s", id="space before"),
        pytest.param("1s ", id="space after"),
        pytest.param("1s\n", id="line break after"),
        pytest.param("1S", id="upper case"),
        pytest.param(".5s", id="no digit before the point"),
        pytest.param("1.s", id="no digit after the point"),
        pytest.param("1,5s", id="comma"),
        pytest.param("1s5", id="number left over"),
        pytest.param("٣s", id="digits of another script"),
        pytest.param("1e3s", id="exponent"),
        pytest.param("9" * 20 + "h", id="longer than a timedelta can hold"),
    ],
)
def test_anything_else_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"not '{text}'")):
        parse_duration(text)


@given(st.text(alphabet="0123456789.msh -\n", max_size=8))
def test_the_pattern_of_the_schema_decides_what_is_a_duration(text: str) -> None:
    if re.fullmatch(PATTERN.removeprefix("^").removesuffix("$"), text):
        assert parse_duration(text) >= timedelta()
    else:
        with pytest.raises(ValueError, match="must be a duration"):
            parse_duration(text)


@given(st.from_regex(PATTERN, fullmatch=True).map(str.strip).filter(lambda text: len(text) <= 32))
def test_what_is_more_than_go_can_hold_is_more_than_any_field_allows(text: str) -> None:
    if re.fullmatch(HOLDABLE, text):
        assert parse_duration(text) < GO_LONGEST
    else:
        assert is_longer_than_any_field_allows(text)


def is_longer_than_any_field_allows(text: str) -> bool:
    try:
        return parse_duration(text) > timedelta(days=366)
    except ValueError:
        return True


@pytest.mark.parametrize(
    "text", ["99999h99999h99999h99999h99999h", "9999999m9999999m9999999m9999999m", "999999999s" * 3]
)
def test_the_longest_that_are_let_through_can_be_held(text: str) -> None:
    assert re.fullmatch(HOLDABLE, text)
    assert parse_duration(text) < GO_LONGEST


@pytest.mark.parametrize("text", ["8760h", "525600m", "31536000s", "31536000000ms", "000024h"])
def test_what_a_field_may_allow_can_be_written_in_any_unit(text: str) -> None:
    assert re.fullmatch(HOLDABLE, text)


@pytest.mark.parametrize(
    "text", ["20h", "1h30m", "5m", "21s", "1.5s", "250ms", "0ms", "25h1m0.001s"]
)
def test_a_duration_is_shown_as_people_write_it(text: str) -> None:
    assert format_duration(parse_duration(text)) == text


@given(st.integers(0, 10**12))
def test_what_is_shown_is_read_back(milliseconds: int) -> None:
    length = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(length)) == length
