"""Asks RabbitMQ of queues one by one, where one call for all is not possible."""

import logging
from collections.abc import AsyncIterator, Mapping

from taskqueue_operator.broker.channel import QueueState
from taskqueue_operator.broker.link import Link
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.errors import BrokerError, BrokerRefusedError

logger = logging.getLogger(__name__)


async def inspect_queues(
    link: Link, queues: Mapping[QueueKey, str], trouble: str
) -> AsyncIterator[tuple[QueueKey, QueueState]]:
    """Yield what queues hold, over one channel unless RabbitMQ closes it.

    queues: their names by TaskQueue. Those that are not there, or of which RabbitMQ does not tell,
        are left out.
    trouble: what could not be done then, for the log.
    """
    left = list(queues)
    try:
        while left:
            async with await link.open_channel() as channel:
                while left:
                    key = left.pop()
                    try:
                        state = await channel.inspect(queues[key])
                    except BrokerRefusedError as error:
                        # So it is when the node of a classic queue is down.
                        fields = {"namespace": key.namespace, "queue": key.name}
                        logger.info("%s: %s", trouble, error, extra=fields)
                        break
                    if state is None:
                        break  # it is declared anew by the next reconcile
                    yield key, state
    except BrokerError as error:
        logger.info("%s: %s", trouble, error)
