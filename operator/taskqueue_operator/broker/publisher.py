"""Publishing with confirms, many in flight at once."""

import asyncio
from enum import Enum
from typing import Any

import pika
from pika.channel import Channel
from pika.exceptions import ChannelWrongStateError

from taskqueue_api.messages import CONTENT_TYPE
from taskqueue_api.names import DELAY_EXCHANGE
from taskqueue_api.rabbitmq import Version, delayed_priority
from taskqueue_operator.broker.channel import ANSWER_SECONDS, resolve
from taskqueue_operator.broker.faults import channel_fault
from taskqueue_operator.broker.link import Link
from taskqueue_operator.domain.dispatching import WaitingTask
from taskqueue_operator.domain.topology import Binding
from taskqueue_operator.errors import BrokerError, BrokerUnavailableError


class Verdict(Enum):
    """What became of a publication.

    UNSURE: the channel closed before the answer, or RabbitMQ could not say; the message may
    or may not be in the queue.
    """

    CONFIRMED = "confirmed"
    UNROUTABLE = "unroutable"
    UNSURE = "unsure"


class Publisher:
    """A channel in confirm mode.

    fault: set once the channel is closed; the publisher is then of no more use.
    """

    def __init__(self, channel: Channel, version: Version) -> None:
        self.fault: BrokerError | None = None
        self._version = version
        self._channel = channel
        self._next_tag = 1
        self._pending: dict[int, tuple[str, asyncio.Future[Verdict]]] = {}
        self._returned: set[str] = set()
        channel.add_on_close_callback(self._closed)
        channel.add_on_return_callback(self._on_return)

    @classmethod
    async def open(cls, link: Link) -> "Publisher":
        """Return a publisher on a new channel. Raises BrokerError."""
        channel = await link.open_raw_channel()
        publisher = cls(channel, link.version)
        ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        channel.confirm_delivery(publisher._on_confirm, lambda frame: resolve(ready, frame))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await ready
        except TimeoutError as error:
            publisher.close()
            raise publisher.fault or BrokerUnavailableError(
                "BrokerUnreachable", "RabbitMQ did not put the channel into confirm mode"
            ) from error
        return publisher

    def publish(
        self, task: WaitingTask, payload: bytes, *, to: Binding, headers: dict[str, Any]
    ) -> "asyncio.Future[Verdict]":
        """Send a Task's message; the future tells what became of it and never raises.

        to: the exchange, and the key that leads to the queue from there.
        """
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        delayed = to.exchange == DELAY_EXCHANGE
        priority = delayed_priority(task.priority, self._version) if delayed else task.priority
        properties = pika.BasicProperties(
            content_type=CONTENT_TYPE,
            delivery_mode=2,
            message_id=task.uid,
            type=task.handler,
            priority=priority,
            timestamp=int(task.created.timestamp()),
            headers=headers,
        )
        try:
            self._channel.basic_publish(*to, payload, properties, mandatory=True)
        except ChannelWrongStateError as error:
            self.fault = self.fault or channel_fault(error)
            future.set_result(Verdict.UNSURE)
            return future
        self._pending[self._next_tag] = (task.uid, future)
        self._next_tag += 1
        return future

    def close(self) -> None:
        """Close the channel; what is not confirmed yet is UNSURE."""
        if self._channel.is_open:
            self._channel.close()

    def _on_return(self, _channel: Channel, _method: Any, properties: Any, _body: bytes) -> None:
        # The return comes before the confirm of the same message and has no tag of its own.
        self._returned.add(properties.message_id)

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        acknowledged = isinstance(method, pika.spec.Basic.Ack)
        if method.multiple:
            tags = [tag for tag in self._pending if tag <= method.delivery_tag]
        else:
            tags = [method.delivery_tag]
        for tag in tags:
            entry = self._pending.pop(tag, None)
            if entry is None:
                continue
            uid, future = entry
            if uid in self._returned:
                self._returned.discard(uid)
                resolve(future, Verdict.UNROUTABLE)
            else:
                resolve(future, Verdict.CONFIRMED if acknowledged else Verdict.UNSURE)

    def _closed(self, _channel: Channel, error: BaseException) -> None:
        self.fault = channel_fault(error)
        pending, self._pending = self._pending, {}
        for _, future in pending.values():
            resolve(future, Verdict.UNSURE)
