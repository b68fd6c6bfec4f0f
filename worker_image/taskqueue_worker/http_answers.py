"""What the answer of an `http` handler means. Pure."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from taskqueue_worker.outcomes import Outcome, bounded, decode_output, failure, final
from taskqueue_worker.sdk import RETRY_AFTER_MAX

BODY_MAX_BYTES = 1024 * 1024
"""Of a result: what is read; at most 8 KiB of it as JSON are kept."""
ERROR_KEPT_BYTES = 1024

_REJECTED = range(400, 500)
_MAY_PASS = frozenset({408, 425, 429})
"""Request Timeout, Too Early, Too Many Requests: no fault of the payload."""
_MAY_SAY_WHEN = frozenset({429, 503})
_SECONDS = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True)
class Answer:
    """An HTTP response.

    retry_after: the header of that name; empty: it has none.
    body: whole, or its start. whole: which of them.
    """

    status: int
    retry_after: str
    body: bytes
    whole: bool


def is_success(status: int) -> bool:
    """Return whether the body of an answer is a result."""
    return 200 <= status < 300


def judge_answer(answer: Answer, now: datetime) -> Outcome:
    """Return the outcome of an attempt that was answered. now: for a date to try again at."""
    status = answer.status
    if is_success(status):
        if not answer.whole:
            return final(
                "ResultTooLarge", f"the answer's body has more than {BODY_MAX_BYTES} bytes"
            )
        return decode_output(answer.body, "the answer's body")
    if 300 <= status < 400:
        return final("HttpStatus", f"HTTP {status}: redirects are not followed")
    start = answer.body[:ERROR_KEPT_BYTES].decode("utf-8", "replace").strip()
    words = bounded(start, ERROR_KEPT_BYTES)
    message = f"HTTP {status}: {words}" if words else f"HTTP {status}"
    after = parse_retry_after(answer.retry_after, now) if status in _MAY_SAY_WHEN else None
    if after is not None:
        return failure("Retry", message, after=after)
    if status in _REJECTED and status not in _MAY_PASS:
        return final("Rejected", message)
    return failure("HttpStatus", message)


def parse_retry_after(text: str, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks to wait, from now on.

    None: it says nothing that can be meant, so the retry policy decides.
    """
    text = text.strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
            # One without a zone is read as in UTC, the only one that HTTP knows.
            aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            seconds = max(0.0, (aware - now).total_seconds())
        except (ValueError, OverflowError, TypeError, IndexError):
            return None  # the parser promises ValueError only, but meets others in nonsense
    return seconds if seconds <= RETRY_AFTER_MAX else None
