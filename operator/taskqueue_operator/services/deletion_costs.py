"""Marks busy worker pods, so that Kubernetes takes idle ones when there are to be fewer."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from taskqueue_api import names
from taskqueue_api.conditions import read_time
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.deletion_cost import ANNOTATION, WorkerPod, pick_idle
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.errors import ClusterError, NotFoundError

logger = logging.getLogger(__name__)


class DeletionCosts:
    """Sets the deletion costs of worker pods. now: the API server's time."""

    def __init__(self, cluster: ClusterClient, now: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._now = now

    async def mark(self, key: QueueKey) -> None:
        """Mark the pods that run Tasks.

        What cannot be marked may be taken although it is busy: then it finishes what it runs,
        within its grace.
        """
        fields = {"namespace": key.namespace, "queue": key.name}
        try:
            labels = names.worker_labels(key.name)
            pods = await self._cluster.list_pods(key.namespace, labels)
            starts = await self._running(key)
            workers = (_worker(pod, starts[pod["metadata"]["name"]]) for pod in pods)
            for name, cost in pick_idle(workers, self._now().timestamp()).items():
                await self._mark_one(key, name, cost)
        except ClusterError as error:
            logger.warning("busy workers not marked: %s", error, extra=fields)

    async def _running(self, key: QueueKey) -> dict[str, list[float]]:
        """Return when the Tasks that run were started, seconds, by the name of their pod."""
        starts: dict[str, list[float]] = defaultdict(list)
        fields = f"status.phase=Running,spec.queue={key.name}"
        pages = self._cluster.list_pages(names.API_VERSION, "Task", key.namespace, fields)
        async for page in pages:
            for item in page["items"]:
                status = item["status"]
                started = read_time(status.get("startTime"))
                moment = started.timestamp() if started else self._now().timestamp()
                # Without a worker it was written by somebody else.
                starts[(status.get("worker") or {}).get("pod", "")].append(moment)
        return starts

    async def _mark_one(self, key: QueueKey, name: str, cost: str) -> None:
        try:
            await self._cluster.annotate("v1", "Pod", key.namespace, name, {ANNOTATION: cost})
        except NotFoundError:
            return  # it went meanwhile


def _worker(pod: Mapping[str, Any], starts: Iterable[float]) -> WorkerPod:
    metadata = pod["metadata"]
    started = list(starts)
    return WorkerPod(
        metadata["name"],
        running=len(started),
        since=min(started, default=None),
        annotation=(metadata.get("annotations") or {}).get(ANNOTATION),
    )
