"""Starts finished Tasks all over whose `spec.rerun` was raised.

The watch of Tasks sees only what is unfinished, so this is a watch of its own, of the few Tasks
that were ever to be run again. From the start of a run they are in the other watch, like new ones.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskqueue_api.messages import TaskUid
from taskqueue_api.names import API_VERSION
from taskqueue_operator import metrics
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.domain.rerunning import SELECTOR, Rerun, decide_rerun
from taskqueue_operator.domain.sharding import WHOLE
from taskqueue_operator.domain.task_status import patch_rerun
from taskqueue_operator.errors import ClusterError, NotFoundError

PARALLEL = 8
BACKOFF_FIRST = 0.5
BACKOFF_MAX = 30.0

PAUSE_SECONDS = 1.0
"""Between a watch that has ended and the next one."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Wish:
    """A Task that is to be started all over. delay: seconds waited for this try; 0: the first."""

    rerun: Rerun
    delay: float = 0.0


class Reruns:
    """Starts Tasks all over.

    namespaces: those that are watched; empty: all.
    serves: whether a TaskQueue is this operator's, and so are its Tasks.
    """

    def __init__(
        self,
        cluster: ClusterClient,
        namespaces: Sequence[str],
        rng: random.Random,
        serves: Callable[[QueueKey], bool] = WHOLE.serves,
    ) -> None:
        self._cluster = cluster
        self._namespaces: Sequence[str | None] = namespaces or (None,)
        self._rng = rng
        self._serves = serves
        self._wishes: dict[TaskUid, _Wish] = {}
        self._wake = asyncio.Event()

    async def run(self, begin: asyncio.Event) -> None:
        """Watch and start, for ever. begin: set when there is something to watch."""
        await begin.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._start_all())
            for namespace in self._namespaces:
                group.create_task(self._follow(namespace))

    async def _follow(self, namespace: str | None) -> None:
        """Take note of what is wished: of all there is, then of each change."""
        version = ""
        delay = BACKOFF_FIRST
        while True:
            try:
                version = version or await self._list(namespace)
                events = self._cluster.watch_tasks(API_VERSION, namespace, SELECTOR, version)
                async for event in events:
                    version = event["object"]["metadata"]["resourceVersion"]
                    self._take(event)
                    delay = BACKOFF_FIRST
            except ClusterError as error:
                # Whatever it is, nothing is missed by a new list: it is short.
                version = ""
                fields = {"namespace": namespace or ""}
                logger.warning("Tasks to run again are not watched: %s", error, extra=fields)
                await asyncio.sleep(delay * self._rng.uniform(0.5, 1.0))
                delay = min(delay * 2, BACKOFF_MAX)
            else:
                delay = BACKOFF_FIRST
                await asyncio.sleep(PAUSE_SECONDS)

    async def _list(self, namespace: str | None) -> str:
        version = ""
        async for page in self._cluster.list_pages(API_VERSION, "Task", namespace, SELECTOR):
            version = page["metadata"]["resourceVersion"]
            for body in page.get("items") or ():
                self._see(body)
        return version

    def _take(self, event: Mapping[str, Any]) -> None:
        if event["type"] == "DELETED":
            # Gone, or started.
            self._wishes.pop(TaskUid(event["object"]["metadata"]["uid"]), None)
        elif event["type"] != "BOOKMARK":
            self._see(event["object"])

    def _see(self, body: Mapping[str, Any]) -> None:
        rerun = decide_rerun(body)
        if rerun is None:
            self._wishes.pop(TaskUid(body["metadata"]["uid"]), None)
        elif self._serves(rerun.queue):
            self._wish(_Wish(rerun))

    def _wish(self, wish: _Wish) -> None:
        self._wishes[wish.rerun.uid] = wish
        self._wake.set()

    async def _start_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._wishes:
                batch = list(self._wishes.values())[:PARALLEL]
                for wish in batch:
                    del self._wishes[wish.rerun.uid]
                await asyncio.gather(*(self._start(wish) for wish in batch))

    async def _start(self, wish: _Wish) -> None:
        """Start a Task all over, if it still is to be; try again later when that is refused."""
        try:
            rerun = await self._read(wish.rerun) if wish.delay else wish.rerun
            if rerun is not None:
                await self._write(rerun)
        except NotFoundError:
            return
        except ClusterError as error:
            # Mostly it has changed since it was seen.
            logger.warning("not run again yet: %s", error, extra=_fields(wish.rerun))
            delay = min(wish.delay * 2, BACKOFF_MAX) or BACKOFF_FIRST
            again = _Wish(wish.rerun, delay)
            asyncio.get_running_loop().call_later(
                delay * self._rng.uniform(0.5, 1.0), self._wish_again, again
            )

    def _wish_again(self, wish: _Wish) -> None:
        """Wish once more, unless a newer wish is there."""
        if wish.rerun.uid not in self._wishes:
            self._wish(wish)

    async def _read(self, rerun: Rerun) -> Rerun | None:
        """Return how a Task is to be started as it is now; None: not any more."""
        body = await self._cluster.get(API_VERSION, "Task", rerun.queue.namespace, rerun.name)
        current = decide_rerun(body)
        return current if current is not None and current.uid == rerun.uid else None

    async def _write(self, rerun: Rerun) -> None:
        namespace = rerun.queue.namespace
        try:
            await self._cluster.patch_task_status(
                API_VERSION, namespace, rerun.name, patch_rerun(rerun)
            )
        except ClusterError as error:
            metrics.STATUS_WRITES.labels("Task", type(error).__name__).inc()
            raise
        metrics.STATUS_WRITES.labels("Task", "ok").inc()
        logger.info("run %d begins", rerun.run, extra=_fields(rerun))


def _fields(rerun: Rerun) -> dict[str, str]:
    return {
        "namespace": rerun.queue.namespace,
        "task": rerun.name,
        "uid": rerun.uid,
        "queue": rerun.queue.name,
    }
