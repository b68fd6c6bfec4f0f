"""A refused publication costs its channel, not the connection."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pika
import pytest
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker, ChannelWrongStateError

from taskqueue_api.amqp import AsyncConnection
from taskqueue_worker.errors import BrokerError
from taskqueue_worker.session import Prefetch, Session

REFUSED = ChannelClosedByBroker(404, "NOT_FOUND - no exchange 'taskqueue.delay.25' in vhost '/'")


class FakeChannel(Channel):
    """A channel that confirms what is published, or is closed for it."""

    def __init__(self, answer: BaseException | None) -> None:
        # Not Channel's own: that wants a connection.
        self.answer = answer
        self.sent: list[str] = []
        self.on_close: Callable[[Any, Any], Any] = lambda *_: None
        self.on_confirm: Callable[[Any], Any] = lambda _: None
        self.on_cancel: Callable[[Any], Any] = lambda _: None
        self.is_shut = False
        self.is_mute = False
        self.asked: list[tuple[str, Any]] = []
        self.acked: list[tuple[int, bool]] = []
        self.heard = asyncio.Event()

    @property
    def is_open(self) -> bool:
        return not self.is_shut

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        self.acked.append((delivery_tag, multiple))
        self.heard.set()

    def basic_nack(self, *_: Any, **__: Any) -> None:
        """It goes back."""

    def add_on_close_callback(self, callback: Callable[[Any, Any], Any]) -> None:
        self.on_close = callback

    def add_on_return_callback(self, callback: Callable[..., Any]) -> None:
        """Nothing is returned."""

    def confirm_delivery(
        self, ack_nack_callback: Callable[[Any], Any], callback: Any = None
    ) -> None:
        self.on_confirm = ack_nack_callback
        callback(None)

    def add_on_cancel_callback(self, callback: Callable[[Any], Any]) -> None:
        self.on_cancel = callback

    def queue_declare(self, *_: Any, **__: Any) -> None:
        """It is there."""

    def queue_bind(self, *_: Any, **__: Any) -> None:
        """It is bound."""

    def basic_qos(self, *_: Any, prefetch_count: int = 0, callback: Any = None, **__: Any) -> None:
        self.asked.append(("prefetch", prefetch_count))
        if not self.is_mute:
            callback(None)

    def basic_consume(self, *_: Any, arguments: Any = None, callback: Any = None, **__: Any) -> str:
        self.asked.append(("consume", arguments))
        if callback:
            callback(None)
        return f"tag-{len(self.asked)}"

    def basic_cancel(self, consumer_tag: str = "", callback: Any = None) -> None:
        if self.is_shut:
            raise ChannelWrongStateError("Channel is closed.")
        self.asked.append(("cancel", consumer_tag))
        callback(None)

    def basic_publish(self, exchange: str, *_: Any, **__: Any) -> None:
        if self.is_shut:
            raise ChannelWrongStateError("Channel is closed.")
        loop = asyncio.get_running_loop()
        if self.answer is not None:
            self.is_shut = True
            loop.call_soon(self.on_close, self, self.answer)
            return
        self.sent.append(exchange)
        frame = pika.frame.Method(1, pika.spec.Basic.Ack(len(self.sent)))
        loop.call_soon(self.on_confirm, frame)


class FakeConnection:
    """Opens channels, as told."""

    def __init__(self, *answers: BaseException | None) -> None:
        self.channels = [FakeChannel(answer) for answer in answers]
        self.opened = 0

    def channel(self, on_open_callback: Callable[[Any], Any]) -> None:
        channel = self.channels[self.opened]
        self.opened += 1
        on_open_callback(channel)


async def open_session(connection: FakeConnection) -> Session:
    """Return a session that can publish."""
    session = Session(1, lambda _: None)
    session._connection = cast(AsyncConnection, connection)
    await session._open_publisher()
    return session


async def publish(session: Session) -> None:
    await session.publish("taskqueue.delay.25", "k", b"{}", pika.BasicProperties())


async def test_a_refusal_is_told_and_the_next_publication_has_a_new_channel() -> None:
    connection = FakeConnection(REFUSED, None)
    session = await open_session(connection)
    with pytest.raises(BrokerError, match="NOT_FOUND - no exchange"):
        await publish(session)
    assert session.can_publish
    assert not session.lost.done()
    await publish(session)
    await publish(session)
    assert connection.opened == 2
    assert connection.channels[1].sent == ["taskqueue.delay.25"] * 2


async def test_a_channel_that_is_closed_unnoticed_is_a_refusal_too() -> None:
    session = await open_session(FakeConnection(None))
    assert session._publisher is not None
    cast(FakeChannel, session._publisher).is_shut = True
    with pytest.raises(BrokerError, match="Channel is closed"):
        await publish(session)


async def test_what_is_lost_with_the_connection_is_not_tried_on_it_again() -> None:
    connection = FakeConnection(None)
    session = await open_session(connection)
    session._lose("gone")
    with pytest.raises(BrokerError, match="not connected"):
        await publish(session)
    assert connection.opened == 1


class NeverOpen:
    """A connection that is still being opened, as when the name of its host is looked up."""

    is_open = is_closing = is_closed = False

    def close(self) -> None:
        self.is_closed = True


async def test_what_is_not_open_in_time_is_closed_and_never_opens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[NeverOpen] = []

    def connect(*_: Any, **__: Any) -> NeverOpen:
        made.append(NeverOpen())
        return made[-1]

    monkeypatch.setattr("taskqueue_worker.session.AsyncConnection", connect)
    monkeypatch.setattr("taskqueue_worker.session._CONNECT_SECONDS", 0.01)
    session = Session(1, lambda _: None)
    with pytest.raises(BrokerError, match="no answer within"):
        await session.open(pika.URLParameters("amqp://h"), "q", Prefetch(1, 1))
    await session.close()
    assert [one.is_closed for one in made] == [True]


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda channel: channel.on_close(channel, REFUSED), id="refused"),
        pytest.param(lambda channel: channel.on_cancel(None), id="cancelled"),
    ],
)
async def test_hints_are_heard_until_that_is_refused(end: Callable[[FakeChannel], None]) -> None:
    connection = FakeConnection(None, None)
    session = await open_session(connection)
    heard = [session.hears]
    await session._open_control("tqc.ns.q.1", "tq.ns.q")
    heard.append(session.hears)
    end(connection.channels[1])
    assert [*heard, session.hears] == [False, True, False]
    assert not session.lost.done()


async def test_spare_messages_come_only_when_the_slots_of_all_workers_have_theirs() -> None:
    connection = FakeConnection(None, None)
    session = await open_session(connection)
    await session._open_consumer("tq.ns.q", Prefetch(4, 2))
    session.consuming = True
    await session.stop_consuming()
    assert connection.channels[1].asked == [
        ("prefetch", 4),
        ("consume", {"x-priority": 0}),
        ("prefetch", 2),
        ("consume", {"x-priority": -1}),
        ("cancel", "tag-2"),
        ("cancel", "tag-4"),
    ]


async def test_more_messages_are_asked_for_once_and_until_that_is_over() -> None:
    connection = FakeConnection(None, None)
    session = await open_session(connection)
    await session._open_consumer("tq.ns.q", Prefetch(4, 2))
    asked = connection.channels[1].asked
    await session.ask_more("tq.ns.q", 64)
    assert len(asked) == 4  # it does not consume yet
    session.consuming = True
    for count in (64, 64, 0, 0, 64):
        await session.ask_more("tq.ns.q", count)
    await session.stop_consuming()
    await session.ask_more("tq.ns.q", 64)
    assert asked[4:] == [
        ("prefetch", 64),
        ("consume", {"x-priority": -1}),
        ("cancel", "tag-6"),
        ("prefetch", 64),
        ("consume", {"x-priority": -1}),
        *(("cancel", tag) for tag in ("tag-2", "tag-4", "tag-9")),
    ]


async def ask_in_vain() -> tuple[Session, FakeChannel, asyncio.Task[None]]:
    """Return a session that consumes, its channel, and what asks there for more, unanswered."""
    connection = FakeConnection(None, None)
    session = await open_session(connection)
    await session._open_consumer("tq.ns.q", Prefetch(4, 2))
    session.consuming = True
    connection.channels[1].is_mute = True
    asking = asyncio.create_task(session.ask_more("tq.ns.q", 64))
    await asyncio.sleep(0)
    return session, connection.channels[1], asking


async def test_a_drain_goes_on_when_the_connection_is_lost_meanwhile() -> None:
    session, channel, asking = await ask_in_vain()
    stopping = asyncio.create_task(session.stop_consuming())
    await asyncio.sleep(0)
    channel.is_shut = True
    session._lose("gone")
    await asyncio.gather(asking, stopping)
    assert [step for step, _ in channel.asked].count("cancel") == 0


async def test_what_is_asked_for_while_the_connection_goes_is_no_fault() -> None:
    session, _, asking = await ask_in_vain()
    session._lose("gone")
    await asking
    assert not session.consuming


async def consuming(ample: int) -> tuple[Session, FakeChannel]:
    """Return a session that has asked for so many messages beyond the prefetch."""
    connection = FakeConnection(None, None)
    session = await open_session(connection)
    await session._open_consumer("q", Prefetch(1, 1))
    session.consuming = True
    await session.ask_more("q", ample)
    for number in range(1, 6):
        come(session, number)
    return session, connection.channels[1]


def come(session: Session, number: int) -> None:
    """Have a message come."""
    method = pika.spec.Basic.Deliver(delivery_tag=number)
    session._on_message(cast(Channel, None), method, pika.BasicProperties(), b"")


async def test_an_acknowledgement_is_sent_at_once_while_handlers_take_their_time() -> None:
    session, channel = await consuming(0)
    assert session.ack(1)
    assert session.ack(2)
    assert channel.acked == [(1, False), (2, False)]


async def test_those_of_quick_ones_are_sent_together_before_rabbitmq_runs_out() -> None:
    session, channel = await consuming(8)
    for number in (1, 2, 4):
        assert session.ack(number)
    assert channel.acked == []
    session.give_back(3)
    assert session.ack(5)
    assert channel.acked == [(5, True)]


@pytest.mark.parametrize("end", ["time", "close"])
async def test_none_of_them_is_kept_for_long(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskqueue_worker.session._ACK_SECONDS", 0.0 if end == "time" else 3600)
    session, channel = await consuming(8)
    session.ack(2)
    if end == "close":
        session._connection = None  # there is none behind the fakes
        await session.close()
    else:
        async with asyncio.timeout(5):
            await channel.heard.wait()
    assert channel.acked == [(2, False)]


async def test_what_was_collected_goes_with_the_connection() -> None:
    session, channel = await consuming(8)
    assert session.ack(1)
    session._lose("gone")
    assert not session.ack(2)
    session._acknowledge()
    assert channel.acked == []
