"""What is left to do for a message, and the headers of a dead letter."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from taskqueue_api.messages import DEAD_LETTER_HEADERS, TaskUid, is_dead_letter, read_attempt
from taskqueue_worker.outcomes import failure
from taskqueue_worker.settle import (
    Acknowledge,
    DeadLetter,
    PublishNext,
    Settlement,
    dead_letter_headers,
    next_attempt_headers,
    settle,
)
from taskqueue_worker.statuses import TaskView
from tests.worker.views import PENDING, UID

FAILED = replace(PENDING, phase="Failed", attempts=1, error_type="Boom", error_message="why")
NOW = datetime(2026, 1, 1, tzinfo=UTC)

DUE = datetime(2026, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC)
RETRYING = replace(
    FAILED, phase="Retrying", attempts=2, next_attempt_time="2026-01-01T12:00:00.500Z"
)


@pytest.mark.parametrize(
    ("view", "settlement"),
    [
        pytest.param(FAILED, DeadLetter(failure("Boom", "why")), id="failed"),
        pytest.param(replace(FAILED, phase="Succeeded"), Acknowledge(), id="succeeded"),
        pytest.param(RETRYING, PublishNext(3, DUE), id="retried"),
        pytest.param(replace(RETRYING, run=1), Acknowledge(), id="retried, but in another run"),
        pytest.param(
            replace(RETRYING, uid=TaskUid("uid-2")), Acknowledge(), id="retried, another Task"
        ),
        pytest.param(
            replace(RETRYING, next_attempt_time=None),
            Acknowledge(ended=False),
            id="retried at no time",
        ),
        pytest.param(
            replace(RETRYING, phase="Running"), Acknowledge(ended=False), id="the next one runs"
        ),
        pytest.param(None, Acknowledge(), id="gone"),
        pytest.param(replace(FAILED, uid=TaskUid("uid-2")), Acknowledge(), id="another Task"),
        pytest.param(replace(FAILED, run=1), Acknowledge(), id="another run"),
        pytest.param(
            replace(FAILED, phase="Running"),
            Acknowledge(ended=False),
            id="taken over by another worker",
        ),
    ],
)
def test_what_is_left_to_do_for_a_message(view: TaskView | None, settlement: Settlement) -> None:
    assert settle(view, UID, 0) == settlement


def test_a_dead_letter_says_why_and_where_it_failed() -> None:
    headers = dead_letter_headers({"x-tq-name": "t"}, failure("Boom", "why"), "tq.ns.q", NOW)
    assert headers == {
        "x-tq-name": "t",
        "x-tq-error-type": "Boom",
        "x-tq-error-message": "why",
        "x-tq-failed-at": "2026-01-01T00:00:00Z",
        "x-tq-queue": "tq.ns.q",
    }


def test_a_dead_letter_keeps_no_header_but_ours_and_the_trace() -> None:
    original = {"x-death": [{"count": 1}], "secret": "s", "traceparent": "00-1", "x-tq-run": 0}
    headers = dead_letter_headers(original, failure("Boom", ""), "q", NOW)
    assert {"traceparent", "x-tq-run"} <= headers.keys()
    assert not {"x-death", "secret"} & headers.keys()


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        pytest.param(None, {"x-tq-attempt": 3}, id="no headers"),
        pytest.param({}, {"x-tq-attempt": 3}, id="empty headers"),
        pytest.param({"x-tq-attempt": 1}, {"x-tq-attempt": 3}, id="another number"),
        pytest.param(
            {"x-tq-run": 0, "x-tq-retry": "{}", "traceparent": "00-1"},
            {"x-tq-run": 0, "x-tq-retry": "{}", "traceparent": "00-1", "x-tq-attempt": 3},
            id="what is ours, and the trace",
        ),
        pytest.param(
            {"x-death": [{"count": 1}], "x-first-death-queue": "q", "x-last-death-reason": "r"},
            {"x-tq-attempt": 3},
            id="not how it came over the ladder",
        ),
        pytest.param(
            {"secret": "s", "x-delay": 5, "x-delivery-count": 2, "CC": ["tq.other.q"]},
            {"x-tq-attempt": 3},
            id="not what is of others",
        ),
    ],
)
def test_the_next_attempt_has_our_headers_and_its_own_number(
    original: dict[str, Any] | None, expected: dict[str, Any]
) -> None:
    before = dict(original or {})
    assert next_attempt_headers(original, 3) == expected
    assert (original or {}) == before


def test_a_long_message_is_cut_between_characters() -> None:
    headers = dead_letter_headers(None, failure("Boom", "ä" * 2000), "q", NOW)
    assert headers["x-tq-error-message"] == "ä" * 512


def test_a_dead_letter_that_was_put_back_is_not_one_again() -> None:
    assert settle(FAILED, UID, 0, put_back=True) == Acknowledge()


def test_all_else_of_what_was_put_back_is_as_of_any_message() -> None:
    assert settle(RETRYING, UID, 0, put_back=True) == PublishNext(3, DUE)
    assert settle(replace(FAILED, phase="Pending"), UID, 0, put_back=True) == Acknowledge(
        ended=False
    )


def test_a_dead_letter_has_the_headers_by_which_it_is_known() -> None:
    headers = dead_letter_headers({"x-tq-attempt": 3}, failure("Boom", "why"), "tq.shop.q", NOW)
    assert headers.keys() >= DEAD_LETTER_HEADERS
    assert is_dead_letter(headers)
    assert not is_dead_letter(None)


def test_a_dead_letter_put_back_has_all_its_attempts_again() -> None:
    headers = dead_letter_headers({"x-tq-attempt": 3}, failure("Boom", "why"), "tq.shop.q", NOW)
    assert read_attempt(headers) == 1
    again = next_attempt_headers(headers, 2)
    assert again == {"x-tq-attempt": 2}
    assert read_attempt(again) == 2
