"""The numbers of dead letters, for status, metrics and Events."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from taskqueue_api.names import dead_letter_queue
from taskqueue_operator import metrics
from taskqueue_operator.broker.link import Link
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.dead_letters import LetterCount, describe_letters, start_count
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.domain.lean import without_status
from taskqueue_operator.errors import (
    ClusterError,
    ClusterUnavailableError,
    NamespaceTerminatingError,
)
from taskqueue_operator.services.backlogs import Reading
from taskqueue_operator.services.brokers import Brokers
from taskqueue_operator.services.inspecting import inspect_queues
from taskqueue_operator.services.status import StatusBoard

EVERY_SECONDS = 15.0

logger = logging.getLogger(__name__)


@dataclass
class Entry:
    """One TaskQueue. body: the object, for Events."""

    body: Mapping[str, Any]
    count: LetterCount


class DeadLetters:
    """Counts the dead letters of all TaskQueues, over the connections that are open anyway.

    Where RabbitMQ cannot be asked, the last number stays.

    reading: what one call for all queues has told of a TaskQueue's; None: nothing.
    """

    def __init__(
        self,
        cluster: ClusterClient,
        brokers: Brokers,
        board: StatusBoard,
        reading: Callable[[QueueKey], Reading | None],
    ) -> None:
        self._cluster = cluster
        self._brokers = brokers
        self._board = board
        self._reading = reading
        self._entries: dict[QueueKey, Entry] = {}

    def queue_seen(self, key: QueueKey, body: Mapping[str, Any]) -> None:
        """Count for this TaskQueue from now on."""
        entry = self._entries.get(key)
        if entry is None or entry.body["metadata"]["uid"] != body["metadata"]["uid"]:
            stored = (body.get("status") or {}).get("deadLetters")
            self._entries[key] = Entry(without_status(body), start_count(stored))
        else:
            entry.body = without_status(body)

    def queue_gone(self, key: QueueKey) -> None:
        """Count no longer for this TaskQueue."""
        if self._entries.pop(key, None) is not None:
            metrics.DEAD_LETTERS.remove(key)

    async def run(self) -> None:
        """Count, for ever."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            by_link: dict[Link, list[QueueKey]] = {}
            for key in list(self._entries):
                reading = self._reading(key)
                if reading is not None and reading.letters is not None:
                    await self.take(key, reading.letters)
                    continue
                link = self._brokers.link_of(key)
                if link is not None and link.connected.is_set():
                    by_link.setdefault(link, []).append(key)
            await asyncio.gather(*(self._count(link, keys) for link, keys in by_link.items()))

    async def take(self, key: QueueKey, number: int) -> None:
        """Take note of how many messages a TaskQueue's dead-letter queue holds."""
        entry = self._entries.get(key)
        if entry is None:
            return
        entry.count = entry.count.read(number)
        if entry.count.number is not None:
            self._board.dead_letters(key, entry.count.number)
            metrics.DEAD_LETTERS.set(key, entry.count.number)
        now = asyncio.get_running_loop().time()
        if entry.count.is_news(now):
            # Before the Event is posted: a reading may come meanwhile.
            before, entry.count = entry.count, entry.count.tell(now)
            if not await self._tell(key, entry.body, before.number or 0):
                entry.count = entry.count.untell(before)

    async def _count(self, link: Link, keys: list[QueueKey]) -> None:
        queues = {key: dead_letter_queue(*key) for key in keys}
        async for key, state in inspect_queues(link, queues, "dead letters not counted"):
            await self.take(key, state.ready)

    async def _tell(self, key: QueueKey, body: Mapping[str, Any], number: int) -> bool:
        """Post an Event; return whether there is no use in posting it again."""
        message = describe_letters(key, number)
        fields = {"namespace": key.namespace, "queue": key.name}
        try:
            await self._cluster.post_event(
                body, warning=True, reason="DeadLetters", message=message
            )
        except NamespaceTerminatingError:
            return True
        except ClusterError as error:
            logger.warning("Event not posted: %s", error, extra=fields)
            return not isinstance(error, ClusterUnavailableError)
        logger.warning("%s", message, extra=fields)
        return True
