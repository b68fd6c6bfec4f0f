"""Ends running Tasks that are to be cancelled and that no worker can end any more.

A worker that is lost cannot, nor does its message reach another when there is none: its TaskQueue
is paused, has no workers, or is gone.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from taskqueue_api.conditions import read_time
from taskqueue_api.holder import is_alive
from taskqueue_api.messages import TaskUid
from taskqueue_api.names import API_VERSION
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.task_status import patch_lost_cancelled
from taskqueue_operator.errors import (
    ClusterError,
    ConflictError,
    NamespaceTerminatingError,
    NotFoundError,
)

EVERY_SECONDS = 5.0
"""A worker that is there has killed the handler and written the end long before."""

logger = logging.getLogger(__name__)


class _Place(NamedTuple):
    namespace: str
    name: str


class Cancels:
    """Looks at the Tasks that run although they are to be cancelled. now: the API server's time."""

    def __init__(self, cluster: ClusterClient, now: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._now = now
        self._running: dict[TaskUid, _Place] = {}

    def seen(self, body: Mapping[str, Any]) -> None:
        """Take note of a Task that runs and is to be cancelled."""
        metadata = body["metadata"]
        place = _Place(metadata["namespace"], metadata["name"])
        self._running[TaskUid(metadata["uid"])] = place

    async def run(self) -> None:
        """Look at them, for ever."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            for uid, place in list(self._running.items()):
                try:
                    over = await self._look(uid, place)
                except (NotFoundError, NamespaceTerminatingError):
                    over = True
                except ConflictError:
                    over = False  # it has changed meanwhile: what it is now is looked at again
                except ClusterError as error:
                    over = False
                    fields = {"namespace": place.namespace, "task": place.name, "uid": uid}
                    logger.warning("not cancelled yet: %s", error, extra=fields)
                if over:
                    self._running.pop(uid, None)

    async def _look(self, uid: TaskUid, place: _Place) -> bool:
        """End a Task whose worker is lost; return whether it has ended. Raises ClusterError."""
        body = await self._cluster.get(API_VERSION, "Task", place.namespace, place.name)
        status = body.get("status") or {}
        if body["metadata"]["uid"] != uid or status.get("phase") != "Running":
            return True
        if await self._has_worker(place.namespace, status):
            return False
        await self._cluster.patch_task_status(
            API_VERSION, place.namespace, place.name, patch_lost_cancelled(body, self._now())
        )
        fields = {"namespace": place.namespace, "task": place.name, "uid": uid}
        logger.info("cancelled; its worker was lost", extra=fields)
        return True

    async def _has_worker(self, namespace: str, status: Mapping[str, Any]) -> bool:
        worker, started = status["worker"], status.get("startTime")
        try:
            pod = await self._cluster.get("v1", "Pod", namespace, worker["pod"])
        except NotFoundError:
            return False
        # The schema does not say that a start time is a time.
        readable = started if read_time(started) else None
        return is_alive(worker.get("podUid"), readable, pod, self._now().timestamp())
