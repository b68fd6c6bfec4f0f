"""What a delivered message asks for."""

from dataclasses import replace
from typing import Any

import pytest

from taskqueue_api.payload_source import PayloadSource
from taskqueue_worker.deliveries import (
    BadMessage,
    Delivery,
    ForeignMessage,
    Message,
    OutsideMessage,
    Tag,
    TaskMessage,
    read_message,
)

HEADERS = {
    "x-tq-version": 1,
    "x-tq-cluster": "c",
    "x-tq-namespace": "ns",
    "x-tq-name": "t",
    "x-tq-created": 1_767_225_600,
    "x-tq-run": 0,
    "x-tq-attempt": 1,
    "x-tq-dispatches": 1,
    "x-tq-timeout-ms": 30_000,
}

SOURCE = "x-tq-payload-from"
SECRET = PayloadSource("Secret", "cards", "visa")


def read(**changes: Any) -> Message:
    """Read a Task's message with these changes."""
    fields: dict[str, Any] = {
        "tag": Tag(1, 1),
        "redelivered": False,
        "message_id": "uid-1",
        "type": "echo",
        "headers": HEADERS,
        "body": b'{"a": 1}',
        "properties": None,
    }
    return read_message(Delivery(**fields | changes), cluster="c", namespace="ns")


def test_a_tasks_message() -> None:
    message = read()
    assert isinstance(message, TaskMessage)
    assert (message.uid, message.headers.name, message.bad) == ("uid-1", "t", None)
    assert message.payload == b'{"a": 1}'


@pytest.mark.parametrize("body", [b"", b"  \n"])
def test_no_body_means_no_payload(body: bytes) -> None:
    message = read(body=body)
    assert isinstance(message, TaskMessage)
    assert (message.payload, message.bad) == (b"null", None)


@pytest.mark.parametrize(
    "change", [{"x-tq-cluster": "other"}, {"x-tq-namespace": "other"}], ids=lambda c: next(iter(c))
)
def test_a_task_of_elsewhere_is_foreign(change: dict[str, str]) -> None:
    assert isinstance(read(headers=HEADERS | change), ForeignMessage)


DEEP = b"[" * 101 + b"]" * 101


@pytest.mark.parametrize("body", [b"{nope", b"\xff", b'{"a": NaN}', b"[" * 200_000, DEEP])
def test_a_tasks_message_with_a_bad_body_still_names_its_task(body: bytes) -> None:
    message = read(body=body)
    assert isinstance(message, TaskMessage)
    assert message.bad is not None
    assert message.bad.type == "BadMessage"


@pytest.mark.parametrize(
    ("changes", "error_type", "words"),
    [
        pytest.param(
            {"headers": HEADERS | {"x-tq-version": 3}}, "BadMessage", "x-tq-version", id="version"
        ),
        pytest.param(
            {"headers": HEADERS | {"x-tq-run": "0"}}, "BadMessage", "x-tq-run", id="wrong type"
        ),
        pytest.param(
            {"headers": HEADERS | {"x-tq-name": "../pods/p"}}, "BadMessage", "x-tq-name", id="path"
        ),
        pytest.param(
            {"headers": HEADERS | {"x-tq-retry": "{"}}, "BadMessage", "x-tq-retry", id="policy"
        ),
        pytest.param(
            {"headers": {"x-tq-attempt": 0}}, "BadMessage", "x-tq-attempt", id="outside, attempt 0"
        ),
        pytest.param(
            {"headers": {"x-tq-attempt": "2"}}, "BadMessage", "x-tq-attempt", id="outside, a text"
        ),
        pytest.param(
            {"headers": HEADERS | {"x-tq-version": 2}}, "BadMessage", SOURCE, id="no source"
        ),
        pytest.param(
            {"headers": HEADERS | {"x-tq-version": 2, SOURCE: "Secret/../pods/k"}},
            "BadMessage",
            SOURCE,
            id="path as source",
        ),
        pytest.param({"message_id": ""}, "BadMessage", "message_id", id="no uid"),
        pytest.param({"headers": {}, "body": b"{"}, "BadMessage", "JSON", id="outside, not JSON"),
        pytest.param(
            {"headers": {}, "type": ""}, "UnknownHandler", "property type", id="outside, no handler"
        ),
    ],
)
def test_a_bad_message_says_what_is_bad(
    changes: dict[str, Any], error_type: str, words: str
) -> None:
    message = read(**changes)
    assert isinstance(message, BadMessage)
    assert message.error.type == error_type
    assert words in message.error.message


def test_a_message_without_task_headers_comes_from_outside() -> None:
    message = read(headers={"foo": "bar"}, message_id="")
    assert isinstance(message, OutsideMessage)
    assert message.attempt == 1


@pytest.mark.parametrize("attempt", [1, 2, 100])
def test_a_message_from_outside_is_counted_by_its_header(attempt: int) -> None:
    message = read(headers={"x-tq-attempt": attempt}, message_id="")
    assert isinstance(message, OutsideMessage)
    assert message.attempt == attempt


def test_a_task_may_bring_its_own_policy() -> None:
    message = read(headers=HEADERS | {"x-tq-retry": '{"maxAttempts":2}'})
    assert isinstance(message, TaskMessage)
    assert message.headers.retry == '{"maxAttempts":2}'


@pytest.mark.parametrize(
    "retry",
    [
        pytest.param("[" * 100_000, id="nested too deeply"),
        pytest.param('{"maxAttempts": Infinity}', id="without end"),
    ],
)
def test_a_policy_made_to_harm_is_a_bad_message_and_not_the_end_of_the_worker(retry: str) -> None:
    assert isinstance(read(headers=HEADERS | {"x-tq-retry": retry}), BadMessage)


def test_a_bad_message_is_bad_for_good() -> None:
    for message in (read(headers=HEADERS | {"x-tq-version": 3}), read(headers={}, type="")):
        assert isinstance(message, BadMessage)
        assert message.error.permanent
    task = read(body=b"{")
    assert isinstance(task, TaskMessage)
    assert task.bad is not None
    assert task.bad.permanent


def test_a_message_may_name_where_its_payload_is() -> None:
    named = {"x-tq-version": 2, SOURCE: "Secret/cards/visa"}
    message = read(headers=HEADERS | named, body=b"null")
    assert isinstance(message, TaskMessage)
    assert (message.headers.payload_from, message.bad) == (SECRET, None)


def test_only_a_message_of_a_task_may_do_so() -> None:
    message = read(headers={SOURCE: "Secret/cards/visa"}, message_id="", body=b"1")
    assert isinstance(message, OutsideMessage)
    assert message.payload == b"1"


def test_a_payload_is_never_shown_with_its_message() -> None:
    message = read(body=b"null")
    assert isinstance(message, TaskMessage)
    assert "hidden" not in repr(replace(message, payload=b'"hidden"'))
