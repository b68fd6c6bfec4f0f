"""The edge to a limit's tokens: messages of a queue in RabbitMQ, taken one by one."""

import asyncio
from typing import Any

from pika import spec
from pika.channel import Channel
from pika.exceptions import AMQPError

from taskqueue_worker.errors import BrokerError


class Token:
    """A token that is ours: until it is given back or spent, or its channel is lost."""

    def __init__(self, channel: Channel, number: int) -> None:
        self._channel = channel
        self._number = number

    @property
    def is_held(self) -> bool:
        """Whether it is still ours; if not, RabbitMQ has given it back itself."""
        return bool(self._channel.is_open)

    def give_back(self) -> None:
        """Let the next one have it."""
        if self._channel.is_open:
            self._channel.basic_nack(self._number, requeue=True)

    def spend(self) -> None:
        """Let it come back only after the limit's time: by its queue's dead-lettering."""
        if self._channel.is_open:
            self._channel.basic_reject(self._number, requeue=False)


class TokenChannel:
    """A channel to one queue of tokens, of one connection.

    Of its own, for RabbitMQ closes it when there is no such queue. With it go the tokens that were
    taken on it, and those alone.
    """

    def __init__(self, queue: str, channel: Channel, lost: "asyncio.Future[str]") -> None:
        """lost: done, with the reason, when the connection is over."""
        self._queue = queue
        self._channel = channel
        self._lost = lost
        self._closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answer: asyncio.Future[Token | None] | None = None
        channel.add_on_close_callback(lambda _, reason: self._close(reason))
        channel.add_callback(lambda _: self._take(None), [spec.Basic.GetEmpty], one_shot=False)

    @property
    def is_open(self) -> bool:
        """Whether tokens can be taken."""
        return bool(self._channel.is_open) and not self._lost.done()

    async def take(self) -> Token | None:
        """Return a token; None: there is none now. One call at a time. Raises BrokerError."""
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._channel.basic_get(self._queue, self._on_token)
        except AMQPError as error:
            raise BrokerError(f"{type(error).__name__}: {error}") from error
        ends: set[asyncio.Future[Any]] = {self._answer, self._closed, self._lost}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not self._answer.done():
            ended = self._closed if self._closed.done() else self._lost
            raise BrokerError(ended.result())
        return self._answer.result()

    def _on_token(self, channel: Channel, method: spec.Basic.GetOk, *_: Any) -> None:
        self._take(Token(channel, method.delivery_tag or 0))

    def _take(self, token: Token | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(token)

    def _close(self, reason: BaseException) -> None:
        if not self._closed.done():
            self._closed.set_result(f"{type(reason).__name__}: {reason}")
