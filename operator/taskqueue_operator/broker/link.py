"""One AMQP connection, kept open: connects again by itself, with backoff."""

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Callable
from typing import Any

import pika
from pika.channel import Channel
from pika.exceptions import ChannelWrongStateError, ConnectionWrongStateError

from taskqueue_api.amqp import AsyncConnection
from taskqueue_api.rabbitmq import read_version
from taskqueue_api.tls import client_context
from taskqueue_operator.broker.channel import DeclaringChannel, resolve
from taskqueue_operator.broker.faults import channel_fault, connection_fault
from taskqueue_operator.domain.broker_address import BrokerAddress
from taskqueue_operator.errors import BrokerError, BrokerUnavailableError

HEARTBEAT_SECONDS = 30
BLOCKED_SECONDS = 60.0
CONNECT_SECONDS = 10.0
BACKOFF_FIRST = 0.5
BACKOFF_MAX = 30.0

logger = logging.getLogger(__name__)


class Link:
    """A connection to one vhost of one broker as one user.

    connected: set while it is open.
    fault: why it is not, when it is not; None before the first try.
    leads: whether this operator may declare and delete at this moment.
    """

    def __init__(
        self,
        address: BrokerAddress,
        *,
        on_change: Callable[["Link"], None],
        rng: random.Random,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self.address = address
        self.connected = asyncio.Event()
        self.fault: BrokerError | None = None
        self.version = (0, 0)
        self._on_change = on_change
        self._rng = rng
        self._leads = leads
        self._tried = asyncio.Event()
        self._down_since = asyncio.get_running_loop().time()
        self._connection: AsyncConnection | None = None
        self._telling: Channel | None = None
        self.task = asyncio.create_task(self._run(), name=f"broker {address.display}")

    async def wait(self, seconds: float) -> None:
        """Wait until it is connected. Raises the BrokerError of the last try.

        seconds: from when it was made or lost; many that use it do not wait one after the other.
        """
        if self.connected.is_set():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._down_since + seconds):
                await self._tried.wait()
                # A refusal does not turn into a connection by waiting.
                if isinstance(self.fault, BrokerUnavailableError):
                    await self.connected.wait()
        if not self.connected.is_set():
            raise self.fault or BrokerUnavailableError(
                "BrokerUnreachable", f"RabbitMQ at {self.address.display} does not answer"
            )

    async def open_channel(self) -> DeclaringChannel:
        """Return a new channel. Raises BrokerError."""
        return DeclaringChannel(await self.open_raw_channel(), self._leads)

    async def open_raw_channel(self) -> Channel:
        """Return a new channel of pika's own. Raises BrokerError."""
        connection = self._connection
        if connection is None or not self.connected.is_set():
            raise self.fault or BrokerUnavailableError(
                "BrokerUnreachable", f"RabbitMQ at {self.address.display} is not connected"
            )
        opened: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        try:
            connection.channel(on_open_callback=lambda channel: resolve(opened, channel))
            async with asyncio.timeout(CONNECT_SECONDS):
                return await opened
        except ConnectionWrongStateError as error:
            raise connection_fault(error, self.address.display) from error
        except TimeoutError as error:
            raise BrokerUnavailableError(
                "BrokerUnreachable", f"RabbitMQ at {self.address.display} opens no channel"
            ) from error

    async def tell(self, exchange: str, routing_key: str, body: bytes) -> None:
        """Publish what may be lost: without a confirm. Raises BrokerError."""
        if self._telling is None or not self._telling.is_open:
            self._telling = await self.open_raw_channel()
        try:
            self._telling.basic_publish(exchange, routing_key, body)
        except ChannelWrongStateError as error:
            raise channel_fault(error) from error

    async def close(self) -> None:
        """Close the connection for good."""
        self.task.cancel()
        await asyncio.wait([self.task])

    async def _run(self) -> None:
        delay = BACKOFF_FIRST
        try:
            while True:
                closed = await self._connect()
                if closed is not None:
                    delay = BACKOFF_FIRST
                    self._settle(connection_fault(await closed, self.address.display))
                self._connection = None
                await asyncio.sleep(delay * self._rng.uniform(0.5, 1.0))
                delay = min(delay * 2, BACKOFF_MAX)
        finally:
            self._drop()

    async def _connect(self) -> "asyncio.Future[BaseException] | None":
        """Try once; return a future of the reason of its end, None when it failed."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[BaseException | None] = loop.create_future()
        closed: asyncio.Future[BaseException] = loop.create_future()
        try:
            parameters = _parameters(self.address)
        except ssl.SSLError as error:
            self._settle(connection_fault(error, self.address.display))
            return None
        self._connection = AsyncConnection(
            parameters,
            on_open_callback=lambda _: resolve(opened, None),
            on_open_error_callback=lambda _, error: resolve(opened, _as_exception(error)),
            on_close_callback=lambda _, error: resolve(closed, _as_exception(error)),
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS * 2):
                failure = await opened
        except TimeoutError as error:
            failure = error
        if failure is not None:
            self._drop()
            self._settle(connection_fault(failure, self.address.display))
            return None
        self.version = read_version(self._connection.server_properties)
        self._settle(None)
        return closed

    def _settle(self, fault: BrokerError | None) -> None:
        """Take note of the new state and tell the owner, once per change."""
        known = self.fault.reason if self.fault else None
        changed = self.connected.is_set() != (fault is None) or known != (
            fault.reason if fault else None
        )
        if self.fault is None and self._tried.is_set() and fault is not None:
            self._down_since = asyncio.get_running_loop().time()
        self.fault = fault
        self._tried.set()
        if fault is None:
            self.connected.set()
            logger.info("connected to RabbitMQ %s.%s at %s", *self.version, self.address.display)
        else:
            self.connected.clear()
            if changed:
                logger.warning("%s", fault)
        if changed:
            self._on_change(self)

    def _drop(self) -> None:
        self.connected.clear()
        connection, self._connection = self._connection, None
        if connection is not None and not (connection.is_closing or connection.is_closed):
            connection.close()


def _parameters(address: BrokerAddress) -> pika.ConnectionParameters:
    options = None
    if address.tls:
        context = client_context(ca_data=address.ca)
        options = pika.SSLOptions(context, address.host)
    return pika.ConnectionParameters(
        host=address.host,
        port=address.port,
        virtual_host=address.vhost,
        credentials=pika.PlainCredentials(address.username, address.password),
        ssl_options=options,
        heartbeat=HEARTBEAT_SECONDS,
        blocked_connection_timeout=BLOCKED_SECONDS,
        connection_attempts=1,
        socket_timeout=CONNECT_SECONDS,
        stack_timeout=CONNECT_SECONDS,
        client_properties={"connection_name": "taskqueue-operator"},
    )


def _as_exception(error: Any) -> BaseException:
    return error if isinstance(error, BaseException) else ConnectionError(str(error))
