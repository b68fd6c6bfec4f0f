"""Keeps the tokens of each TaskQueue's limits in RabbitMQ: exactly as many as the limit says."""

import logging
from collections.abc import Mapping
from typing import Any

from taskqueue_api.names import cooling_queue
from taskqueue_api.taskqueue import TokenQueueState, WorkersSpec
from taskqueue_operator.broker.link import Link
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.domain.tokens import Tokens, build_tokens, name_tokens, read_tokens
from taskqueue_operator.errors import BrokerError
from taskqueue_operator.services.status import StatusBoard

logger = logging.getLogger(__name__)


class TokenQueues:
    """Fills queues of tokens, and deletes those of earlier limits.

    What was begun is noted in the TaskQueue's status first, and that it is whole last: a queue that
    is not known to be whole is deleted and filled anew, so that an operator that ends half way
    leaves neither fewer tokens nor more.
    """

    def __init__(self, board: StatusBoard) -> None:
        self._board = board

    async def ensure(self, key: QueueKey, link: Link, workers: WorkersSpec) -> None:
        """Have the tokens of all limits. Raises BrokerError and ClusterUnavailableError."""
        states: dict[str, TokenQueueState] = dict(self._board.token_queues(key))
        for tokens in build_tokens(*key, workers, link.version):
            name = tokens.queue.name
            if states.get(name) == "Whole" and await _is_there(link, tokens):
                continue
            states[name] = "Filling"
            await self._board.keep_token_queues(key, states)
            await _fill(link, tokens)
            states[name] = "Whole"
            fields = {"namespace": key.namespace, "queue": key.name}
            logger.info("'%s' has %d tokens", name, tokens.count, extra=fields)
        await self._board.keep_token_queues(key, states)

    async def drop_old(
        self, key: QueueKey, link: Link, workers: WorkersSpec, deployment: Mapping[str, Any] | None
    ) -> None:
        """Delete the tokens of earlier limits once no worker takes from them any more.

        deployment: the workers', when all of them are of its template; None: not yet. Raises
        ClusterUnavailableError.
        """
        states: dict[str, TokenQueueState] = dict(self._board.token_queues(key))
        if deployment is None:
            return
        used = read_tokens(deployment) | set(name_tokens(*key, workers).values())
        old = states.keys() - used
        if not old:
            return
        try:
            await delete_tokens(link, sorted(old))
        except BrokerError as error:
            fields = {"namespace": key.namespace, "queue": key.name}
            logger.warning("tokens of an earlier limit not deleted yet: %s", error, extra=fields)
            return
        await self._board.keep_token_queues(
            key, {name: states[name] for name in states.keys() & used}
        )


async def delete_tokens(link: Link, names: list[str]) -> None:
    """Delete queues of tokens and where these cool; those that are not there are fine.

    Raises BrokerError.
    """
    if not names:
        return
    async with await link.open_channel() as channel:
        for name in names:
            await channel.delete_queue(name)
            await channel.delete_queue(cooling_queue(name))


async def _is_there(link: Link, tokens: Tokens) -> bool:
    async with await link.open_channel() as channel:
        for queue in tokens.queues:
            if await channel.inspect(queue.name) is None:
                return False
    return True


async def _fill(link: Link, tokens: Tokens) -> None:
    async with await link.open_channel() as channel:
        for queue in tokens.queues:
            await channel.delete_queue(queue.name)
        for queue in tokens.queues:
            await channel.declare_queue(queue)
        await channel.fill(tokens.queue.name, tokens.count)
