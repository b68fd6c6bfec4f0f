"""Counts of Tasks by phase, for the status of their TaskQueues and for the metrics."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from taskqueue_api.names import API_VERSION
from taskqueue_api.taskqueue import TaskCounts
from taskqueue_operator import metrics
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.counting import Tally
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.domain.history import REASONS
from taskqueue_operator.domain.sharding import WHOLE
from taskqueue_operator.errors import ClusterError
from taskqueue_operator.services.status import StatusBoard

EVERY_SECONDS = 5.0
ALL_SECONDS = 60.0
"""Everything is counted this often: the deletion of a finished Task gives no event."""

SHARE = 10
"""A namespace rests this many times as long as its list took; most of that is waiting for the API
server."""

ROUND_SHARE = 2
"""And the whole this many times as long as a round took. Less, for many small namespaces would
otherwise make each other wait for as long as a few large ones."""

logger = logging.getLogger(__name__)


class Counts:
    """Counts the Tasks of namespaces in which something happened.

    now: the API server's time.
    prune: called with a namespace, the names of its Tasks, and a moment before the list; what is
        older and not listed no longer exists.
    on_listed: called with a namespace and what its complete list says.
    serves: whether a TaskQueue is this operator's. Tasks of others are not in what a list says.
    """

    def __init__(
        self,
        cluster: ClusterClient,
        board: StatusBoard,
        prune: Callable[[str, set[str], datetime], None],
        now: Callable[[], datetime],
        on_listed: Callable[[str, Tally], None],
        serves: Callable[[QueueKey], bool] = WHOLE.serves,
    ) -> None:
        self._cluster = cluster
        self._board = board
        self._prune = prune
        self._now = now
        self._on_listed = on_listed
        self._serves = serves
        self._dirty: set[str] = set()
        self._planned: dict[str, datetime] = {}
        self._resting: dict[str, float] = {}
        self._queues: set[QueueKey] = set()

    def changed(self, namespace: str) -> None:
        """Take note that something happened to a Task of a namespace."""
        self._dirty.add(namespace)

    def look_again(self, namespace: str, moment: datetime) -> None:
        """List a namespace at a moment or soon after, unless it is listed before that anyway."""
        self._planned[namespace] = min(moment, self._planned.get(namespace, moment))

    def queue_seen(self, key: QueueKey) -> None:
        """Count for this TaskQueue from now on."""
        if key not in self._queues:
            self._queues.add(key)
            self._dirty.add(key.namespace)

    def queue_gone(self, key: QueueKey) -> None:
        """Count no longer for this TaskQueue."""
        if key in self._queues:
            self._queues.discard(key)
            for phase in TaskCounts.model_fields:
                metrics.TASKS.remove((*key, phase))
            for reason in REASONS:
                metrics.TASKS_DELETED.remove(*key, reason)

    async def run(self) -> None:
        """Count, for ever."""
        loop = asyncio.get_running_loop()
        all_counted = loop.time()
        while True:
            begun = loop.time()
            if begun - all_counted >= ALL_SECONDS:
                all_counted = begun
                self._dirty |= {key.namespace for key in self._queues}
            now = self._now()
            self._dirty |= {name for name, moment in self._planned.items() if moment <= now}
            self._resting = {name: end for name, end in self._resting.items() if end > begun}
            for namespace in self._dirty - self._resting.keys():
                await self._count_one(namespace)
            await asyncio.sleep(max(EVERY_SECONDS, ROUND_SHARE * (loop.time() - begun)))

    async def _count_one(self, namespace: str) -> None:
        """Count one namespace, and let it rest."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        self._dirty.discard(namespace)
        try:
            await self._count(namespace)
        except (ClusterError, ValueError) as error:
            self._dirty.add(namespace)
            logger.warning("Tasks not counted: %s", error, extra={"namespace": namespace})
        self._resting[namespace] = clock() + SHARE * (clock() - begun)

    async def _count(self, namespace: str) -> None:
        # What is younger may be missing from the list and yet exist.
        before = self._now() - timedelta(minutes=1)
        self._planned.pop(namespace, None)
        tally = Tally(lambda queue: self._serves(QueueKey(namespace, queue)))
        async for page in self._cluster.task_tables(API_VERSION, namespace):
            tally.add_page(page)
        self._prune(namespace, tally.names, before)
        for key in [key for key in self._queues if key.namespace == namespace]:
            counts = tally.of(key.name)
            self._board.counts(key, counts)
            for phase, number in counts.model_dump().items():
                metrics.TASKS.set((*key, phase), number)
        try:
            self._on_listed(namespace, tally)
        except Exception:
            # Whatever it is, the counts are right.
            logger.exception("finished Tasks not looked at", extra={"namespace": namespace})
