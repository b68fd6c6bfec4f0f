"""What `@task` takes and refuses."""

import logging
import math
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from pydantic import BaseModel

from taskqueue_api.names import DELAY_MAX
from taskqueue_worker import sdk
from taskqueue_worker.sdk import RETRY_AFTER_MAX, RegistrationError, Registry, Reject, Retry, task


class Mail(BaseModel):
    """A payload with a shape."""

    to: str


def test_one_parameter_is_the_payload() -> None:
    registry = Registry()
    registry.add("a", lambda payload: payload)
    assert not registry.handlers["a"].takes_context


def test_two_parameters_are_payload_and_context() -> None:
    def handler(payload: Any, ctx: sdk.Context) -> None: ...

    registry = Registry()
    registry.add("a", handler)
    assert registry.handlers["a"].takes_context
    assert registry.handlers["a"].model is None


@pytest.mark.parametrize("annotation", [Mail, "Mail"])
def test_a_pydantic_annotation_is_found(annotation: Any) -> None:
    def handler(payload: Any) -> None: ...

    handler.__annotations__["payload"] = annotation
    registry = Registry()
    registry.add("a", handler)
    assert registry.handlers["a"].model is Mail


def test_an_annotation_that_cannot_be_read_is_an_error() -> None:
    def handler(payload: Any) -> None: ...

    handler.__annotations__["payload"] = "Missing"
    with pytest.raises(RegistrationError, match="'Missing' is not defined"):
        Registry().add("a", handler)


def none() -> None: ...


def three(payload: Any, ctx: Any, more: Any) -> None: ...


def keyword(payload: Any, *, more: Any) -> None: ...


def variable(*payload: Any) -> None: ...


@pytest.mark.parametrize("function", [none, three, keyword, variable])
def test_a_wrong_signature_is_refused_with_its_place(function: Any) -> None:
    with pytest.raises(RegistrationError) as caught:
        Registry().add("a", function)
    assert "must take (payload) or (payload, ctx)" in str(caught.value)
    assert f"{__file__}:{function.__code__.co_firstlineno}" in str(caught.value)


def test_a_name_taken_twice_names_both_places() -> None:
    def first(payload: Any) -> None: ...

    def second(payload: Any) -> None: ...

    registry = Registry()
    registry.add("a", first)
    with pytest.raises(RegistrationError) as caught:
        registry.add("a", second)
    for function in (first, second):
        assert f"{__file__}:{function.__code__.co_firstlineno}" in str(caught.value)


@pytest.mark.parametrize("name", ["", None, none])
def test_a_handler_needs_a_name(name: Any) -> None:
    with pytest.raises(RegistrationError, match="needs a name"):
        task(name)


@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        pytest.param(None, None, id="by the policy"),
        pytest.param(0, 0.0, id="at once"),
        pytest.param(1.5, 1.5, id="seconds"),
        pytest.param(timedelta(minutes=2), 120.0, id="timedelta"),
        pytest.param(timedelta(milliseconds=1), 0.001, id="a short timedelta"),
        pytest.param(DELAY_MAX, RETRY_AFTER_MAX, id="the longest timedelta"),
        pytest.param(RETRY_AFTER_MAX, RETRY_AFTER_MAX, id="the longest seconds"),
    ],
)
def test_a_retry_says_when(after: Any, seconds: float | None) -> None:
    assert Retry("why", after=after).after == seconds


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(-0.001, id="in the past"),
        pytest.param(timedelta(seconds=-1), id="in the past, timedelta"),
        pytest.param(RETRY_AFTER_MAX + 0.1, id="beyond the ladder"),
        pytest.param(timedelta(days=78), id="beyond the ladder, timedelta"),
        pytest.param(float("inf"), id="never"),
        pytest.param(float("nan"), id="no number"),
    ],
)
def test_a_retry_at_a_time_that_cannot_be_is_refused(after: Any) -> None:
    with pytest.raises(ValueError, match="after must be from 0 to 6710886 s"):
        Retry(after=after)


@pytest.mark.parametrize("kind", [Retry, Reject])
def test_words_are_those_of_any_exception(kind: type[Exception]) -> None:
    assert str(kind("why")) == "why"
    assert str(kind()) == ""


def context(said: list[tuple[int, str]]) -> sdk.Context:
    """Return a context that keeps what is said."""

    def keep(percent: int, message: str) -> None:
        said.append((percent, message))

    return sdk.Context("u", 1, "ns", "t", "q", logging.getLogger(), keep)


@pytest.mark.parametrize(
    ("fraction", "percent"),
    [
        pytest.param(0, 0, id="none"),
        pytest.param(1, 100, id="all"),
        pytest.param(0.29, 29, id="not rounded down by binary digits"),
        pytest.param(0.999, 99, id="not all before it is"),
        pytest.param(sum([1 / 7] * 7), 100, id="a sum that misses 1"),
        pytest.param(1.0000001, 100, id="a sum beyond 1"),
        pytest.param(-1e-9, 0, id="a difference below 0"),
        pytest.param(Fraction(1, 3), 33, id="a fraction"),
        pytest.param(Decimal("0.5"), 50, id="a decimal"),
    ],
)
def test_progress_is_a_fraction_and_shown_as_percent(fraction: float, percent: int) -> None:
    said: list[tuple[int, str]] = []
    context(said).progress(fraction, "so far")
    assert said == [(percent, "so far")]


@pytest.mark.parametrize(
    ("fraction", "message", "error", "words"),
    [
        pytest.param(1.7, "", ValueError, "must be from 0 to 1, not 1.7", id="too much"),
        pytest.param(40, "", ValueError, "must be from 0 to 1, not 40", id="percent"),
        pytest.param(-0.1, "", ValueError, "must be from 0 to 1, not -0.1", id="less than none"),
        pytest.param(math.nan, "", ValueError, "must be from 0 to 1, not nan", id="nan"),
        pytest.param(math.inf, "", ValueError, "must be from 0 to 1, not inf", id="infinite"),
        pytest.param("0.4", "", TypeError, "must be a number from 0 to 1, not '0.4'", id="text"),
        pytest.param(None, "", TypeError, "must be a number from 0 to 1, not None", id="nothing"),
        pytest.param(0.4, 7, TypeError, "must be a text, not 7", id="a message that is none"),
    ],
)
def test_progress_that_cannot_be_meant_is_an_error(
    fraction: Any, message: Any, error: type[Exception], words: str
) -> None:
    said: list[tuple[int, str]] = []
    with pytest.raises(error, match=words):
        context(said).progress(fraction, message)
    assert said == []


def test_a_context_made_by_a_test_of_a_handler_takes_progress() -> None:
    sdk.Context("u", 1, "ns", "t", "q", logging.getLogger()).progress(0.5)
