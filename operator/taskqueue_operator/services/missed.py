"""Notices TaskQueues that are gone without an event.

Kopf lists anew when a watch was broken for too long, and says nothing of what is in the list no
more. Such a TaskQueue would be kept for ever, with its connection, and reconciled if it went by
force: its workers would be made anew each time that Kubernetes has collected them.
"""

import asyncio
import logging
from collections.abc import Sequence

from taskqueue_api.names import API_VERSION
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.errors import ClusterError
from taskqueue_operator.services.taskqueues import TaskQueues

EVERY_SECONDS = 300.0

logger = logging.getLogger(__name__)


class MissedDeletions:
    """Compares what is known with what is there. namespaces: those that are watched; empty: all."""

    def __init__(
        self, cluster: ClusterClient, namespaces: Sequence[str], queues: TaskQueues
    ) -> None:
        self._cluster = cluster
        self._namespaces: Sequence[str | None] = namespaces or (None,)
        self._queues = queues

    async def run(self) -> None:
        """Compare, for ever."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            for namespace in self._namespaces:
                try:
                    await self._compare(namespace)
                except ClusterError as error:
                    fields = {"namespace": namespace or ""}
                    logger.warning("TaskQueues not compared: %s", error, extra=fields)

    async def _compare(self, namespace: str | None) -> None:
        # Before the list: what is seen meanwhile may be younger than the list.
        known = self._queues.bodies(namespace)
        there = set()
        async for page in self._cluster.list_pages(API_VERSION, "TaskQueue", namespace):
            there |= {item["metadata"]["uid"] for item in page["items"]}
        for body in known:
            metadata = body["metadata"]
            if metadata["uid"] not in there:
                fields = {"namespace": metadata["namespace"], "queue": metadata["name"]}
                logger.info("gone, without an event", extra=fields)
                self._queues.gone(body)
