"""One connection to RabbitMQ, from its opening to its loss. pika stays behind this module."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pika
from pika.channel import Channel
from pika.exceptions import AMQPError

from taskqueue_api.amqp import AsyncConnection
from taskqueue_api.names import CONTROL_EXCHANGE
from taskqueue_api.rabbitmq import Version, read_version
from taskqueue_api.tls import client_context
from taskqueue_worker.acknowledging import Unsettled
from taskqueue_worker.deliveries import Delivery, Tag
from taskqueue_worker.errors import BrokerError, UnroutableError
from taskqueue_worker.lenient import read_headers, read_text
from taskqueue_worker.tokens import TokenChannel

_log = logging.getLogger(__name__)

_HEARTBEAT_SECONDS = 30
_CONNECT_SECONDS = 20.0
_CLOSE_SECONDS = 5.0
_CONFIRM_SECONDS = 30.0
_ACK_SECONDS = 0.004
"""How long acknowledgements are collected while messages are quick: one for many costs RabbitMQ a
quarter of one for each (docs/performance.md)."""
_ACK = "ack"

SPARE_PRIORITY = -1
"""RabbitMQ gives a consumer nothing while one of a higher priority can take more."""

# pika reports each failure several times over, with stack traces; we report it once.
logging.getLogger("pika").setLevel(logging.CRITICAL + 1)


def read_parameters(folder: Path, client_name: str) -> pika.URLParameters:
    """Return how to connect, by the files `uri` and, for TLS, `ca.crt`. Raises BrokerError."""
    try:
        parameters = pika.URLParameters((folder / "uri").read_text().strip())
    except OSError as error:
        raise BrokerError(f"{folder / 'uri'} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError):
        # Their message may quote a part of the address, and so of the password.
        raise BrokerError(f"{folder / 'uri'} is no AMQP address") from None
    parameters.heartbeat = _HEARTBEAT_SECONDS
    parameters.connection_attempts = 1
    parameters.socket_timeout = 10
    parameters.stack_timeout = 15
    parameters.client_properties = {"connection_name": client_name}
    authority = folder / "ca.crt"
    if parameters.ssl_options is not None and authority.exists():
        parameters.ssl_options = pika.SSLOptions(_read_authority(authority), parameters.host)
    return parameters


def _read_authority(path: Path) -> ssl.SSLContext:
    try:
        return client_context(ca_file=str(path))
    except OSError as error:  # ssl.SSLError is one
        raise BrokerError(f"{path} cannot be used: {error}") from error


class Prefetch(NamedTuple):
    """How many messages a worker asks for: for its slots, and to have at hand beyond them.

    Spare ones come only when the slots of all workers have theirs.
    """

    slots: int
    spare: int


class Session:
    """One connection with a consuming and a publishing channel.

    number: part of every delivery tag, since RabbitMQ counts anew on each connection.
    lost: done, with the reason, when nothing can be received any more.
    hears: whether hints come.
    """

    def __init__(
        self,
        number: int,
        deliver: Callable[[Delivery], None],
        hint: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        self.number = number
        self._hint = hint
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.consuming = False
        self.hears = False
        self._deliver = deliver
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection: AsyncConnection | None = None
        self._consumer: Channel | None = None
        self._publisher: Channel | None = None
        self._ready = False
        self._consumer_tags: list[str] = []
        self._ample_tag = ""
        self._ample = 0
        self._unsettled = Unsettled()
        self._later: asyncio.TimerHandle | None = None
        self._asking = asyncio.Lock()
        self._publishing = asyncio.Lock()
        self._confirm: asyncio.Future[str] | None = None
        self._returned = ""

    async def open(
        self, parameters: pika.URLParameters, queue: str, prefetch: Prefetch, control: str = ""
    ) -> None:
        """Connect and consume. Raises BrokerError.

        control: name of the queue for hints, which is this connection's own; empty: none.
        """
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self._step(lambda done: self._connect(parameters, done))
                await self._open_publisher()
                if control:
                    await self._open_control(control, queue)
                await self._open_consumer(queue, prefetch)
        except TimeoutError as error:
            raise BrokerError(f"no answer within {_CONNECT_SECONDS:g} s") from error
        except (AMQPError, OSError) as error:
            raise BrokerError(_words(error)) from error
        self.consuming = True

    @property
    def version(self) -> Version:
        """RabbitMQ's; (0, 0) before the connection is open."""
        connection = self._connection
        return read_version(connection.server_properties if connection else None)

    @property
    def can_publish(self) -> bool:
        """Whether `publish` can be tried."""
        return self._ready and not self.lost.done()

    def ack(self, number: int) -> bool:
        """Acknowledge, within milliseconds; False when the connection is lost."""
        if self.lost.done() or self._consumer is None or not self._consumer.is_open:
            return False
        self._unsettled.collect(number)
        if 2 * self._unsettled.collected >= self._ample:
            self._acknowledge()
        elif self._later is None:
            self._later = asyncio.get_running_loop().call_later(_ACK_SECONDS, self._acknowledge)
        return True

    def give_back(self, number: int) -> None:
        """Return a message to the queue; the loss of the connection does the same."""
        if not self.lost.done() and self._consumer is not None and self._consumer.is_open:
            self._unsettled.settle(number)
            self._consumer.basic_nack(number, requeue=True)

    async def publish(
        self, exchange: str, key: str, body: bytes, properties: pika.BasicProperties
    ) -> None:
        """Publish and wait for the confirm.

        Raises UnroutableError, and BrokerError when the broker refuses it, or the connection is
        lost meanwhile: the message may be there or not.
        """
        # One at a time: a returned message bears no tag to tell it by.
        async with self._publishing:
            if not self.can_publish:
                raise BrokerError("not connected")
            channel = self._publisher or await self._open_publisher_again()
            self._returned = ""
            self._confirm = asyncio.get_running_loop().create_future()
            try:
                channel.basic_publish(exchange, key, body, properties, mandatory=True)
            except AMQPError as error:
                raise BrokerError(_words(error)) from error
            waiting: set[asyncio.Future[str]] = {self._confirm, self.lost}
            await asyncio.wait(
                waiting, timeout=_CONFIRM_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if not self._confirm.done():
                # A confirm that comes late would be taken for that of the next message.
                self._lose("no confirm")
                raise BrokerError(self.lost.result())
            if self._confirm.result() != _ACK:
                raise BrokerError(self._confirm.result())
            if self._returned:
                raise UnroutableError(self._returned)

    async def open_tokens(self, queue: str) -> TokenChannel:
        """Return a channel to take tokens on, whose end ends nothing else. Raises BrokerError."""
        try:
            channel = await self._open_channel(lambda _: None)
        except AMQPError as error:  # the connection has just gone
            raise BrokerError(_words(error)) from error
        return TokenChannel(queue, channel, self.lost)

    async def ask_more(self, queue: str, count: int) -> None:
        """Ask for so many spare messages beyond those of the beginning; 0: for none any more."""
        async with self._asking:
            consumer = self._consumer
            if consumer is None or not self.consuming or bool(self._ample_tag) == bool(count):
                return
            self._ample = count
            try:
                if count:
                    self._ample_tag = await self._consume(consumer, queue, count, SPARE_PRIORITY)
                else:
                    await self._step(partial(consumer.basic_cancel, self._ample_tag))
                    self._consumer_tags.remove(self._ample_tag)
                    self._ample_tag = ""
            except (BrokerError, AMQPError) as error:  # the connection has gone, or is going
                _log.debug("no more messages are asked for: %s", error)

    async def stop_consuming(self) -> None:
        """Ask for no more messages; returns when none will come."""
        if self._consumer is None or self.lost.done() or not self.consuming:
            return
        self.consuming = False
        consumer = self._consumer
        try:
            async with asyncio.timeout(_CLOSE_SECONDS), self._asking:
                for tag in self._consumer_tags:
                    await self._step(partial(consumer.basic_cancel, tag))
        except (TimeoutError, BrokerError, AMQPError):
            self._lose("the consumer could not be cancelled")

    async def close(self) -> None:
        """Close the connection; what is not acknowledged goes back to the queue."""
        self._acknowledge()
        self._lose("closed")
        if self._connection is None:
            return
        if self._connection.is_open:
            self._connection.close()
            await asyncio.wait([self._closed], timeout=_CLOSE_SECONDS)
        elif not (self._connection.is_closing or self._connection.is_closed):
            self._connection.close()  # it is still being opened

    def _connect(
        self, parameters: pika.URLParameters, done: Callable[[AsyncConnection], None]
    ) -> None:
        # Kept from its beginning: what comes of it later has to be closed too.
        self._connection = AsyncConnection(
            parameters,
            on_open_callback=done,
            on_open_error_callback=lambda _, error: self._lose(_words(error)),
            on_close_callback=self._on_closed,
        )

    async def _open_publisher(self) -> Channel:
        channel = await self._open_channel(self._publisher_closed)
        channel.add_on_return_callback(self._on_returned)
        await self._step(lambda done: channel.confirm_delivery(self._on_confirm, done))
        self._publisher = channel
        self._ready = True
        return channel

    async def _open_publisher_again(self) -> Channel:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                return await self._open_publisher()
        except TimeoutError:
            self._lose("no channel to publish on")
            raise BrokerError(self.lost.result()) from None
        except AMQPError as error:  # the connection has just gone
            raise BrokerError(_words(error)) from error

    def _publisher_closed(self, reason: str) -> None:
        """Take note that a publication was refused: an exchange is gone, say. The rest goes on."""
        self._publisher = None
        if self._confirm is not None and not self._confirm.done():
            self._confirm.set_result(reason)

    async def _open_consumer(self, queue: str, prefetch: Prefetch) -> None:
        channel = await self._open_channel()
        channel.add_on_cancel_callback(lambda _: self._lose("the broker cancelled the consumer"))
        self._consumer = channel
        await self._consume(channel, queue, prefetch.slots, 0)
        await self._consume(channel, queue, prefetch.spare, SPARE_PRIORITY)

    async def _consume(self, channel: Channel, queue: str, count: int, priority: int) -> str:
        """Ask for so many messages at a time; return the tag of the consumer that does."""

        def consume(done: Callable[[Any], None]) -> None:
            arguments = {"x-priority": priority}
            self._consumer_tags.append(
                channel.basic_consume(queue, self._on_message, arguments=arguments, callback=done)
            )

        # Of the consumers that come after it.
        await self._step(lambda done: channel.basic_qos(prefetch_count=count, callback=done))
        await self._step(consume)
        return self._consumer_tags[-1]

    async def _open_control(self, name: str, queue: str) -> None:
        """Listen to hints about a queue's Tasks; do without where that is refused."""
        channel = await self._open_channel(self._deaf)
        channel.add_on_cancel_callback(lambda _: self._deaf("the broker cancelled the consumer"))
        # No answers are asked for: a refusal closes the channel, and that alone.
        channel.queue_declare(name, exclusive=True, auto_delete=True)
        channel.queue_bind(name, CONTROL_EXCHANGE, queue)
        channel.basic_consume(name, lambda *message: self._hint(message[-1]), auto_ack=True)
        self.hears = True

    def _deaf(self, reason: str) -> None:
        self.hears = False
        if not self.lost.done():
            _log.warning("hints of the operator are not heard: %s", reason)

    async def _open_channel(self, closed: Callable[[str], None] | None = None) -> Channel:
        connection = self._connection
        assert connection is not None  # noqa: S101 - open() made it
        channel = await self._step(lambda done: connection.channel(on_open_callback=done))
        assert isinstance(channel, Channel)  # noqa: S101 - what pika passes to the callback
        take_note = closed or self._lose
        channel.add_on_close_callback(lambda _, reason: take_note(_words(reason)))
        return channel

    async def _step(self, start: Callable[[Callable[[Any], None]], Any]) -> Any:
        """Start something that ends in a callback, and return what the callback got."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(value: Any) -> None:
            if not future.done():
                future.set_result(value)

        start(done)
        await asyncio.wait([future, self.lost], return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            raise BrokerError(self.lost.result())
        return future.result()

    def _on_message(
        self,
        _: Channel,
        method: pika.spec.Basic.Deliver,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        self._unsettled.add(method.delivery_tag or 0)
        self._deliver(
            Delivery(
                tag=Tag(self.number, method.delivery_tag or 0),
                redelivered=bool(method.redelivered),
                message_id=read_text(properties.message_id),
                type=read_text(properties.type),
                headers=read_headers(properties.headers),
                body=body,
                properties=properties,
            )
        )

    def _acknowledge(self) -> None:
        """Send the acknowledgements that were collected."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self.lost.done() or self._consumer is None or not self._consumer.is_open:
            return
        for number, multiple in self._unsettled.take():
            self._consumer.basic_ack(number, multiple)

    def _on_confirm(self, frame: Any) -> None:
        if self._confirm is not None and not self._confirm.done():
            acked = isinstance(frame.method, pika.spec.Basic.Ack)
            self._confirm.set_result(_ACK if acked else "the broker did not take the message")

    def _on_returned(self, _: Channel, method: Any, *__: Any) -> None:
        # It comes before the confirm of the same message.
        self._returned = (
            f"{method.reply_text}: exchange {method.exchange}, key {method.routing_key}"
        )

    def _on_closed(self, _: Any, reason: BaseException) -> None:
        self._lose(_words(reason))
        if not self._closed.done():
            self._closed.set_result(None)

    def _lose(self, reason: str) -> None:
        self.consuming = False
        if not self.lost.done():
            self.lost.set_result(reason)


def _words(error: BaseException) -> str:
    """Return pika's reason; its connection errors wrap the real one several times."""
    inner = getattr(error, "exceptions", None)
    if inner:
        return _words(inner[-1])
    cause = getattr(error, "exception", None) or (error.args[0] if error.args else None)
    if isinstance(cause, BaseException):
        return _words(cause)
    text = getattr(error, "reply_text", None) or str(error) or repr(error)
    return f"{type(error).__name__}: {text}"
