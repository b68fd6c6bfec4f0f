"""Keeps the number of worker pods of each TaskQueue as its backlog, or its spec, wants it.

At once when a Task comes for a queue that could have more pods; every few seconds for all, since
outside producers send messages too, and time alone is a reason.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from taskqueue_api.taskqueue import TaskQueueSpec
from taskqueue_operator.domain.demand import Demand
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.domain.pod_shares import Want, apply_cap, share
from taskqueue_operator.domain.scaling import (
    Decision,
    Policy,
    decide,
    lacks_confirmation,
    read_policy,
)
from taskqueue_operator.domain.scaling_history import Fault, History, Observation, Reading
from taskqueue_operator.errors import ClusterError, ConfigurationError
from taskqueue_operator.services.backlogs import Backlogs
from taskqueue_operator.services.scaling_reports import ScalingReports, Workers

EVERY_SECONDS = 5.0

ASK_SECONDS = 15.0
"""Between two times that a queue is asked whether it is empty indeed: that takes a connection."""

GATHER_SECONDS = 0.02
"""Tasks come in bunches; one decision for all of them."""

logger = logging.getLogger(__name__)


@dataclass
class Scaled:
    """One TaskQueue.

    policy: None: it has as many pods as `fixed` says.
    replicas: the pods that are wanted, within the cap; None: not decided yet.
    applied: what the Deployment was last given; None: it is to be made anew first.
    told: the number of pods that people know of; None: none yet.
    ready: pods that consume.
    reasons: why so many pods were wanted, by their number, since the Deployment was given one.
    ask_at: loop time from which on RabbitMQ may be asked again whether the queue is empty indeed.
    """

    body: Mapping[str, Any]
    policy: Policy | None
    fixed: int
    paused: bool
    slots: int
    replicas: int | None = None
    applied: int | None = None
    told: int | None = None
    desired: int = 0
    ready: int = 0
    fault: Fault | None = None
    history: History = field(default_factory=History)
    reasons: dict[int, Decision] = field(default_factory=dict)
    ask_at: float = 0.0
    applying: "asyncio.Task[None] | None" = None


class Scaler:
    """Decides for all TaskQueues.

    demand: what is due of a TaskQueue; the number is where to stop counting.
    apply: gives a TaskQueue's Deployment the number of pods that `replicas` returns.
    cap: worker pods in all; None: no limit.
    """

    def __init__(
        self,
        *,
        demand: Callable[[QueueKey, int | None], Demand],
        backlogs: Backlogs,
        apply: Callable[[QueueKey], Awaitable[None]],
        reports: ScalingReports,
        cap: int | None,
    ) -> None:
        self._demand = demand
        self._backlogs = backlogs
        self._apply = apply
        self._reports = reports
        self._cap = cap
        self._queues: dict[QueueKey, Scaled] = {}
        self._dirty: set[QueueKey] = set()
        self._work_came = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def configure(self, key: QueueKey, body: Mapping[str, Any], spec: TaskQueueSpec) -> None:
        """Take note of what a TaskQueue asks for.

        The pods that it wants now come with the reconcile that follows: here they would still be
        made as the spec was before.
        """
        workers = spec.workers
        policy, slots = read_policy(workers), workers.concurrency
        queue = self._queues.get(key)
        if queue is None:
            self._queues[key] = Scaled(body, policy, workers.replicas, spec.paused, slots)
            return
        changed = (queue.policy, queue.fixed, queue.paused) != (
            policy,
            workers.replicas,
            spec.paused,
        )
        queue.body, queue.policy, queue.fixed = body, policy, workers.replicas
        queue.paused, queue.slots = spec.paused, slots
        if changed and queue.replicas is not None:
            queue.applied = None
            self._decide(key, queue)

    def start(self, key: QueueKey, replicas: int) -> None:
        """Decide for the first time. replicas: the pods there are."""
        queue = self._queues.get(key)
        if queue is not None:
            queue.replicas = replicas
            # That a fixed number of workers is there for the first time is no news.
            queue.told = replicas if queue.policy else None
            self._decide(key, queue)

    def replicas(self, key: QueueKey) -> int | None:
        """Return the wanted pods; None: `start` is to be called first."""
        queue = self._queues.get(key)
        return queue.replicas if queue else None

    def applied(self, key: QueueKey, replicas: int) -> None:
        """Take note of what a Deployment was given."""
        queue = self._queues.get(key)
        if queue is None:
            return
        before, queue.applied, queue.told = queue.told, replicas, replicas
        reason = queue.reasons.get(replicas)
        # That of another number, which is wanted meanwhile, is told with it.
        wanted = queue.replicas
        kept = queue.reasons.get(wanted) if wanted is not None and wanted != replicas else None
        queue.reasons = {kept.replicas: kept} if kept else {}
        if before is not None and before != replicas:
            self._start(self._reports.scaled(key, queue.body, before, replicas, reason))

    def found(self, key: QueueKey, ready: int, fault: Fault | None) -> None:
        """Take note of how the pods are."""
        queue = self._queues.get(key)
        if queue is not None:
            queue.ready, queue.fault = ready, fault

    def forget(self, key: QueueKey) -> None:
        """Forget a TaskQueue."""
        queue = self._queues.pop(key, None)
        if queue is not None:
            self._reports.forget(key)
            if queue.applying:
                queue.applying.cancel()

    def keys(self) -> dict[QueueKey, bool]:
        """Return the TaskQueues, and whether each is scaled by its backlog."""
        return {key: queue.policy is not None for key, queue in self._queues.items()}

    def work_came(self, key: QueueKey) -> None:
        """Take note that there is a Task more."""
        queue = self._queues.get(key)
        if queue is None or queue.policy is None or queue.paused:
            return
        if queue.replicas is not None and queue.replicas < queue.policy.maximum:
            self._dirty.add(key)
            self._work_came.set()

    def look(self) -> None:
        """Decide for all, soon: the backlogs were read."""
        self._dirty |= self._queues.keys()
        self._work_came.set()

    async def run(self) -> None:
        """Decide, for ever."""
        loop = asyncio.get_running_loop()
        turn = loop.time() + EVERY_SECONDS
        while True:
            try:
                async with asyncio.timeout_at(turn):
                    await self._work_came.wait()
            except TimeoutError:
                self._dirty |= self._queues.keys()
            await asyncio.sleep(GATHER_SECONDS)
            self._work_came.clear()
            dirty, self._dirty = self._dirty, set()
            next_due = [self._look_at(key, whole=loop.time() >= turn) for key in dirty]
            if loop.time() >= turn:
                turn = loop.time() + EVERY_SECONDS
            turn = min([turn, *(loop.time() + one for one in next_due if one is not None)])

    def _look_at(self, key: QueueKey, *, whole: bool) -> float | None:
        """Decide for one TaskQueue; return in how many seconds another of its Tasks is due."""
        queue = self._queues.get(key)
        if queue is None or queue.replicas is None:
            return None
        demand = self._decide(key, queue, whole=whole)
        return demand.next_due if queue.policy else None

    def _decide(self, key: QueueKey, queue: Scaled, *, whole: bool = True) -> Demand:
        """Decide for one TaskQueue, and have that applied. whole: count all of its Tasks."""
        policy = queue.policy
        most = None if whole or policy is None else policy.maximum * policy.per_pod
        demand = self._demand(key, most)
        reading = self._backlogs.reading(key)
        seen = Reading(reading.messages, reading.moment) if reading else None
        observation = self._observe(queue, demand, seen)
        decision = self._decide_alone(queue, observation)
        if lacks_confirmation(observation, decision) and queue.ask_at <= self._moment():
            queue.ask_at = float("inf")
            self._start(self._confirm(key, queue, observation))
        self._take(key, queue, decision)
        if whole:
            workers = Workers(queue.replicas or 0, queue.ready, queue.slots)
            self._reports.measured(key, workers, demand, reading)
        return demand

    def _observe(self, queue: Scaled, demand: Demand, seen: Reading | None) -> Observation:
        return Observation(
            due=demand.due,
            broker=seen,
            replicas=queue.replicas or 0,
            ready=queue.ready,
            busy=demand.running,
            fault=queue.fault,
            paused=queue.paused,
        )

    def _decide_alone(self, queue: Scaled, observation: Observation) -> Decision:
        """Return what a TaskQueue wants, without the cap."""
        if queue.policy is None:
            if queue.paused:
                return Decision(0, "Paused", "spec.paused is true")
            return Decision(queue.fixed, "Steady", "spec.workers.replicas says so")
        decision, queue.history = decide(observation, queue.history, queue.policy, self._moment())
        return decision

    @staticmethod
    def _moment() -> float:
        return asyncio.get_running_loop().time()

    async def _confirm(self, key: QueueKey, queue: Scaled, observation: Observation) -> None:
        """Decide again, if RabbitMQ says by another means too that a queue is empty."""
        reading = observation.broker
        try:
            empty = await self._backlogs.is_empty(key)
        finally:
            queue.ask_at = self._moment() + ASK_SECONDS
        if reading is None or not empty:
            return
        queue.ask_at = self._moment()  # what is in the way of more is time, not the answer
        if self._queues.get(key) is queue and queue.replicas is not None:
            demand = self._demand(key, None)
            sure = reading._replace(confirmed=True)
            self._take(key, queue, self._decide_alone(queue, self._observe(queue, demand, sure)))

    def _take(self, key: QueueKey, queue: Scaled, decision: Decision) -> None:
        """Make a decision count, within the cap."""
        before, queue.desired = queue.replicas, decision.replicas
        if self._cap is not None:
            self._share_out(self._cap)
            granted = queue.replicas if queue.replicas is not None else decision.replicas
            decision = apply_cap(decision, granted, self._cap)
        else:
            queue.replicas = decision.replicas
        if queue.replicas is not None and queue.replicas != before:
            queue.reasons[queue.replicas] = decision
        if queue.policy or decision.reason != "Steady":
            reading = self._backlogs.reading(key)
            generation = queue.body["metadata"]["generation"]
            self._reports.decided(key, generation, decision, reading.trouble if reading else "")
        else:
            self._reports.undecided(key)
        self._apply_soon(key, queue)

    def _share_out(self, cap: int) -> None:
        """Give each TaskQueue its part of the cap, of what it wants."""
        wants = {
            key: Want(one.policy.minimum if one.policy else one.fixed, one.desired)
            for key, one in self._queues.items()
            if one.replicas is not None
        }
        for key, pods in share(cap, wants).items():
            other = self._queues[key]
            if other.replicas != pods:
                other.replicas = pods
                self._apply_soon(key, other)

    def _apply_soon(self, key: QueueKey, queue: Scaled) -> None:
        if queue.applied is None or queue.applied == queue.replicas or queue.applying:
            return  # the reconcile that makes the Deployment does it, or what is under way
        queue.applying = self._start(self._insist(key, queue))

    async def _insist(self, key: QueueKey, queue: Scaled) -> None:
        """Give the Deployment its number of pods, until it is the wanted one."""
        try:
            while queue.applied is not None and queue.applied != queue.replicas:
                before = queue.applied
                await self._apply(key)
                if queue.applied == before:
                    return  # nobody applies any more: the TaskQueue is on its way out
        except (ClusterError, ConfigurationError) as error:
            # The next decision, or reconcile, tries again.
            fields = {"namespace": key.namespace, "queue": key.name}
            logger.warning("not scaled: %s", error, extra=fields)
        finally:
            queue.applying = None

    def _start(self, work: Any) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
