"""What is still to be done for a message when its Task has concluded. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from taskqueue_api.conditions import parse_time, rfc3339
from taskqueue_api.messages import (
    ATTEMPT_HEADER,
    DEAD_LETTER_HEADERS,
    ERROR_MESSAGE_HEADER,
    ERROR_TYPE_HEADER,
    FAILED_AT_HEADER,
    QUEUE_HEADER,
    TaskUid,
)
from taskqueue_worker.outcomes import Failure, bounded, failure
from taskqueue_worker.statuses import TaskView

HEADER_MESSAGE_MAX_BYTES = 1024
_HEADER_PREFIX = "x-tq-"
_TRACE_HEADER = "traceparent"


@dataclass(frozen=True)
class Acknowledge:
    """Nothing but the acknowledgement.

    ended: whether the message can never be needed again; otherwise it is given back, not
        acknowledged.
    """

    ended: bool = True


@dataclass(frozen=True)
class DeadLetter:
    """Publish it as a dead letter, confirmed, then acknowledge."""

    error: Failure


@dataclass(frozen=True)
class PublishNext:
    """Publish the message of the next attempt, confirmed, then acknowledge. due: when it starts."""

    attempt: int
    due: datetime


Settlement = Acknowledge | DeadLetter | PublishNext


def settle(view: TaskView | None, uid: TaskUid, run: int, *, put_back: bool = False) -> Settlement:
    """Return what is to be done for a message of a Task that this worker is done with.

    view: None when the Task is gone. put_back: the message is a dead letter that somebody put back
    into the queue. Equal input gives equal output, so that a redelivery does what a crash between
    two steps has left undone. The message may be of an earlier attempt than the one that failed
    last: a Task taken over from a lost worker has no message of that number.
    """
    if view is None or view.uid != uid or view.run != run:
        return Acknowledge()
    if view.phase == "Retrying" and view.next_attempt_time is not None:
        return PublishNext(view.attempts + 1, parse_time(view.next_attempt_time))
    if view.phase != "Failed":
        # Another worker may run it by this very message, and lose it again.
        return Acknowledge(ended=view.concluded)
    if put_back:
        # The Task is the record of its failure. Put back where it was, the dead letter would be
        # there again after every redrive.
        return Acknowledge()
    return DeadLetter(failure(view.error_type, view.error_message))


def next_attempt_headers(original: Mapping[str, Any] | None, attempt: int) -> dict[str, Any]:
    """Return the headers of the next attempt's message: ours from the original, its number new.

    Without those of a dead letter that was put back, which would make each attempt the first.
    """
    kept = {key: value for key, value in _kept(original).items() if key not in DEAD_LETTER_HEADERS}
    return {**kept, ATTEMPT_HEADER: attempt}


def dead_letter_headers(
    original: Mapping[str, Any] | None, error: Failure, queue: str, now: datetime
) -> dict[str, Any]:
    """Return the headers of a dead letter: ours from the original, and why and where it failed."""
    message = error.message.encode()[:HEADER_MESSAGE_MAX_BYTES].decode("utf-8", "ignore")
    return _kept(original) | {
        ERROR_TYPE_HEADER: bounded(error.type, HEADER_MESSAGE_MAX_BYTES // 4),
        ERROR_MESSAGE_HEADER: message,
        FAILED_AT_HEADER: rfc3339(now),
        QUEUE_HEADER: queue,
    }


def _kept(original: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the headers that are passed on.

    An allow-list: with a copied `x-death`, RabbitMQ up to 3.13 takes the second retry for a cycle
    and drops it silently; and what an outside producer put into headers is not for us to pass on.
    """
    return {
        key: value
        for key, value in (original or {}).items()
        if key.startswith(_HEADER_PREFIX) or key == _TRACE_HEADER
    }
