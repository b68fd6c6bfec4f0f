"""A RabbitMQ in memory, behind channels that look like pika's, for wiring only."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple, cast

import pika
from pika import spec
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker, ChannelClosedByClient, ChannelWrongStateError

from taskqueue_api.names import DELAY_LEVELS, DELAY_UNIT, EXCHANGE
from taskqueue_operator.broker.link import Link
from taskqueue_operator.domain.broker_address import BrokerAddress
from taskqueue_operator.errors import BrokerError, BrokerUnavailableError
from tests.operator.builders import ADDRESS

Callback = Callable[[Any], None]


class Frame(NamedTuple):
    """A method frame, as far as anybody looks into it."""

    method: Any


class Sent(NamedTuple):
    """A message that was published."""

    exchange: str
    key: str
    properties: pika.BasicProperties
    body: bytes
    mandatory: bool

    @property
    def uid(self) -> str:
        """UID of its Task."""
        return str(self.properties.message_id)

    @property
    def dispatches(self) -> int:
        """Which publication of its Task it is."""
        headers: dict[str, Any] = dict(self.properties.headers or {})
        return int(headers["x-tq-dispatches"])

    @property
    def run(self) -> int:
        """Which run of its Task it is for."""
        headers: dict[str, Any] = dict(self.properties.headers or {})
        return int(headers["x-tq-run"])

    @property
    def attempt(self) -> int:
        """Which attempt it is for."""
        headers: dict[str, Any] = dict(self.properties.headers or {})
        return int(headers["x-tq-attempt"])

    @property
    def queue(self) -> str:
        """The queue that it ends in."""
        return _split(self.exchange, self.key)[1]

    @property
    def delay(self) -> timedelta:
        """The time that it spends on the ladder."""
        return _split(self.exchange, self.key)[0]


def _split(exchange: str, key: str) -> tuple[timedelta, str]:
    """Return the delay and the queue that an exchange and a routing key stand for."""
    if exchange in (EXCHANGE, ""):
        return timedelta(), key
    *levels, queue = key.split(".", DELAY_LEVELS)
    return DELAY_UNIT * int("".join(levels), 2), queue


class FakeRabbit:
    """Queues, exchanges and what was published.

    silent: queues whose messages are not confirmed.
    refuse: by name of queue, the channel error that its declaration gets.
    lagging: queues that say 0 to a passive declaration whatever they hold; silent ones among them
        give no message either.
    exchanges: their types; there is a `taskqueue` and a ladder to publish to all the same.
    deaf: queues that take no message: it is refused.
    links: bindings between exchanges: source, routing key, destination.
    """

    def __init__(self, *queues: str) -> None:
        self.queues: dict[str, dict[str, Any]] = {name: {} for name in queues}
        self.ready: dict[str, int] = {}
        self.consumers: dict[str, int] = {}
        self.exchanges: dict[str, str] = {}
        self.exchange_arguments: dict[str, dict[str, Any]] = {}
        self.bindings: set[tuple[str, str, str]] = set()
        self.links: set[tuple[str, str, str]] = set()
        self.sent: list[Sent] = []
        self.silent: set[str] = set()
        self.lagging: set[str] = set()
        self.deaf: set[str] = set()
        self.refuse: dict[str, ChannelClosedByBroker] = {}
        self.channels: list[FakeChannel] = []

    def channel(self) -> Channel:
        """Return a new channel, in pika's type."""
        channel = FakeChannel(self)
        self.channels.append(channel)
        return cast("Channel", channel)

    @property
    def uids(self) -> list[str]:
        """UIDs of the Tasks published, in order."""
        return [item.uid for item in self.sent]


class FakeChannel:
    """What our code uses of pika's Channel; answers come in a later turn of the loop.

    A method without a callback asks for no answer. After a refusal the rest is ignored.
    """

    def __init__(self, rabbit: FakeRabbit) -> None:
        self.is_open = True
        self.unconfirmed: list[int] = []
        self._rabbit = rabbit
        self._tags = 0
        self._refused = False
        self._on_close: list[Callable[[Any, BaseException], None]] = []
        self._on_return: Callable[..., None] | None = None
        self._on_confirm: Callable[[Frame], None] | None = None
        self._on_empty: Callback | None = None
        self._taken: list[str] = []

    def add_on_close_callback(self, callback: Callable[[Any, BaseException], None]) -> None:
        self._on_close.append(callback)

    def add_on_return_callback(self, callback: Callable[..., None]) -> None:
        self._on_return = callback

    def confirm_delivery(
        self, ack_nack_callback: Callable[[Frame], None], callback: Callable[[Any], None]
    ) -> None:
        self._on_confirm = ack_nack_callback
        self._answer(callback, spec.Confirm.SelectOk())

    def add_callback(self, callback: Callback, replies: list[type]) -> None:
        assert replies == [spec.Basic.GetEmpty]
        self._on_empty = callback

    def basic_get(self, queue: str, callback: Callable[..., None]) -> None:
        rabbit, loop = self._rabbit, asyncio.get_running_loop()
        if not self._takes() or queue in rabbit.silent:
            return
        ready = rabbit.ready.get(queue, 0)
        if ready:
            self._taken.append(queue)
            rabbit.ready[queue] = ready - 1
            got = spec.Basic.GetOk(len(self._taken), False, EXCHANGE, queue, ready - 1)
            loop.call_soon(callback, self, got, pika.BasicProperties(), b"null")
        elif self._on_empty:
            loop.call_soon(self._on_empty, Frame(spec.Basic.GetEmpty()))

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: pika.BasicProperties,
        mandatory: bool = False,
    ) -> None:
        self._check()
        self._tags += 1
        sent = Sent(exchange, routing_key, properties, body, mandatory)
        self._rabbit.sent.append(sent)
        self.unconfirmed.append(self._tags)
        if sent.queue in self._rabbit.silent:
            return
        loop = asyncio.get_running_loop()
        if not exchange:
            self._put_into(routing_key, self._tags, properties, body)
            return
        # The ladder takes whatever has a delay, and its foot what has no queue.
        if exchange == EXCHANGE and routing_key not in self._rabbit.queues:
            loop.call_soon(self._return, properties, body)
        loop.call_soon(self.ack, self._tags)

    def _put_into(
        self, queue: str, tag: int, properties: pika.BasicProperties, body: bytes
    ) -> None:
        """Take a message by the default exchange."""
        loop, rabbit = asyncio.get_running_loop(), self._rabbit
        if queue not in rabbit.queues:
            loop.call_soon(self._return, properties, body)
        elif queue in rabbit.deaf:
            loop.call_soon(self.nack, tag)
            return
        else:
            rabbit.ready[queue] = rabbit.ready.get(queue, 0) + 1
        # As RabbitMQ does, several by one confirm.
        if tag % 3 == 0:
            loop.call_soon(lambda: self.ack(tag, multiple=True))
        else:
            loop.call_later(0.001, self.ack, tag)

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Confirm."""
        self._confirm(spec.Basic.Ack(tag, multiple))

    def nack(self, tag: int, *, multiple: bool = False) -> None:
        """Say that the message could not be taken."""
        self._confirm(spec.Basic.Nack(tag, multiple))

    def die(self, error: BaseException) -> None:
        """Close at once, with a reason."""
        self.is_open = False
        while self._taken:
            self._rabbit.ready[self._taken.pop()] += 1
        for callback in self._on_close:
            callback(self, error)

    def close(self) -> None:
        self._check()
        self.is_open = False
        error = ChannelClosedByClient(0, "Normal shutdown")
        asyncio.get_running_loop().call_soon(self.die, error)

    def exchange_declare(
        self,
        *,
        exchange: str,
        exchange_type: str = "direct",
        passive: bool = False,
        durable: bool = False,
        arguments: Mapping[str, Any] | None = None,
        callback: Callback | None = None,
    ) -> None:
        if not self._takes():
            return
        if not passive:
            assert durable
            self._rabbit.exchanges[exchange] = exchange_type
            self._rabbit.exchange_arguments[exchange] = dict(arguments or {})
        elif exchange not in self._rabbit.exchanges and not exchange.startswith("amq."):
            self._refuse(404, f"NOT_FOUND - no exchange '{exchange}' in vhost '/'")
        self._answer(callback, spec.Exchange.DeclareOk())

    def exchange_bind(
        self, *, destination: str, source: str, routing_key: str, callback: Callback | None = None
    ) -> None:
        if not self._takes():
            return
        for exchange in (source, destination):
            if exchange not in self._rabbit.exchanges:
                self._refuse(404, f"NOT_FOUND - no exchange '{exchange}' in vhost '/'")
                return
        self._rabbit.links.add((source, routing_key, destination))
        self._answer(callback, spec.Exchange.BindOk())

    def queue_declare(
        self,
        *,
        queue: str,
        callback: Callback | None = None,
        passive: bool = False,
        durable: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        if not self._takes():
            return
        rabbit = self._rabbit
        error = rabbit.refuse.get(queue)
        if error:
            self._refuse(error.reply_code, error.reply_text)
            return
        if passive and queue not in rabbit.queues:
            self._refuse(404, f"NOT_FOUND - no queue '{queue}' in vhost '/'")
            return
        if not passive:
            assert durable
            rabbit.queues.setdefault(queue, dict(arguments or {}))
        ready, consumers = rabbit.ready.get(queue, 0), rabbit.consumers.get(queue, 0)
        if passive and queue in rabbit.lagging:
            ready = consumers = 0
        self._answer(callback, spec.Queue.DeclareOk(queue, ready, consumers))

    def queue_bind(
        self, *, queue: str, exchange: str, routing_key: str, callback: Callback | None = None
    ) -> None:
        if not self._takes():
            return
        if exchange not in self._rabbit.exchanges:
            self._refuse(404, f"NOT_FOUND - no exchange '{exchange}' in vhost '/'")
            return
        self._rabbit.bindings.add((exchange, routing_key, queue))
        self._answer(callback, spec.Queue.BindOk())

    def queue_delete(self, *, queue: str, callback: Callback | None = None) -> None:
        if not self._takes():
            return
        self._rabbit.queues.pop(queue, None)
        self._rabbit.ready.pop(queue, None)
        self._answer(callback, spec.Queue.DeleteOk(0))

    def _check(self) -> None:
        if not self.is_open:
            raise ChannelWrongStateError("Channel is closed.")

    def _takes(self) -> bool:
        """Return whether RabbitMQ looks at what is sent; raises as pika does when it is closed."""
        self._check()
        return not self._refused

    def _refuse(self, code: int, text: str) -> None:
        self._refused = True
        error = ChannelClosedByBroker(code, text)
        asyncio.get_running_loop().call_soon(self.die, error)

    def _answer(self, callback: Callback | None, method: Any) -> None:
        if callback is not None and not self._refused:
            asyncio.get_running_loop().call_soon(callback, Frame(method))

    def _return(self, properties: pika.BasicProperties, body: bytes) -> None:
        if self.is_open and self._on_return:
            self._on_return(self, spec.Basic.Return(312, "NO_ROUTE"), properties, body)

    def _confirm(self, method: Any) -> None:
        if self.is_open and self._on_confirm:
            covered = [
                tag
                for tag in self.unconfirmed
                if tag == method.delivery_tag or (method.multiple and tag <= method.delivery_tag)
            ]
            self.unconfirmed = [tag for tag in self.unconfirmed if tag not in covered]
            self._on_confirm(Frame(method))


class FakeLink(Link):
    """A connection to a FakeRabbit, open from the start."""

    def __init__(
        self,
        rabbit: FakeRabbit,
        address: BrokerAddress = ADDRESS,
        version: tuple[int, int] = (4, 0),
    ) -> None:
        self.rabbit = rabbit
        self.address = address
        self.version = version
        self.fault: BrokerError | None = None
        self.connected = asyncio.Event()
        self.connected.set()
        self._tried = asyncio.Event()
        self._down_since = 0.0
        self._tried.set()
        self._leads = lambda: True

    def lose(self, fault: BrokerError | None = None) -> None:
        """Lose the connection with all its channels."""
        self.fault = fault or BrokerUnavailableError("BrokerUnreachable", "gone")
        self.connected.clear()
        for channel in self.rabbit.channels:
            if channel.is_open:
                channel.die(ConnectionResetError("gone"))

    async def open_raw_channel(self) -> Channel:
        await asyncio.sleep(0)
        if self.fault:
            raise self.fault
        return self.rabbit.channel()
