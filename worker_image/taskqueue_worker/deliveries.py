"""What a delivered message asks for. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from taskqueue_api.messages import (
    BadHeadersError,
    TaskHeaders,
    TaskUid,
    parse_headers,
    read_attempt,
)
from taskqueue_worker.outcomes import Failure, final, parse_json

_NULL = b"null"
_OBJECT_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")


class Tag(NamedTuple):
    """A delivery tag; it means something on one connection only."""

    session: int
    number: int


@dataclass(frozen=True)
class Delivery:
    """A message as it came. properties: the AMQP library's own, for a copy as dead letter."""

    tag: Tag
    redelivered: bool
    message_id: str
    type: str
    headers: Mapping[str, Any]
    body: bytes
    properties: Any


@dataclass(frozen=True)
class TaskMessage:
    """A message that carries a Task.

    payload: the body, until it is filled from where the headers say that it is.
    bad: why there is no payload, if there is none.
    """

    delivery: Delivery
    headers: TaskHeaders
    uid: TaskUid
    payload: bytes = field(repr=False)
    bad: Failure | None


@dataclass(frozen=True)
class OutsideMessage:
    """A message of a producer outside the cluster's API. attempt: from 1."""

    delivery: Delivery
    payload: bytes
    attempt: int


@dataclass(frozen=True)
class BadMessage:
    """A message that nothing can be done for but to dead-letter it."""

    delivery: Delivery
    error: Failure


@dataclass(frozen=True)
class ForeignMessage:
    """A Task of another cluster or namespace: it belongs to nobody here."""

    delivery: Delivery


Message = TaskMessage | OutsideMessage | BadMessage | ForeignMessage


def read_message(delivery: Delivery, *, cluster: str, namespace: str) -> Message:
    """Return what a delivery asks of the worker of this cluster and namespace."""
    try:
        headers = parse_headers(delivery.headers)
        attempt = read_attempt(delivery.headers)
    except BadHeadersError as error:
        return BadMessage(delivery, final("BadMessage", str(error)))
    if headers is not None and (headers.cluster, headers.namespace) != (cluster, namespace):
        return ForeignMessage(delivery)
    bad = _fault(delivery.body)
    payload = delivery.body if delivery.body.strip() else _NULL
    if headers is not None:
        if not is_object_name(headers.name):
            words = f"header x-tq-name must be the name of a Task, not {headers.name!r}"
            return BadMessage(delivery, final("BadMessage", words))
        if not delivery.message_id:
            return BadMessage(delivery, final("BadMessage", "property message_id must be set"))
        return TaskMessage(delivery, headers, TaskUid(delivery.message_id), payload, bad)
    if bad is not None:
        return BadMessage(delivery, bad)
    if not delivery.type:
        words = "property type must name the handler of a message without Task headers"
        return BadMessage(delivery, final("UnknownHandler", words))
    return OutsideMessage(delivery, payload, attempt)


def is_object_name(text: str) -> bool:
    """Return whether a text can be the name of a Kubernetes object, and so part of a path."""
    return _OBJECT_NAME.fullmatch(text) is not None


def _fault(body: bytes) -> Failure | None:
    """Return why a body is no payload. An empty one is: it means no payload."""
    if not body.strip():
        return None
    try:
        parse_json(body)
    except ValueError as error:
        return final("BadMessage", f"the body cannot be a payload: {error}")
    return None
