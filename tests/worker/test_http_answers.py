"""What the answers of `http` handlers mean."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue_worker.http_answers import (
    BODY_MAX_BYTES,
    ERROR_KEPT_BYTES,
    Answer,
    judge_answer,
    parse_retry_after,
)
from taskqueue_worker.outcomes import Failure, Outcome, Success
from taskqueue_worker.sdk import RETRY_AFTER_MAX

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def judge(
    status: int, body: bytes | str = b"", retry_after: str = "", *, whole: bool = True
) -> Outcome:
    data = body.encode() if isinstance(body, str) else body
    return judge_answer(Answer(status, retry_after, data, whole), NOW)


def failed(
    status: int, body: bytes | str = b"", retry_after: str = "", *, whole: bool = True
) -> Failure:
    outcome = judge(status, body, retry_after, whole=whole)
    assert isinstance(outcome, Failure)
    return outcome


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize(
    ("body", "result"),
    [
        pytest.param("", None, id="empty"),
        pytest.param(" \r\n", None, id="blank"),
        pytest.param("null", None, id="null"),
        pytest.param(' {"größe": "世"} ', '{"größe":"世"}'.encode(), id="an object"),
        pytest.param("0", b"0", id="a number"),
    ],
)
def test_an_answer_from_200_to_299_is_a_success_with_its_body_as_result(
    status: int, body: str, result: bytes | None
) -> None:
    assert judge(status, body) == Success(result)


@pytest.mark.parametrize(
    ("body", "error_type", "words"),
    [
        pytest.param("<html>", "ResultNotJson", "the answer's body must be JSON", id="HTML"),
        pytest.param("<html>", "ResultNotJson", "<html>", id="it is quoted"),
        pytest.param("{} {}", "ResultNotJson", "not JSON", id="two values"),
        pytest.param("NaN", "ResultNotJson", "NaN", id="NaN"),
        pytest.param(b"\xff\xfe", "ResultNotJson", "not UTF-8", id="bytes"),
        pytest.param("[" * 100_000, "ResultTooDeep", "body cannot be kept", id="depth"),
        pytest.param(f'"{"x" * 8191}"', "ResultTooLarge", "8193 bytes as JSON", id="a byte more"),
    ],
)
def test_a_body_that_cannot_be_a_result_is_a_clear_error_for_good(
    body: bytes | str, error_type: str, words: str
) -> None:
    error = failed(200, body)
    assert (error.type, error.permanent) == (error_type, True)
    assert words in error.message


def test_a_result_may_have_8_kib() -> None:
    assert isinstance(judge(200, f'"{"x" * 8190}"'), Success)


def test_a_body_that_was_not_read_to_its_end_is_too_large() -> None:
    error = failed(200, "1", whole=False)
    assert (error.type, error.permanent) == ("ResultTooLarge", True)
    assert str(BODY_MAX_BYTES) in error.message


@pytest.mark.parametrize(
    ("status", "error_type", "permanent"),
    [
        (99, "HttpStatus", False),
        (101, "HttpStatus", False),
        (300, "HttpStatus", True),
        (302, "HttpStatus", True),
        (399, "HttpStatus", True),
        (400, "Rejected", True),
        (401, "Rejected", True),
        (404, "Rejected", True),
        (407, "Rejected", True),
        (408, "HttpStatus", False),
        (409, "Rejected", True),
        (422, "Rejected", True),
        (425, "HttpStatus", False),
        (429, "HttpStatus", False),
        (499, "Rejected", True),
        (500, "HttpStatus", False),
        (503, "HttpStatus", False),
        (599, "HttpStatus", False),
        (999, "HttpStatus", False),
    ],
)
def test_any_other_answer_is_a_failure_that_passes_or_not(
    status: int, error_type: str, permanent: bool
) -> None:
    error = failed(status, "why")
    assert (error.type, error.permanent, error.after) == (error_type, permanent, None)
    assert error.message.startswith(f"HTTP {status}: ")


@pytest.mark.parametrize(
    ("status", "honoured"),
    [(400, False), (408, False), (429, True), (500, False), (502, False), (503, True)],
)
def test_retry_after_counts_where_a_server_is_busy(status: int, honoured: bool) -> None:
    error = failed(status, "busy", "7")
    assert error.message == f"HTTP {status}: busy"
    assert error.after == (7.0 if honoured else None)
    assert (error.type == "Retry") is honoured


def test_retry_after_that_says_nothing_leaves_it_to_the_policy() -> None:
    error = failed(503, "busy", "soon")
    assert (error.type, error.permanent, error.after) == ("HttpStatus", False, None)


def test_a_redirect_says_that_it_is_not_followed() -> None:
    assert failed(307, "see there").message == "HTTP 307: redirects are not followed"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param("", "HTTP 500", id="no body"),
        pytest.param(" \n", "HTTP 500", id="blank"),
        pytest.param(" größer 世 \n", "HTTP 500: größer 世", id="any script"),
        pytest.param(b"\xff", "HTTP 500: \ufffd", id="no text"),
    ],
)
def test_the_body_of_a_failure_is_its_message(body: bytes | str, message: str) -> None:
    assert failed(500, body).message == message


def test_only_the_start_of_a_failures_body_is_kept() -> None:
    error = failed(500, "start" + "x" * 10_000 + "end", whole=False)
    assert error.message.startswith("HTTP 500: startx")
    assert len(error.message) == len("HTTP 500: ") + ERROR_KEPT_BYTES


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("0", 0, id="at once"),
        pytest.param("120", 120, id="seconds"),
        pytest.param(" 120 ", 120, id="blanks around"),
        pytest.param(str(int(RETRY_AFTER_MAX)), int(RETRY_AFTER_MAX), id="at the longest"),
        pytest.param("Thu, 01 Jan 2026 12:00:30 GMT", 30, id="date"),
        pytest.param("Thursday, 01-Jan-26 12:00:30 GMT", 30, id="date of the web's first years"),
        pytest.param("Thu, 01 Jan 2026 12:00:30", 30, id="date without a zone"),
        pytest.param("Thu, 01 Jan 2026 12:00:30 -0000", 30, id="date of an unknown zone"),
        pytest.param("Thu, 01 Jan 2026 13:00:30 +0100", 30, id="date of another zone"),
        pytest.param("Thu, 01 Jan 2026 11:00:00 GMT", 0, id="date that is over"),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float) -> None:
    assert parse_retry_after(text, NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="none"),
        pytest.param("soon", id="a word"),
        pytest.param("-1", id="negative"),
        pytest.param("1.5", id="a fraction"),
        pytest.param("1e3", id="another spelling"),
        pytest.param("٣", id="digits of another script"),
        pytest.param("²", id="what only looks like a digit"),
        pytest.param("nan", id="nan"),
        pytest.param("inf", id="infinity"),
        pytest.param("9999999999", id="three hundred years"),
        pytest.param("9" * 5000, id="more digits than Python reads"),
        pytest.param("Thu, 01 Jan 2099 00:00:00 GMT", id="a date too far away"),
        pytest.param("Thu, 32 Jan 2026 25:61:61 GMT", id="no such date"),
        pytest.param(f"Thu, 01 Jan {'9' * 30} 00:00:00 GMT", id="no such year"),
        pytest.param("5, 10", id="two values"),
    ],
)
def test_retry_after_that_cannot_be_meant_is_left_to_the_policy(text: str) -> None:
    assert parse_retry_after(text, NOW) is None


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9-]{1,20} Jan [0-9]{1,20} [0-9:+]*.*"))
def test_no_retry_after_harms_the_worker(text: str) -> None:
    seconds = parse_retry_after(text, NOW)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_MAX
