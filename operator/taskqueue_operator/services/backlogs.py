"""How many messages the work queues hold: what outside producers sent counts too.

Of all queues of a vhost by one call of the management API; where that cannot be asked, by a passive
declaration per queue, which tells of waiting messages only.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from taskqueue_api.names import dead_letter_queue, work_queue
from taskqueue_operator.broker.link import Link
from taskqueue_operator.broker.management import QueueTotals
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.errors import BrokerError, ManagementError
from taskqueue_operator.services.brokers import Brokers
from taskqueue_operator.services.inspecting import inspect_queues

EVERY_SECONDS = 5.0
"""RabbitMQ counts anew as often."""

OLD_SECONDS = 3 * EVERY_SECONDS

_PATTERN = r"^tqd?\."

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """What a work queue holds.

    ready, unacknowledged: messages that wait, and that workers have. moment: loop time.
    letters: messages in the queue of dead letters; None: it was not asked.
    trouble: why RabbitMQ did not tell of the unacknowledged ones, which are 0 then; empty: it did.
    """

    ready: int
    unacknowledged: int
    moment: float
    letters: int | None = None
    trouble: str = ""

    @property
    def messages(self) -> int:
        """All of them."""
        return self.ready + self.unacknowledged


class Backlogs:
    """Reads the depths of the work queues that somebody asks for.

    wanted: the TaskQueues whose depths are of use, and whether so much that each is asked for
        singly where one call for all is not possible.
    on_read: called after each round.
    """

    def __init__(
        self,
        brokers: Brokers,
        wanted: Callable[[], Mapping[QueueKey, bool]],
        on_read: Callable[[], None],
    ) -> None:
        self._brokers = brokers
        self._wanted = wanted
        self._on_read = on_read
        self._readings: dict[QueueKey, Reading] = {}

    def reading(self, key: QueueKey) -> Reading | None:
        """Return the last reading of a work queue; None: there is none, or it is too old."""
        found = self._readings.get(key)
        now = asyncio.get_running_loop().time()
        return found if found and now - found.moment < OLD_SECONDS else None

    async def run(self) -> None:
        """Read, for ever."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            by_link: dict[Link, list[QueueKey]] = {}
            wanted = self._wanted()
            for key in wanted:
                link = self._brokers.link_of(key)
                if link is not None and link.connected.is_set():
                    by_link.setdefault(link, []).append(key)
            await asyncio.gather(
                *(self._read(link, keys, wanted) for link, keys in by_link.items())
            )
            for key in self._readings.keys() - wanted.keys():
                del self._readings[key]
            self._on_read()

    async def is_empty(self, key: QueueKey) -> bool:
        """Return whether a queue that looks empty is so: it gives no message, and says so."""
        link = self._brokers.link_of(key)
        if link is None:
            return False
        try:
            return await self._brokers.count_for_certain(work_queue(*key), link.address) == 0
        except BrokerError as error:
            _log(key, "not known to be empty", error)
            return False

    async def _read(
        self, link: Link, keys: list[QueueKey], wanted: Mapping[QueueKey, bool]
    ) -> None:
        try:
            management = await self._brokers.management(link.address)
            totals = await management.queue_totals(_PATTERN)
        except ManagementError as error:
            self._brokers.forget_management(link.address, error)
            await self._read_singly(link, [key for key in keys if wanted[key]], str(error))
            return
        now = asyncio.get_running_loop().time()
        for key in keys:
            found: QueueTotals | None = totals.get(work_queue(*key))
            letters = totals.get(dead_letter_queue(*key))
            if found is None:
                self._readings.pop(key, None)  # it is gone, or nobody can tell
            else:
                self._readings[key] = Reading(
                    found.ready, found.unacknowledged, now, letters.ready if letters else None
                )

    async def _read_singly(self, link: Link, keys: list[QueueKey], trouble: str) -> None:
        queues = {key: work_queue(*key) for key in keys}
        async for key, state in inspect_queues(link, queues, "backlog not read"):
            now = asyncio.get_running_loop().time()
            self._readings[key] = Reading(state.ready, 0, now, trouble=trouble)


def _log(key: QueueKey, what: str, error: Exception) -> None:
    fields = {"namespace": key.namespace, "queue": key.name}
    logger.info("%s: %s", what, error, extra=fields)
