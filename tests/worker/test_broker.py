"""Copies of messages are published until the broker has them."""

from datetime import UTC, datetime
from typing import Any, cast

import pika
import pytest

from taskqueue_worker.broker import Broker
from taskqueue_worker.deliveries import Delivery, Tag
from taskqueue_worker.session import BrokerError, Session, UnroutableError

STAMP = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())


class FakeSession:
    """Publishes, after the errors that it is told to raise."""

    can_publish = True

    def __init__(self, *errors: BrokerError) -> None:
        self.errors = list(errors)
        self.sent: list[tuple[str, str, bytes, pika.BasicProperties]] = []
        self.tries = 0

    async def publish(
        self, exchange: str, key: str, body: bytes, properties: pika.BasicProperties
    ) -> None:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append((exchange, key, body, properties))


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskqueue_worker.broker.BACKOFF_MAX", 0.0)


def broker_with(session: FakeSession, tmp_path: Any) -> Broker:
    broker = Broker(tmp_path, "tq.ns.q", 1, "p", jitter=lambda: 0.0)
    broker._session = cast(Session, session)
    return broker


def delivery(**properties: Any) -> Delivery:
    return Delivery(
        tag=Tag(1, 1),
        redelivered=True,
        message_id="uid-1",
        type="echo",
        headers={"x-death": []},
        body=b"{}",
        properties=pika.BasicProperties(message_id="uid-1", type="echo", **properties),
    )


async def test_a_copy_goes_where_it_is_told_with_the_headers_that_it_is_given(
    tmp_path: Any,
) -> None:
    session = FakeSession()
    broker = broker_with(session, tmp_path)
    await broker.publish_copy("taskqueue.delay.25", lambda: "k", delivery(), {"x-tq-attempt": 2})
    ((exchange, key, body, properties),) = session.sent
    assert (exchange, key, body) == ("taskqueue.delay.25", "k", b"{}")
    assert properties.headers == {"x-tq-attempt": 2}
    assert properties.delivery_mode == 2


async def test_a_copy_keeps_what_describes_the_work_and_nothing_else(tmp_path: Any) -> None:
    kept = {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "priority": 7,
        "timestamp": STAMP,
        "correlation_id": "c",
        "reply_to": "r",
    }
    # A user that is not ours would be refused, and a TTL of its own ended it on the ladder.
    dropped = {"user_id": "someone", "expiration": "1000", "app_id": "a", "cluster_id": "c"}
    session = FakeSession()
    await broker_with(session, tmp_path).publish_copy(
        "e", lambda: "k", delivery(**kept, **dropped), {}
    )
    properties = session.sent[0][3]
    assert (properties.message_id, properties.type) == ("uid-1", "echo")
    assert {name: getattr(properties, name) for name in kept} == kept
    assert {getattr(properties, name) for name in dropped} == {None}


@pytest.mark.parametrize(
    "error", [UnroutableError("NO_ROUTE"), BrokerError("no confirm")], ids=lambda e: str(e)
)
async def test_a_copy_is_published_until_it_is_confirmed_with_the_key_of_that_moment(
    tmp_path: Any, error: BrokerError
) -> None:
    # The rest of a delay is shorter at each try.
    session = FakeSession(error, error)
    keys = iter(["3", "2", "1"])
    await broker_with(session, tmp_path).publish_copy("e", lambda: next(keys), delivery(), {})
    assert session.tries == 3
    assert [key for _, key, _, _ in session.sent] == ["1"]


async def test_a_copy_that_can_never_be_published_is_an_error(tmp_path: Any) -> None:
    session = FakeSession()
    broker = broker_with(session, tmp_path)
    session.can_publish = False
    broker._over = True
    with pytest.raises(BrokerError, match="while draining"):
        await broker.publish_copy("e", lambda: "k", delivery(), {})
    assert session.sent == []
