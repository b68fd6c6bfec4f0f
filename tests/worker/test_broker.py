"""Copies of messages are published until the broker has them."""

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pika
import pytest

from taskqueue_api.names import DEAD_LETTER_EXCHANGE, DELAY_EXCHANGE
from taskqueue_api.rabbitmq import Version
from taskqueue_worker.broker import Broker
from taskqueue_worker.deliveries import Delivery, Tag
from taskqueue_worker.errors import BrokerError, UnroutableError
from taskqueue_worker.session import Prefetch, Session

STAMP = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())


class FakeSession:
    """Publishes, after the errors that it is told to raise. version: RabbitMQ's."""

    can_publish = True
    version: Version = (4, 3)

    def __init__(self, *errors: BrokerError) -> None:
        self.number = 1
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.errors = list(errors)
        self.sent: list[tuple[str, str, bytes, pika.BasicProperties]] = []
        self.tries = 0
        self.consuming = self.hears = True
        self.asked: list[int] = []
        self.ready = asyncio.Event()

    async def open(self, *_: Any) -> None:
        """Be open at once."""

    async def ask_more(self, _: str, count: int) -> None:
        self.asked.append(count)
        self.ready.set()

    async def close(self) -> None:
        """Nothing is open."""

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
    broker = Broker(tmp_path, "tq.ns.q", Prefetch(1, 1), "p", jitter=lambda: 0.0)
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


@pytest.mark.parametrize("closed", [True, False], ids=["lost", "another one"])
async def test_a_copy_is_left_to_the_message_that_comes_again_unless_it_is_insisted_on(
    tmp_path: Any, *, closed: bool
) -> None:
    session = FakeSession()
    if closed:
        session.lost.set_result("gone")
    else:
        session.number = 2
    broker = broker_with(session, tmp_path)
    with pytest.raises(BrokerError, match="comes again"):
        await broker.publish_copy("e", lambda: "k", delivery(), {}, insist=False)
    assert session.sent == []
    await broker.publish_copy("e", lambda: "k", delivery(), {}, insist=True)
    assert len(session.sent) == 1


async def test_a_copy_of_a_message_that_is_still_ours_needs_no_insisting(tmp_path: Any) -> None:
    session = FakeSession(BrokerError("no confirm"))
    broker = broker_with(session, tmp_path)
    await broker.publish_copy("e", lambda: "k", delivery(), {}, insist=False)
    assert (session.tries, len(session.sent)) == (2, 1)


async def test_a_copy_is_not_tried_again_once_its_connection_is_lost(tmp_path: Any) -> None:
    broker = broker_with(FakeSession(), tmp_path)
    later = FakeSession()
    later.number = 2

    class Breaking(FakeSession):
        """Is lost, with another in its place, while it publishes."""

        async def publish(self, *_: Any) -> None:
            broker._session = cast(Session, later)
            raise BrokerError("lost")

    broker._session = cast(Session, Breaking())
    with pytest.raises(BrokerError, match="comes again"):
        await broker.publish_copy("e", lambda: "k", delivery(), {}, insist=False)
    assert later.sent == []


@pytest.mark.parametrize(
    ("exchange", "version", "priority", "expected"),
    [
        pytest.param(DELAY_EXCHANGE, (4, 0), 9, 4, id="ladder of 4.0"),
        pytest.param(DELAY_EXCHANGE, (4, 0), 2, 2, id="low anyway"),
        pytest.param(DELAY_EXCHANGE, (4, 0), None, None, id="none"),
        pytest.param(DELAY_EXCHANGE, (4, 3), 9, 9, id="ladder of 4.3"),
        pytest.param(DELAY_EXCHANGE, (3, 13), 9, 9, id="ladder of 3.13"),
        pytest.param(DEAD_LETTER_EXCHANGE, (4, 0), 9, 9, id="dead letter"),
    ],
)
async def test_a_copy_loses_a_high_priority_on_the_ladder_where_that_would_block_it(
    tmp_path: Any, exchange: str, version: Version, priority: int | None, expected: int | None
) -> None:
    session = FakeSession()
    session.version = version
    original = delivery(priority=priority)
    await broker_with(session, tmp_path).publish_copy(exchange, lambda: "k", original, {})
    assert session.sent[0][3].priority == expected
    assert original.properties.priority == priority


async def test_more_messages_are_asked_for_on_the_next_connection_too(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uri").write_text("amqp://host")
    first, second = sessions = [FakeSession(), FakeSession()]
    coming = iter(sessions)
    monkeypatch.setattr("taskqueue_worker.broker.Session", lambda *_: next(coming))
    broker = Broker(tmp_path, "tq.ns.q", Prefetch(1, 1), "p", jitter=lambda: 0.0)
    running = asyncio.create_task(broker.run(lambda _: None, lambda _: None))
    await first.ready.wait()
    await broker.ask_more(16)
    first.lost.set_result("gone")
    await second.ready.wait()
    running.cancel()
    await asyncio.wait([running])
    assert (first.asked, second.asked) == ([0, 16], [16])
