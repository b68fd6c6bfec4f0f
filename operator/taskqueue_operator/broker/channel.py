"""Declarations on one AMQP channel, awaitable.

RabbitMQ answers a refused declaration by closing the channel, so a channel is used for one
reconcile and thrown away.
"""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from pika import BasicProperties, spec
from pika.channel import Channel
from pika.exceptions import ChannelWrongStateError

from taskqueue_operator.broker.faults import channel_fault
from taskqueue_operator.domain.ladder import Level
from taskqueue_operator.domain.topology import Queue, Topology
from taskqueue_operator.errors import BrokerError, BrokerRefusedError, BrokerUnavailableError

ANSWER_SECONDS = 10.0
FILL_AT_ONCE = 500
"""So many messages on their way at once, each such lot within ANSWER_SECONDS."""

T = TypeVar("T")


def resolve(future: "asyncio.Future[T]", value: T) -> None:
    """Set a future's result unless its waiter has given up."""
    if not future.done():
        future.set_result(value)


class QueueState(NamedTuple):
    """A queue as a passive declaration shows it: ready messages, consumers."""

    ready: int
    consumers: int


class DeclaringChannel:
    """A channel for declarations. Every method raises BrokerError with RabbitMQ's own text."""

    def __init__(self, channel: Channel, leads: Callable[[], bool] = lambda: True) -> None:
        """leads: whether this operator may change anything at this moment."""
        self._channel = channel
        self._leads = leads
        self._answer: asyncio.Future[Any] | None = None
        self._fault: BrokerError | None = None
        channel.add_on_close_callback(self._closed)

    async def __aenter__(self) -> "DeclaringChannel":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._channel.is_open:
            self._channel.close()

    async def declare(self, topology: Topology) -> int:
        """Declare everything that is not there yet; return how many dead letters there are."""
        for exchange in topology.exchanges:
            await self._call(
                self._channel.exchange_declare,
                exchange=exchange.name,
                exchange_type=exchange.type,
                durable=True,
                arguments=exchange.arguments,
            )
        ready = {one.name: await self.declare_queue(one) for one in topology.all_queues}
        return ready[topology.dead_letters.name]

    async def is_ladder_whole(self, ladder: Sequence[Level]) -> bool:
        """Return whether every queue of the ladder is there; the channel is closed if not."""
        for level in ladder:
            # Without a callback no answer is asked for: a refusal closes the channel.
            self._send(self._channel.queue_declare, queue=level.queue.name, passive=True)
        try:
            await self._barrier()
        except BrokerRefusedError as error:
            if error.reason == "NotFound":
                return False
            raise
        return True

    async def declare_ladder(self, ladder: Sequence[Level]) -> None:
        """Declare the ladder; the exchange of what is due must be there."""
        for level in ladder:
            name, kind = level.exchange.name, level.exchange.type
            self._send(
                self._channel.exchange_declare, exchange=name, exchange_type=kind, durable=True
            )
        for level in ladder:
            queue = level.queue
            self._send(
                self._channel.queue_declare,
                queue=queue.name,
                durable=True,
                arguments=queue.arguments,
            )
            for binding in queue.bindings:
                self._send(
                    self._channel.queue_bind,
                    queue=queue.name,
                    exchange=binding.exchange,
                    routing_key=binding.routing_key,
                )
            self._send(
                self._channel.exchange_bind,
                destination=level.next_exchange,
                source=level.passing.exchange,
                routing_key=level.passing.routing_key,
            )
        await self._barrier()

    async def inspect(self, queue: str) -> QueueState | None:
        """Return a queue's state; None: there is no such queue (and the channel is closed)."""
        try:
            frame = await self._call(self._channel.queue_declare, queue=queue, passive=True)
        except BrokerRefusedError as error:
            if error.reason == "NotFound" and "no queue" in str(error):
                return None
            raise  # NOT_FOUND also says that the node of a classic queue is down
        return QueueState(frame.method.message_count, frame.method.consumer_count)

    async def count_by_taking(self, queue: str) -> int:
        """Return how many messages a queue has ready, by taking one of them.

        It goes back when the channel is closed. Unlike `inspect`, this is never 0 for want of a
        leader: RabbitMQ answers late then, or ends the connection.
        """

        def take(callback: Callable[[int], None]) -> None:
            self._channel.add_callback(lambda _: callback(0), [spec.Basic.GetEmpty])
            self._channel.basic_get(queue, lambda _, got, *__: callback(got.message_count + 1))

        return int(await self._call(take))

    async def delete_queue(self, queue: str) -> None:
        """Delete a queue with its messages; one that is not there is fine."""
        await self._call(self._channel.queue_delete, queue=queue)

    async def fill(self, queue: str, count: int) -> None:
        """Put so many empty messages into a queue; returns when RabbitMQ has every one of them."""
        waiting: set[int] = set()

        def confirmed(frame: Any) -> None:
            method = frame.method
            if isinstance(method, spec.Basic.Nack):
                self._fail(BrokerUnavailableError("BrokerUnreachable", f"'{queue}' takes nothing"))
                return
            last = method.delivery_tag
            waiting.difference_update(
                {tag for tag in waiting if tag == last or (method.multiple and tag < last)}
            )
            if not waiting and self._answer:
                resolve(self._answer, None)

        lost = BrokerUnavailableError("BrokerUnreachable", f"there is no queue '{queue}'")
        self._channel.add_on_return_callback(lambda *_: self._fail(lost))
        await self._call(self._channel.confirm_delivery, ack_nack_callback=confirmed)
        properties = BasicProperties(delivery_mode=2)
        for first in range(1, count + 1, FILL_AT_ONCE):
            lot = range(first, min(first + FILL_AT_ONCE, count + 1))
            waiting.update(lot)
            self._answer = asyncio.get_running_loop().create_future()
            for _ in lot:
                self._send(
                    self._channel.basic_publish,
                    exchange="",
                    routing_key=queue,
                    body=b"",
                    properties=properties,
                    mandatory=True,
                )
            await self._answered(self._answer)

    async def declare_queue(self, queue: Queue) -> int:
        """Declare a queue with its bindings; return how many messages it has ready."""
        frame = await self._call(
            self._channel.queue_declare,
            queue=queue.name,
            durable=True,
            arguments=queue.arguments,
        )
        for binding in queue.bindings:
            await self._call(
                self._channel.queue_bind,
                queue=queue.name,
                exchange=binding.exchange,
                routing_key=binding.routing_key,
            )
        return int(frame.method.message_count)

    def _send(self, method: Callable[..., Any], **arguments: Any) -> None:
        self._check()
        try:
            method(**arguments)
        except ChannelWrongStateError as error:
            raise self._fault or channel_fault(error) from error

    async def _barrier(self) -> None:
        """Wait until RabbitMQ has done all that was sent."""
        await self._call(self._channel.exchange_declare, exchange="amq.topic", passive=True)

    async def _call(self, method: Callable[..., Any], **arguments: Any) -> Any:
        self._check()
        answer = asyncio.get_running_loop().create_future()
        self._answer = answer
        try:
            method(**arguments, callback=lambda frame: resolve(answer, frame))
        except ChannelWrongStateError as error:
            raise channel_fault(error) from error
        return await self._answered(answer)

    async def _answered(self, answer: "asyncio.Future[Any]") -> Any:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError as error:
            raise BrokerUnavailableError(
                "BrokerUnreachable", f"RabbitMQ did not answer within {ANSWER_SECONDS:g} s"
            ) from error

    def _check(self) -> None:
        if self._fault:
            raise self._fault
        if not self._leads():
            raise BrokerUnavailableError("NotLeader", "the lease of this operator is over")

    def _closed(self, _channel: Channel, error: BaseException) -> None:
        self._fault = channel_fault(error)
        self._fail(self._fault)

    def _fail(self, error: BrokerError) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(error)
