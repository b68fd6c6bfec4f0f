"""What people see of scaling: a condition, the backlog in the status, Events and metrics."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskqueue_operator import metrics
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.demand import Demand
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.domain.scaling import Decision
from taskqueue_operator.domain.scaling_conditions import SCALING, describe_decision
from taskqueue_operator.errors import ClusterError, NamespaceTerminatingError
from taskqueue_operator.services.backlogs import Reading
from taskqueue_operator.services.status import StatusBoard

TOLD_SECONDS = 10.0
"""At most one Event per TaskQueue in this time; the log has them all."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workers:
    """The workers of a TaskQueue: wanted pods, pods that consume, and the slots of each."""

    desired: int
    ready: int
    slots: int


@dataclass
class _Shown:
    """What was shown last of a TaskQueue. told: loop time of the last Event."""

    decision: Decision | None = None
    trouble: str = ""
    told: float = float("-inf")


class ScalingReports:
    """Shows decisions, and says when one changes something."""

    def __init__(self, cluster: ClusterClient, board: StatusBoard) -> None:
        self._cluster = cluster
        self._board = board
        self._shown: dict[QueueKey, _Shown] = {}

    def forget(self, key: QueueKey) -> None:
        """Forget a TaskQueue."""
        if self._shown.pop(key, None) is not None:
            for gauge in metrics.SCALING_GAUGES:
                gauge.remove(key)
            metrics.SCALING_DECISIONS.remove_by_labels({"namespace": key[0], "queue": key[1]})

    def decided(self, key: QueueKey, generation: int, decision: Decision, trouble: str) -> None:
        """Show a decision, unless it is the one that is shown.

        Its sentence alone is no news: it has numbers that change all the time.
        trouble: why RabbitMQ tells less than it should; empty: it does not.
        """
        shown = self._shown.setdefault(key, _Shown())
        before, shown.decision = shown.decision, decision
        if before and (before[:2], shown.trouble) == (decision[:2], trouble):
            return
        if before is None or before[:2] != decision[:2]:
            metrics.SCALING_DECISIONS.labels(*key, decision.reason).inc()
        shown.trouble = trouble
        condition = describe_decision(decision, trouble, generation)
        self._board.conditions(key, generation, [condition])

    def undecided(self, key: QueueKey) -> None:
        """Show no decision: the spec says how many workers there are, and nothing else."""
        shown = self._shown.setdefault(key, _Shown())
        shown.decision, shown.trouble = None, ""
        self._board.drop_condition(key, SCALING)

    def measured(
        self, key: QueueKey, workers: Workers, demand: Demand, reading: Reading | None
    ) -> None:
        """Show the backlog, and what the workers have in hand."""
        self._shown.setdefault(key, _Shown())
        backlog = max(demand.due, reading.messages if reading else 0)
        slots = workers.ready * workers.slots
        busy = min(slots, max(demand.running, reading.unacknowledged if reading else 0))
        for gauge, value in zip(
            metrics.SCALING_GAUGES,
            (workers.desired, workers.ready, slots, busy, backlog, demand.oldest),
            strict=True,
        ):
            gauge.set(key, value)
        self._board.backlog(key, backlog, busy)

    async def scaled(
        self,
        key: QueueKey,
        body: Mapping[str, Any],
        before: int,
        now: int,
        reason: Decision | None,
    ) -> None:
        """Say that a Deployment was given another number of pods.

        reason: the decision that asked for that number; None: the last one is told.
        """
        shown = self._shown.setdefault(key, _Shown())
        decision = reason or shown.decision
        why = "spec.workers.replicas says so"
        if decision and decision.reason != "Steady":
            why = f"{decision.reason}: {decision.message}"
        message = f"from {before} to {now} {'worker' if now == 1 else 'workers'}: {why}"
        fields = {"namespace": key.namespace, "queue": key.name}
        logger.info("scaled %s", message, extra=fields)
        moment = asyncio.get_running_loop().time()
        if moment - shown.told < TOLD_SECONDS:
            return
        shown.told = moment
        try:
            await self._cluster.post_event(body, warning=False, reason="Scaled", message=message)
        except NamespaceTerminatingError:
            return
        except ClusterError as error:
            logger.warning("Event not posted: %s", error, extra=fields)
