"""Tokens are taken one by one, on a channel whose end costs nothing but them."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from pika import spec
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker, ChannelWrongStateError

from taskqueue_worker.broker import Broker
from taskqueue_worker.errors import BrokerError
from taskqueue_worker.session import Prefetch, Session
from taskqueue_worker.tokens import TokenChannel

MISSING = ChannelClosedByBroker(404, "NOT_FOUND - no queue 'tql.ns.q.running.1'")


class FakeChannel:
    """What is used of pika's Channel. told: what was done with tokens."""

    def __init__(self) -> None:
        self.is_open = True
        self.told: list[Any] = []
        self.on_token: Callable[..., None] | None = None

    def add_on_close_callback(self, callback: Callable[[Any, BaseException], None]) -> None:
        self.on_close = callback

    def add_callback(
        self, callback: Callable[[Any], None], replies: list[Any], one_shot: bool = True
    ) -> None:
        assert (replies, one_shot) == ([spec.Basic.GetEmpty], False)
        self.on_empty = callback

    def basic_get(self, queue: str, callback: Callable[..., None], auto_ack: bool = False) -> None:
        assert not auto_ack
        if not self.is_open:
            raise ChannelWrongStateError("Channel is closed.")
        self.told.append(queue)
        self.on_token = callback

    def basic_nack(self, number: int, *, requeue: bool) -> None:
        self.told.append(("nack", number, requeue))

    def basic_reject(self, number: int, *, requeue: bool) -> None:
        self.told.append(("reject", number, requeue))

    def give(self, number: int) -> None:
        """Answer with a token."""
        assert self.on_token is not None
        self.on_token(self, spec.Basic.GetOk(number, False, "", "q", 0), None, b"")

    def die(self, reason: BaseException = MISSING) -> None:
        """Close."""
        self.is_open = False
        self.on_close(self, reason)


class World:
    """A channel of tokens between fakes."""

    def __init__(self) -> None:
        self.fake = FakeChannel()
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.channel = TokenChannel("tql.ns.q.running.1", cast(Channel, self.fake), self.lost)

    async def take(self, answer: Callable[[], None]) -> Any:
        """Take a token, with this answer."""
        taking = asyncio.create_task(self.channel.take())
        await asyncio.sleep(0)
        answer()
        return await taking


async def test_a_token_is_taken_without_acknowledging_it() -> None:
    world = World()
    token = await world.take(lambda: world.fake.give(7))
    assert token.is_held
    assert world.fake.told == ["tql.ns.q.running.1"]


@pytest.mark.parametrize(
    ("end", "told"),
    [
        pytest.param("give_back", ("nack", 7, True), id="given back"),
        # Requeued, it would count again at once.
        pytest.param("spend", ("reject", 7, False), id="spent"),
    ],
)
async def test_a_token_goes_back_or_is_spent_but_never_once_it_is_lost(
    end: str, told: tuple[Any, ...]
) -> None:
    world = World()
    token = await world.take(lambda: world.fake.give(7))
    getattr(token, end)()
    assert world.fake.told[1:] == [told]
    world.fake.die()
    getattr(token, end)()
    assert not token.is_held
    assert world.fake.told[1:] == [told]


async def test_none_is_there_as_often_as_rabbitmq_says_so() -> None:
    world = World()
    for _ in range(2):
        assert await world.take(lambda: world.fake.on_empty(None)) is None
    assert await world.take(lambda: world.fake.give(1)) is not None


async def test_a_missing_queue_is_told_in_rabbitmqs_words() -> None:
    world = World()
    with pytest.raises(BrokerError, match="NOT_FOUND - no queue"):
        await world.take(world.fake.die)
    assert not world.channel.is_open
    assert not world.lost.done()
    with pytest.raises(BrokerError, match="Channel is closed"):
        await world.channel.take()


async def test_a_lost_connection_ends_the_waiting() -> None:
    world = World()
    with pytest.raises(BrokerError, match="gone"):
        await world.take(lambda: world.lost.set_result("gone"))
    assert not world.channel.is_open


class FakeConnection:
    """Opens channels."""

    def __init__(self) -> None:
        self.channels: list[FakeChannel] = []

    def channel(self, on_open_callback: Callable[[Any], Any]) -> None:
        class Opened(FakeChannel, Channel):  # type: ignore[misc]
            """Passes for pika's."""

            is_open = True

        self.channels.append(Opened())
        on_open_callback(self.channels[-1])


def session_with(connection: FakeConnection) -> Session:
    session = Session(1, lambda _: None)
    session._connection = cast(Any, connection)
    session._ready = True
    return session


async def take(broker: Broker, connection: FakeConnection, queue: str) -> Any:
    """Take a token of a queue, of which there is one."""
    taking = asyncio.create_task(broker.take_token(queue))
    await asyncio.sleep(0.01)
    asked = [one for one in connection.channels if one.told == [queue] and one.is_open]
    asked[0].told.clear()
    asked[0].give(1)
    return await taking


async def test_each_limit_has_one_channel_and_a_new_one_when_that_is_closed(tmp_path: Any) -> None:
    broker, connection = Broker(tmp_path, "tq.ns.q", Prefetch(1, 1), "p"), FakeConnection()
    assert await broker.take_token("a") is None  # not connected
    broker._session = session_with(connection)
    first = await take(broker, connection, "a")
    await take(broker, connection, "a")
    await take(broker, connection, "b")
    assert len(connection.channels) == 2
    connection.channels[1].die()
    await take(broker, connection, "b")
    assert len(connection.channels) == 3
    assert first.is_held
    assert not broker._session.lost.done()


async def test_another_connection_has_channels_of_its_own(tmp_path: Any) -> None:
    broker, connection = Broker(tmp_path, "tq.ns.q", Prefetch(1, 1), "p"), FakeConnection()
    broker._session = session_with(connection)
    await take(broker, connection, "a")
    broker._session._lose("gone")
    assert await broker.take_token("a") is None
    later = FakeConnection()
    broker._session = session_with(later)
    await take(broker, later, "a")
    assert (len(connection.channels), len(later.channels)) == (1, 1)
