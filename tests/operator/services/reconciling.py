"""One TaskQueue and all that the operator has for it, in memory."""

import copy
from typing import Any

from taskqueue_operator.domain.ladder import build_ladder
from taskqueue_operator.services.backlogs import Backlogs
from taskqueue_operator.services.children import Children
from taskqueue_operator.services.counts import Counts
from taskqueue_operator.services.credentials import Credentials
from taskqueue_operator.services.dead_letters import DeadLetters
from taskqueue_operator.services.deletion_costs import DeletionCosts
from taskqueue_operator.services.dispatcher import Dispatcher
from taskqueue_operator.services.letter_limits import LetterLimits
from taskqueue_operator.services.requests import Requests
from taskqueue_operator.services.scaler import Scaler
from taskqueue_operator.services.scaling_reports import ScalingReports
from taskqueue_operator.services.status import StatusBoard
from taskqueue_operator.services.task_writer import TaskWriter
from taskqueue_operator.services.taskqueues import TaskQueues
from taskqueue_operator.services.workers import Workers
from tests.operator.builders import (
    CLUSTER,
    DEFAULTS,
    KEY,
    NOW,
    build_rng,
    build_secret,
    build_taskqueue,
)
from tests.operator.fakes import FakeCluster
from tests.operator.rabbit import FakeLink, FakeRabbit
from tests.operator.services.brokers import FakeBrokers

WORK = "tq.shop.emails"


class World:
    """One TaskQueue and all that the operator has for it; the operator started at NOW."""

    def __init__(self, cap: int | None = None) -> None:
        self.now = NOW
        self.rabbit = FakeRabbit()
        self.link = FakeLink(self.rabbit)
        self.cluster = FakeCluster(build_secret(), build_taskqueue())
        self.brokers = FakeBrokers(self.cluster, self.link)
        self.requests = Requests(build_rng())
        self.dispatcher = Dispatcher(
            cluster_uid=CLUSTER,
            started=NOW,
            now=lambda: self.now,
            writer=TaskWriter(self.cluster, build_rng()),
            on_trouble=self.requests.trouble,
        )
        self.board = StatusBoard(self.cluster)
        self.counts = Counts(
            self.cluster, self.board, lambda *_: None, lambda: NOW, lambda *_: None
        )
        self.backlogs = Backlogs(self.brokers, lambda: self.scaler.keys(), lambda: None)
        self.dead_letters = DeadLetters(
            self.cluster, self.brokers, self.board, self.backlogs.reading
        )
        self.scaler = Scaler(
            demand=self.dispatcher.demand,
            backlogs=self.backlogs,
            apply=lambda key: self.queues.scale(key),
            reports=ScalingReports(self.cluster, self.board),
            cap=cap,
        )
        self.queues = TaskQueues(
            brokers=self.brokers,
            credentials=Credentials(self.cluster, self.brokers),
            workers=Workers(
                cluster=self.cluster,
                children=Children(self.cluster),
                board=self.board,
                scaler=self.scaler,
                spare_busy=DeletionCosts(self.cluster, lambda: NOW).mark,
                defaults=DEFAULTS,
                now=lambda: NOW,
            ),
            scaler=self.scaler,
            backlogs=self.backlogs,
            dispatcher=self.dispatcher,
            board=self.board,
            counts=self.counts,
            dead_letters=self.dead_letters,
            limits=LetterLimits(self.brokers),
            requests=self.requests,
            cluster_uid=CLUSTER,
        )
        self.requests.serve(self.queues.reconcile)

    async def reconcile(self, **changes: Any) -> dict[str, tuple[str, str]]:
        """Let the TaskQueue be seen and reconciled; return its conditions."""
        self.queues.seen(self.cluster.add(build_taskqueue(**changes)))
        await self.queues.reconcile(KEY)
        return await self.conditions()

    def declare_as_before(self) -> None:
        """Let the operator before have declared everything."""
        for name in (WORK, *(level.queue.name for level in build_ladder())):
            self.rabbit.queues[name] = {}

    async def conditions(self) -> dict[str, tuple[str, str]]:
        """Return status and reason of each condition."""
        await self.board.flush()
        found = self.cluster.find("TaskQueue", "emails").get("status", {}).get("conditions", [])
        return {item["type"]: (item["status"], item["reason"]) for item in found}

    @property
    def deployment(self) -> dict[str, Any]:
        """The workers' Deployment."""
        return self.cluster.find("Deployment", "tq-emails")

    @property
    def secret_version(self) -> str:
        """What the pods say of the Secret that they run with."""
        annotations = self.deployment["spec"]["template"]["metadata"]["annotations"]
        return str(annotations["taskqueue.dev/broker-secret-version"])

    def workers_ready(self, number: int = 1) -> None:
        """Let so many workers be there, all started."""
        body = self.deployment
        body["status"] = {
            "observedGeneration": body["metadata"]["generation"],
            "replicas": number,
            "readyReplicas": number,
            "updatedReplicas": number,
        }
        self.queues.child_seen(copy.deepcopy(body), deleted=False)
