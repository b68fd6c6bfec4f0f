"""Requests for a reconcile from inside the operator, coalesced and backed off."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from taskqueue_operator.domain.dispatching import QueueKey

SOON_SECONDS = 0.1
"""Changes come in bunches: a rollout is a dozen events."""

RETRY_FIRST = 1.0
RETRY_MAX = 30.0

CALM_SECONDS = 60.0
"""After so long without trouble, the next one is tried again quickly."""


@dataclass
class Request:
    """What is planned for one TaskQueue.

    timer: of the next reconcile; None: none is planned.
    retry: seconds until the next one after a failure.
    running: one is under way. again: another is wanted after it.
    last_trouble: loop time.
    """

    timer: asyncio.TimerHandle | None = None
    due: float = 0.0
    retry: float = RETRY_FIRST
    running: bool = False
    again: bool = False
    last_trouble: float = float("-inf")


class Requests:
    """At most one planned reconcile per TaskQueue."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._requests: dict[QueueKey, Request] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._reconcile: Callable[[QueueKey], Awaitable[None]] | None = None

    def serve(self, reconcile: Callable[[QueueKey], Awaitable[None]]) -> None:
        """Set what reconciles."""
        self._reconcile = reconcile

    def soon(self, key: QueueKey) -> None:
        """Reconcile shortly."""
        self._plan(key, SOON_SECONDS)

    def trouble(self, key: QueueKey) -> None:
        """Reconcile after a pause that grows while the trouble lasts."""
        request = self._requests.setdefault(key, Request())
        now = asyncio.get_running_loop().time()
        if now - request.last_trouble > CALM_SECONDS:
            request.retry = RETRY_FIRST
        request.last_trouble = now
        self._plan(key, request.retry * self._rng.uniform(0.5, 1.0))
        request.retry = min(request.retry * 2, RETRY_MAX)

    def forget(self, key: QueueKey) -> None:
        """Plan nothing more for a TaskQueue."""
        request = self._requests.pop(key, None)
        if request and request.timer:
            request.timer.cancel()

    def stop(self) -> None:
        """Plan nothing more at all."""
        for key in list(self._requests):
            self.forget(key)
        for task in self._running:
            task.cancel()

    def _plan(self, key: QueueKey, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        request = self._requests.setdefault(key, Request())
        due = loop.time() + seconds
        if request.timer:
            if request.due <= due:
                return
            request.timer.cancel()
        request.due = due
        request.timer = loop.call_at(due, self._start, key)

    def _start(self, key: QueueKey) -> None:
        request = self._requests.get(key)
        if request is None or self._reconcile is None:
            return
        request.timer = None
        if request.running:
            request.again = True
            return
        request.running = True
        task = asyncio.create_task(self._run(key, request, self._reconcile))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(
        self, key: QueueKey, request: Request, reconcile: Callable[[QueueKey], Awaitable[None]]
    ) -> None:
        try:
            await reconcile(key)
        finally:
            request.running = False
            if request.again and self._requests.get(key) is request:
                request.again = False
                self._plan(key, SOON_SECONDS)
