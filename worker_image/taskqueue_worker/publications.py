"""What a worker publishes of a message before it acknowledges it."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from taskqueue_api.names import (
    DEAD_LETTER_EXCHANGE,
    DELAY_EXCHANGE,
    UNROUTED_KEY,
    dead_letter_queue,
    delay_key,
    work_queue,
)
from taskqueue_worker import metrics
from taskqueue_worker.broker import Broker
from taskqueue_worker.deliveries import Delivery, OutsideMessage, TaskMessage
from taskqueue_worker.errors import BrokerError
from taskqueue_worker.outcomes import Failure
from taskqueue_worker.settle import (
    DeadLetter,
    PublishNext,
    Settlement,
    dead_letter_headers,
    next_attempt_headers,
)

_log = logging.getLogger(__name__)


class Publications:
    """Publishes copies of messages; each method returns False when the copy is not there.

    The original is then not to be acknowledged: it comes again.
    """

    def __init__(
        self, broker: Broker, namespace: str, taskqueue: str, labels: metrics.HandlerLabels
    ) -> None:
        self._broker = broker
        self._queue = work_queue(namespace, taskqueue)
        self._dead_letters = dead_letter_queue(namespace, taskqueue)
        self._labels = labels

    async def follow(self, message: TaskMessage | OutsideMessage, settlement: Settlement) -> bool:
        """Publish what a settlement asks for."""
        # A Task tells a second delivery that the first is at work; nothing tells an outsider's.
        insist = isinstance(message, TaskMessage)
        if isinstance(settlement, DeadLetter):
            return await self.dead_letter(message.delivery, settlement.error, insist=insist)
        if isinstance(settlement, PublishNext):
            return await self._next_attempt(message.delivery, settlement, insist=insist)
        return True

    async def dead_letter(
        self, delivery: Delivery, error: Failure, *, insist: bool = False
    ) -> bool:
        """Publish a dead letter. insist: also when the original comes again meanwhile."""
        headers = dead_letter_headers(delivery.headers, error, self._queue, datetime.now(UTC))
        if not await self._publish(
            DEAD_LETTER_EXCHANGE, lambda: self._dead_letters, delivery, headers, insist=insist
        ):
            return False
        metrics.DEAD_LETTERS.inc()
        return True

    async def unroute(self, delivery: Delivery) -> bool:
        """Put a message aside that belongs to nobody here."""
        headers = dict(delivery.headers)
        return await self._publish(
            DEAD_LETTER_EXCHANGE, lambda: UNROUTED_KEY, delivery, headers, insist=False
        )

    async def _next_attempt(
        self, delivery: Delivery, following: PublishNext, *, insist: bool
    ) -> bool:
        headers = next_attempt_headers(delivery.headers, following.attempt)

        def key() -> str:
            return delay_key(following.due - datetime.now(UTC), self._queue)

        if not await self._publish(DELAY_EXCHANGE, key, delivery, headers, insist=insist):
            return False
        metrics.RETRIES.labels(self._labels.label(delivery.type)).inc()
        return True

    async def _publish(
        self,
        exchange: str,
        key: Callable[[], str],
        delivery: Delivery,
        headers: Any,
        *,
        insist: bool,
    ) -> bool:
        try:
            await self._broker.publish_copy(exchange, key, delivery, headers, insist=insist)
        except BrokerError as lost:
            _log.warning("not published: %s", lost, extra={"uid": delivery.message_id})
            return False
        return True
