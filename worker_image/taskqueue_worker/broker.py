"""The edge to RabbitMQ: one session after the other, for as long as the worker lives."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pika

from taskqueue_api.names import DELAY_EXCHANGE
from taskqueue_api.rabbitmq import delayed_priority
from taskqueue_worker.api import backoff_seconds
from taskqueue_worker.deliveries import Delivery, Tag
from taskqueue_worker.errors import BrokerError, UnroutableError
from taskqueue_worker.session import Prefetch, Session, read_parameters
from taskqueue_worker.tokens import Token, TokenChannel

_log = logging.getLogger(__name__)

BACKOFF_FIRST = 0.5
BACKOFF_MAX = 30.0
_STEADY_SECONDS = 30.0
"""A connection that lasted so long makes the next failure count as the first."""


class Broker:
    """Consumes one queue and publishes what comes of it, over connections that come and go.

    control: returns the name of the queue for hints of a session, by its number; empty: none.
    """

    def __init__(
        self,
        folder: Path,
        queue: str,
        prefetch: Prefetch,
        client_name: str,
        control: Callable[[int], str] = lambda _: "",
        jitter: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._queue = queue
        self._prefetch = prefetch
        self._client_name = client_name
        self._control = control
        self._jitter = jitter
        self._monotonic = monotonic
        self._session: Session | None = None
        self._sessions = 0
        self._ample = 0
        self._tokens: dict[str, TokenChannel] = {}
        self._changed = asyncio.Event()
        self._draining = False
        self._over = False

    @property
    def connected(self) -> bool:
        """Whether there is a connection that is good for anything."""
        return self._session is not None and self._session.can_publish

    @property
    def consuming(self) -> bool:
        """Whether the broker knows us as consumer of the queue."""
        return self._session is not None and self._session.consuming

    @property
    def hears(self) -> bool:
        """Whether hints of the operator come."""
        return self._session is not None and self._session.hears

    async def run(
        self,
        deliver: Callable[[Delivery], None],
        lost: Callable[[int], None],
        hint: Callable[[bytes], None] = lambda _: None,
        opened: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep a session open until cancelled.

        deliver: called with each message. lost: called with the number of a session whose tags
        mean nothing any more. hint: called with each hint of the operator. opened: called when a
        session can hear and be heard.
        """
        failures = 0
        while True:
            self._sessions += 1
            session = Session(self._sessions, deliver, hint)
            since = self._monotonic()
            self._session = session  # messages come before open() returns
            try:
                parameters = read_parameters(self._folder, self._client_name)
                control = self._control(session.number)
                await session.open(parameters, self._queue, self._prefetch, control)
                if self._draining:
                    await session.stop_consuming()
                self._report_open()
                opened()
                await session.ask_more(self._queue, self._ample)
                reason = await session.lost
            except BrokerError as error:
                reason = str(error)
            finally:
                await session.close()
                lost(session.number)
            if self._draining:
                self._over = True
                self._wake()
                return
            failures = 1 if self._monotonic() - since > _STEADY_SECONDS else failures + 1
            pause = backoff_seconds(failures, BACKOFF_FIRST, BACKOFF_MAX, self._jitter())
            fields = {"queue": self._queue, "retry_seconds": round(pause, 2)}
            _log.warning("broker: %s; connecting again", reason, extra=fields)
            await asyncio.sleep(pause)

    def is_current(self, tag: Tag) -> bool:
        """Return whether a tag still means something."""
        session = self._session
        return session is not None and session.number == tag.session and not session.lost.done()

    def ack(self, tag: Tag) -> bool:
        """Acknowledge a message; False when its session is over, so that it comes again."""
        session = self._session
        return session is not None and session.number == tag.session and session.ack(tag.number)

    def give_back(self, tag: Tag) -> None:
        """Return a message to the queue."""
        if self._session is not None and self._session.number == tag.session:
            self._session.give_back(tag.number)

    async def publish_copy(
        self,
        exchange: str,
        key: Callable[[], str],
        delivery: Delivery,
        headers: Any,
        *,
        insist: bool = True,
    ) -> None:
        """Publish a copy of a message with these headers; returns when the broker has it.

        key: asked for the routing key at each try, since a delay is shorter by then.
        insist: go on when the original goes to another consumer, or comes here again.

        Tries again for as long as it takes: the original is unacknowledged meanwhile. Raises
        BrokerError when the connection is lost while draining: it will not be opened again.
        """
        failures = 0
        while True:
            session = await self._current()
            if not (insist or self.is_current(delivery.tag)):
                raise BrokerError("the connection was lost, and the message comes again")
            properties, routing_key = _copy_properties(delivery, headers), key()
            if exchange == DELAY_EXCHANGE:
                properties.priority = delayed_priority(properties.priority, session.version)
            try:
                await session.publish(exchange, routing_key, delivery.body, properties)
            except UnroutableError as error:
                _log.error("not published: %s; trying again", error, extra={"key": routing_key})
            except BrokerError as error:
                _log.warning("not published: %s; trying again", error, extra={"key": routing_key})
            else:
                return
            failures += 1
            await asyncio.sleep(
                backoff_seconds(failures, BACKOFF_FIRST, BACKOFF_MAX, self._jitter())
            )

    async def take_token(self, queue: str) -> Token | None:
        """Return a token of a limit; None: there is none now, or no connection.

        One call at a time. Raises BrokerError, as when there is no such queue.
        """
        session = self._session
        if session is None or not session.can_publish:
            return None
        channel = self._tokens.get(queue)
        if channel is None or not channel.is_open:
            channel = self._tokens[queue] = await session.open_tokens(queue)
        return await channel.take()

    async def ask_more(self, count: int) -> None:
        """Ask for so many spare messages beyond the prefetch, on later sessions too; 0: none."""
        self._ample = count
        if self._session is not None:
            await self._session.ask_more(self._queue, count)

    async def stop_consuming(self) -> None:
        """Take no more messages, on this session or a later one."""
        self._draining = True
        if self._session is not None:
            await self._session.stop_consuming()

    def _report_open(self) -> None:
        fields = {"queue": self._queue, "prefetch": sum(self._prefetch)}
        _log.info("broker: consuming", extra=fields)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _current(self) -> Session:
        """Return a session that can publish. Raises BrokerError when there will be none."""
        while self._session is None or not self._session.can_publish:
            if self._over:
                raise BrokerError("the connection was lost while draining")
            await self._changed.wait()
        return self._session


def _copy_properties(delivery: Delivery, headers: Any) -> pika.BasicProperties:
    """Return the properties of a copy: an allow-list, for `user_id` must be our own."""
    original = delivery.properties
    return pika.BasicProperties(
        content_type=original.content_type,
        content_encoding=original.content_encoding,
        message_id=original.message_id,
        type=original.type,
        priority=original.priority,
        timestamp=original.timestamp,
        correlation_id=original.correlation_id,
        reply_to=original.reply_to,
        delivery_mode=2,
        headers=headers,
    )
