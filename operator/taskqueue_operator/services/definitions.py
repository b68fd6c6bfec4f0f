"""Waits until the cluster knows our kinds: before that there is nothing to watch.

A restart would not help, and the kubelet makes the pauses between restarts longer and longer.
"""

import asyncio
import logging
from contextlib import suppress

from taskqueue_api.names import API_VERSION, GROUP, TASKQUEUES, TASKS
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.errors import ClusterError

PAUSE_SECONDS = 3.0

logger = logging.getLogger(__name__)


class Definitions:
    """Which of our kinds are missing; empty until it was looked."""

    def __init__(self, cluster: ClusterClient, pause: float = PAUSE_SECONDS) -> None:
        self._cluster = cluster
        self._pause = pause
        self._missing: list[str] = []

    async def wait(self, stop: asyncio.Event) -> None:
        """Return when all are there, or when stop is set."""
        while not stop.is_set():
            before = self._missing
            try:
                served = await self._cluster.served_kinds(API_VERSION)
            except ClusterError as error:
                logger.warning("what kinds there are cannot be asked: %s", error)
            else:
                self._missing = [kind for kind in (TASKQUEUES, TASKS) if kind not in served]
                if not self._missing:
                    return
                if self._missing != before:
                    logger.error("%s", "; ".join(self.faults()))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._pause)

    def faults(self) -> list[str]:
        """Return what is missing, one sentence each, with what to do."""
        return [
            f"{kind} are not watched: the cluster has no definition of {kind}.{GROUP} in "
            f"{API_VERSION}; install it, for instance by `helm upgrade` of this release"
            for kind in self._missing
        ]
