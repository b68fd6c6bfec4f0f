"""The message that carries a Task from the operator to a worker.

The body is the payload as JSON; `null` where the headers say that it is elsewhere. This module
knows properties and headers as plain values; each side turns them into its AMQP library's own.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NewType

from taskqueue_api.payload_source import PayloadSource, parse_payload_source
from taskqueue_api.retries import BadPolicyError, read_policy

MESSAGE_VERSION = 1
SOURCED_VERSION = 2
"""Of a message whose payload is elsewhere. A worker that knows no such messages does not take it
for a Task without payload: it refuses the version, and the Task stays as it is."""

CONTENT_TYPE = "application/json"

TaskUid = NewType("TaskUid", str)

_VERSION = "x-tq-version"
_CLUSTER = "x-tq-cluster"
_NAMESPACE = "x-tq-namespace"
_NAME = "x-tq-name"
_CREATED = "x-tq-created"
_RUN = "x-tq-run"
_DISPATCHES = "x-tq-dispatches"
_TIMEOUT = "x-tq-timeout-ms"
_RETRY = "x-tq-retry"
_DELAYED = "x-tq-delayed"
_DEADLINE = "x-tq-deadline-ms"
_PAYLOAD_FROM = "x-tq-payload-from"

_UID_MAX = 64

ATTEMPT_HEADER = "x-tq-attempt"
ERROR_TYPE_HEADER = "x-tq-error-type"
ERROR_MESSAGE_HEADER = "x-tq-error-message"
FAILED_AT_HEADER = "x-tq-failed-at"
QUEUE_HEADER = "x-tq-queue"
DEAD_LETTER_HEADERS = frozenset(
    (ERROR_TYPE_HEADER, ERROR_MESSAGE_HEADER, FAILED_AT_HEADER, QUEUE_HEADER)
)
"""What a dead letter has, and no message of an attempt."""


class BadHeadersError(ValueError):
    """A message says it carries a Task, but its headers cannot be read."""


@dataclass(frozen=True)
class TaskHeaders:
    """The headers of a message that carries a Task.

    cluster: UID of the cluster's kube-system namespace.
    created: creation time of the Task, by the API server's clock, whole seconds.
    run, attempt, dispatches: which publication this is; attempt counts from 1.
    retry: the Task's own policy; None: its TaskQueue's.
    delayed: whether its first attempt had to wait for a time.
    deadline: no attempt may be started after it; None: at any time. Whole milliseconds.
    payload_from: where the payload is; None: it is the body.
    """

    cluster: str
    namespace: str
    name: str
    created: datetime
    run: int
    attempt: int
    dispatches: int
    timeout: timedelta
    retry: str | None = None
    delayed: bool = False
    deadline: datetime | None = None
    payload_from: PayloadSource | None = None

    def to_amqp(self) -> dict[str, Any]:
        """Return the AMQP header table."""
        own: dict[str, Any] = {} if self.retry is None else {_RETRY: self.retry}
        if self.delayed:
            own[_DELAYED] = True
        if self.deadline is not None:
            own[_DEADLINE] = int(self.deadline.timestamp() * 1000)
        if self.payload_from is not None:
            own[_PAYLOAD_FROM] = self.payload_from.to_text()
        return own | {
            _VERSION: MESSAGE_VERSION if self.payload_from is None else SOURCED_VERSION,
            _CLUSTER: self.cluster,
            _NAMESPACE: self.namespace,
            _NAME: self.name,
            _CREATED: int(self.created.timestamp()),
            _RUN: self.run,
            ATTEMPT_HEADER: self.attempt,
            _DISPATCHES: self.dispatches,
            _TIMEOUT: self.timeout // timedelta(milliseconds=1),
        }


def parse_headers(table: Mapping[str, Any] | None) -> TaskHeaders | None:
    """Return a message's Task headers; None: it comes from a producer outside the cluster's API.

    Raises BadHeadersError when the headers are ours but one is missing, of the wrong type or of
    a version that this code does not know.
    """
    if not table or _VERSION not in table:
        return None
    version = table[_VERSION]
    if version not in (MESSAGE_VERSION, SOURCED_VERSION):
        raise BadHeadersError(
            f"header {_VERSION} must be {MESSAGE_VERSION} or {SOURCED_VERSION}, not {version!r}: "
            "the message was published by another version of the operator"
        )
    return TaskHeaders(
        cluster=_text(table, _CLUSTER),
        namespace=_text(table, _NAMESPACE),
        name=_text(table, _NAME),
        created=datetime.fromtimestamp(_number(table, _CREATED), UTC),
        run=_number(table, _RUN),
        attempt=_number(table, ATTEMPT_HEADER, least=1),
        dispatches=_number(table, _DISPATCHES, least=1),
        timeout=timedelta(milliseconds=_number(table, _TIMEOUT)),
        retry=_policy(table),
        delayed=table.get(_DELAYED) is True,
        deadline=_deadline(table),
        payload_from=_payload_from(table) if version == SOURCED_VERSION else None,
    )


def encode_hint(uid: TaskUid) -> bytes:
    """Return the body of the hint that a Task is to be stopped: look at it."""
    return json.dumps({"cancel": uid}).encode()


def parse_hint(body: bytes) -> TaskUid:
    """Return the Task that a hint is about. Raises ValueError when it is none that we know."""
    try:
        value = json.loads(body)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    uid = value.get("cancel") if isinstance(value, dict) else None
    if not isinstance(uid, str) or not 0 < len(uid) <= _UID_MAX:
        raise ValueError("it must be an object with the UID of a Task as 'cancel'")
    return TaskUid(uid)


def read_attempt(table: Mapping[str, Any] | None) -> int:
    """Return the attempt that a message of an outside producer is for; its first has no header.

    A dead letter that somebody put back into the queue has all its attempts again. Raises
    BadHeadersError.
    """
    if not table or ATTEMPT_HEADER not in table or is_dead_letter(table):
        return 1
    return _number(table, ATTEMPT_HEADER, least=1)


def is_dead_letter(table: Mapping[str, Any] | None) -> bool:
    """Return whether a message has been a dead letter, and somebody put it back."""
    return table is not None and FAILED_AT_HEADER in table


def _policy(table: Mapping[str, Any]) -> str | None:
    if _RETRY not in table:
        return None
    text = _text(table, _RETRY)
    try:
        read_policy(text)
    except BadPolicyError as error:
        raise BadHeadersError(f"header {_RETRY}: {error}") from error
    return text


def _deadline(table: Mapping[str, Any]) -> datetime | None:
    if _DEADLINE not in table:
        return None
    return datetime.fromtimestamp(_number(table, _DEADLINE, most=2**43) / 1000, UTC)


def _payload_from(table: Mapping[str, Any]) -> PayloadSource:
    text = _text(table, _PAYLOAD_FROM)
    try:
        return parse_payload_source(text)
    except ValueError as error:
        raise BadHeadersError(f"header {_PAYLOAD_FROM}: {error}") from error


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise BadHeadersError(f"header {key} must be a text, not {value!r}")
    return value


def _number(table: Mapping[str, Any], key: str, least: int = 0, most: int = 2**37) -> int:
    value = table.get(key)
    # Beyond 2**37 seconds datetime overflows; no timeout is so long in milliseconds either.
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < most:
        raise BadHeadersError(f"header {key} must be a number from {least}, not {value!r}")
    return value
