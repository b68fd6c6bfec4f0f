"""What can be a result, and what is said when it cannot."""

import json
import math
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel

from taskqueue_api.nesting import NESTING_MAX
from taskqueue_worker.outcomes import (
    Failure,
    Success,
    TooDeepError,
    bounded,
    decode_output,
    encode_result,
    failure,
    final,
    parse_json,
)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (None, None),
        ({}, b"{}"),
        ("é", '"é"'.encode()),
        (0, b"0"),
        ([], b"[]"),
        ((1, 2), b"[1,2]"),
    ],
)
def test_what_json_holds_is_a_result(value: Any, encoded: bytes | None) -> None:
    assert encode_result(value) == Success(encoded)


@pytest.mark.parametrize("value", [object(), {1, 2}, math.nan, math.inf, "\ud800", b"x"])
def test_what_json_cannot_hold_fails(value: Any) -> None:
    outcome = encode_result(value)
    assert isinstance(outcome, Failure)
    assert outcome.type == "ResultNotJson"


def test_a_value_that_holds_itself_fails() -> None:
    value: list[Any] = []
    value.append(value)
    outcome = encode_result(value)
    assert isinstance(outcome, Failure)
    assert outcome.type == "ResultNotJson"


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def test_a_result_is_kept_down_to_a_depth() -> None:
    assert encode_result(parse_json(nested(NESTING_MAX))) == Success(nested(NESTING_MAX))
    deep = encode_result([parse_json(nested(NESTING_MAX))])
    printed = decode_output(nested(4_000))
    for outcome in (deep, printed):
        assert isinstance(outcome, Failure)
        assert outcome.type == "ResultTooDeep"
        assert outcome.message.endswith("within each other on more than 100 levels")


@pytest.mark.parametrize("data", [nested(NESTING_MAX + 1), nested(4_000), b"[" * 200_000], ids=len)
def test_what_is_nested_too_deeply_is_not_read(data: bytes) -> None:
    with pytest.raises(TooDeepError):
        parse_json(data)


def test_a_wide_result_is_not_deep() -> None:
    assert isinstance(encode_result([[]] * (2 * NESTING_MAX)), Success)


def test_the_limit_is_exact_and_named() -> None:
    assert isinstance(encode_result("x" * 8190), Success)
    outcome = encode_result("x" * 8191)
    assert isinstance(outcome, Failure)
    assert outcome.type == "ResultTooLarge"
    assert "8193" in outcome.message
    assert "8192" in outcome.message


@pytest.mark.parametrize(
    ("output", "outcome"),
    [
        (b"", Success(None)),
        (b" \n", Success(None)),
        (b"null", Success(None)),
        (b' {"a": 1}\n', Success(b'{"a":1}')),
    ],
)
def test_a_programs_output_is_its_result(output: bytes, outcome: Success) -> None:
    assert decode_output(output) == outcome


@pytest.mark.parametrize("output", [b"garbage " * 1000, b"\xff\xfe", b"NaN", b"{} {}"])
def test_output_that_is_not_json_is_quoted(output: bytes) -> None:
    outcome = decode_output(output, "what it said")
    assert isinstance(outcome, Failure)
    assert outcome.type == "ResultNotJson"
    assert outcome.message.startswith("what it said must be JSON or empty, but it is not ")
    assert len(outcome.message) < 400


BEYOND = [b"1e400", b"-1E+309", b"1" + b"0" * 309, b"9" * 5000, b"1" * 250 + b"e99", b"1.5e0400"]
"""Numbers that a float of 64 bits cannot hold."""


@pytest.mark.parametrize("number", BEYOND, ids=lambda number: number[:10].decode())
def test_a_number_that_others_take_for_infinity_is_named_in_words(number: bytes) -> None:
    outcome = decode_output(b'{"a": [%s]}' % number)
    assert isinstance(outcome, Failure)
    assert (outcome.type, outcome.permanent) == ("ResultNotJson", True)
    assert outcome.message.startswith(
        "standard output must be JSON or empty, but it has a number beyond 1.8e308, which can be "
        "kept as a string only: {"
    )


def test_a_payload_may_have_them_but_for_what_python_cannot_read() -> None:
    assert parse_json(b"[1e400]") == [math.inf]
    assert parse_json(b"9" * 4300) == 10**4300 - 1
    with pytest.raises(ValueError, match=r"^it has a whole number of more than 4300 digits$"):
        parse_json(b"9" * 4301)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(
    "text", ["1.7e308", "1" + "0" * 308, "1e-400", '"1e400"', f'"{"9" * 5000}"', "9007199254740993"]
)
def test_any_other_number_is_read(text: str, *, kept: bool) -> None:
    assert parse_json(text.encode(), kept=kept) == json.loads(text)


def test_a_result_of_python_may_have_no_such_number_either() -> None:
    outcome = encode_result({"key": 10**400})
    assert isinstance(outcome, Failure)
    assert outcome.type == "ResultNotJson"
    assert "the handler's result cannot be kept: it has a number beyond 1.8e308" in outcome.message
    assert encode_result("9" * 400) == Success(b'"%s"' % (b"9" * 400))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b"NaN", b"-Infinity"], ids=lambda data: data.hex()
)
def test_strict_json_only(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^it is n"):
        parse_json(data)


@pytest.mark.parametrize(
    "outcome",
    [
        pytest.param(encode_result(object()), id="no JSON"),
        pytest.param(encode_result("x" * 8191), id="too big"),
        pytest.param(decode_output(b"garbage"), id="garbage printed"),
        pytest.param(final("Any", "words"), id="final"),
    ],
)
def test_what_another_attempt_would_only_repeat_is_permanent(outcome: Any) -> None:
    assert isinstance(outcome, Failure)
    assert outcome.permanent


def test_a_failure_may_pass_unless_it_says_otherwise() -> None:
    assert not failure("E", "m").permanent
    assert failure("E", "m").after is None
    assert failure("E", "m", permanent=True) == final("E", "m")


def test_words_of_a_failure_fit_the_api() -> None:
    error = failure("T" * 1000, "m\ud800" * 10_000)
    assert len(error.type) == 256
    assert len(error.message) == 4096
    assert error.message.encode()


def test_short_texts_stay_as_they_are() -> None:
    assert bounded("kurz", 4) == "kurz"
    assert bounded("länger", 4) == "län…"


class Order(BaseModel):
    """A result that is a model."""

    sku: str
    due: date


def test_a_pydantic_model_may_be_a_result() -> None:
    order = Order(sku="a", due=date(2026, 1, 2))
    assert encode_result({"order": order}) == Success(b'{"order":{"sku":"a","due":"2026-01-02"}}')
