"""How a slot takes what a handler raises; the whole of it is in test_python_slots.py."""

from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from taskqueue_worker import slot
from taskqueue_worker.outcomes import Failure, Outcome, failure
from taskqueue_worker.sdk import Registry, Retry


class Plain(Retry):
    """Adds nothing."""


class Forgetful(Retry):
    """Never calls the class that it is made of."""

    def __init__(self, code: int) -> None:
        Exception.__init__(self, f"code {code}")


class Careless(Retry):
    """Sets what is no time to wait."""

    def __init__(self, after: Any) -> None:
        Exception.__init__(self, "careless")
        self.after = after


class Careful(Retry):
    """Calls it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}", after=5)


def run(error: Exception) -> Outcome:
    """Return the outcome of a handler that raises this."""

    def handler(payload: Any) -> None:
        raise error

    def finish(_: Awaitable[Any]) -> Any:
        raise AssertionError("it is no coroutine")

    registry = Registry()
    registry.add("a", handler)
    return slot._run({"handler": "a"}, b"null", registry.handlers, finish, lambda *_: None)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(Retry("later", after=2), failure("Retry", "later", after=2), id="itself"),
        pytest.param(Plain("later", after=2), failure("Retry", "later", after=2), id="plain"),
        pytest.param(Forgetful(7), failure("Retry", "code 7"), id="with its own __init__"),
        pytest.param(Careless(-1), failure("Retry", "careless"), id="in the past"),
        pytest.param(Careless("soon"), failure("Retry", "careless"), id="no number"),
        pytest.param(
            Careless(timedelta(seconds=3)), failure("Retry", "careless", after=3), id="timedelta"
        ),
        pytest.param(Careful(7), failure("Retry", "code 7", after=5), id="calling ours"),
    ],
)
def test_any_retry_is_one(error: Exception, expected: Outcome) -> None:
    assert run(error) == expected


class Order(BaseModel):
    """A payload."""

    number: int
    to: str
    items: list[int]


def test_every_fault_of_a_payload_is_named() -> None:
    def handler(order: Order) -> None:
        raise AssertionError("it must not run")

    registry = Registry()
    registry.add("a", handler)
    body = b'{"number": "x", "items": [1, "y"]}'
    outcome = slot._run({"handler": "a"}, body, registry.handlers, lambda _: None, lambda *_: None)
    assert isinstance(outcome, Failure)
    places = [line.partition(":")[0] for line in outcome.message.split("; ")]
    assert (outcome.type, places) == ("InvalidPayload", ["number", "to", "items.1"])
