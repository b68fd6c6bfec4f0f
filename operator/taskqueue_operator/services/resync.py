"""Looks at every TaskQueue again and again, though nothing is known to have happened to it.

Not by Kopf's timers: of 500 TaskQueues at rest they alone would keep a task each, and could not be
more seldom for those that need it least.
"""

import asyncio
import logging
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from taskqueue_operator.domain.dispatching import QueueKey

EVERY_SECONDS = 30.0

AT_REST_SECONDS = 120.0
"""Between two reconciles of a TaskQueue for which nothing is to be done and no worker is there."""

VERIFY_SECONDS = 600.0
"""Between two reads of what a TaskQueue owns: it is watched, and a deletion is seldom missed."""

TICK_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Queues(Protocol):
    """What reconciles."""

    def known(self) -> Iterable[QueueKey]:
        """Return all TaskQueues."""

    def is_at_rest(self, key: QueueKey) -> bool:
        """Return whether nothing is to be done for a TaskQueue, and nobody is there to do it."""

    async def reconcile(self, key: QueueKey) -> None:
        """Make a TaskQueue what its spec says."""

    async def verify(self, key: QueueKey) -> bool:
        """Read what it owns before; return whether that could be read."""


@dataclass
class Plan:
    """When a TaskQueue is looked at next. All in loop time.

    due: when to look whether it is at rest, and else to reconcile.
    reconcile, verify: when to do so in any case.
    running: it is being done.
    """

    due: float
    reconcile: float
    verify: float
    running: bool = False


class Resync:
    """Has every TaskQueue reconciled, each at a time of its own."""

    def __init__(self, queues: Queues, rng: random.Random) -> None:
        self._queues = queues
        self._rng = rng
        self._plans: dict[QueueKey, Plan] = {}

    async def run(self) -> None:
        """Do it, for ever."""
        clock = asyncio.get_running_loop().time
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(TICK_SECONDS)
                self._plan_known(clock())
                for key, plan in self._plans.items():
                    if self._is_due(key, plan, clock()):
                        plan.running = True
                        group.create_task(self._look(key, plan))

    def _plan_known(self, now: float) -> None:
        """Plan for the TaskQueues that have come; forget those that are gone."""
        known = set(self._queues.known())
        for key in self._plans.keys() - known:
            del self._plans[key]
        for key in known - self._plans.keys():
            # Those of a start or of one `kubectl apply` would else come all at once, for ever.
            share = self._rng.uniform(0.5, 1.0)
            self._plans[key] = Plan(
                now + share * EVERY_SECONDS,
                now + share * AT_REST_SECONDS,
                now + share * VERIFY_SECONDS,
            )

    def _is_due(self, key: QueueKey, plan: Plan, now: float) -> bool:
        if plan.running or now < plan.due:
            return False
        if now < plan.reconcile and self._queues.is_at_rest(key):
            plan.due = now + EVERY_SECONDS
            return False
        return True

    async def _look(self, key: QueueKey, plan: Plan) -> None:
        clock = asyncio.get_running_loop().time
        try:
            if clock() < plan.verify:
                await self._queues.reconcile(key)
            else:
                if await self._queues.verify(key):
                    plan.verify = clock() + VERIFY_SECONDS
        except Exception:
            # One TaskQueue that nobody thought of is no reason to look at none.
            logger.exception("not looked at", extra={"namespace": key.namespace, "queue": key.name})
        finally:
            plan.running = False
            plan.due = clock() + EVERY_SECONDS
            plan.reconcile = clock() + AT_REST_SECONDS
