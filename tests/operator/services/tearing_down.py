"""A TaskQueue that is being deleted, in memory."""

from typing import Any

from taskqueue_operator.domain.workers import build_deployment
from taskqueue_operator.errors import (
    BrokerUnavailableError,
)
from taskqueue_operator.services.credentials import Credentials
from taskqueue_operator.services.dispatcher import Dispatcher
from taskqueue_operator.services.letter_limits import LetterLimits
from taskqueue_operator.services.status import StatusBoard
from taskqueue_operator.services.task_writer import TaskWriter
from taskqueue_operator.services.teardown import (
    Teardown,
)
from tests.operator.builders import (
    CLUSTER,
    DEFAULTS,
    KEY,
    NOW,
    OWNER,
    build_rng,
    build_secret,
    build_spec,
    build_taskqueue,
)
from tests.operator.clock import settle
from tests.operator.fakes import FakeCluster
from tests.operator.rabbit import FakeLink, FakeRabbit
from tests.operator.services.brokers import FakeBrokers

WORK, DEAD = "tq.shop.emails", "tqd.shop.emails"
USER = "tq.shop.emails.0b9f3c1e"
AWAY = BrokerUnavailableError("BrokerUnreachable", "cannot be reached")


class World:
    """A TaskQueue that is being deleted."""

    def __init__(self) -> None:
        self.rabbit = FakeRabbit("taskqueue.unrouted", WORK, DEAD, "tq.shop.other")
        self.cluster = FakeCluster(
            build_secret(), build_deployment(OWNER, build_spec(), DEFAULTS, "hash", 1)
        )
        self.brokers = FakeBrokers(self.cluster, FakeLink(self.rabbit))
        self.brokers.api.users = {USER: ("", {}, []), "other": ("", {}, [])}
        self.dispatcher = Dispatcher(
            cluster_uid=CLUSTER,
            started=NOW,
            now=lambda: NOW,
            writer=TaskWriter(self.cluster, build_rng()),
            on_trouble=lambda _key: None,
        )
        self.board = StatusBoard(self.cluster)
        self.board.seen(KEY, self.cluster.add(build_taskqueue()))
        self.teardown = Teardown(
            self.cluster,
            self.brokers,
            Credentials(self.cluster, self.brokers),
            LetterLimits(self.brokers),
            self.dispatcher,
            self.board,
            lambda: NOW,
        )

    async def run(
        self,
        policy: str = "DeleteIfEmpty",
        after: float = 0.0,
        status: dict[str, Any] | None = None,
        spec: dict[str, Any] | None = None,
    ) -> None:
        """Tear down, so many seconds after the first try."""
        body = build_taskqueue(
            status=status,
            spec={"deletionPolicy": policy, **(spec or {})},
            metadata={"deletionTimestamp": "2026-01-02T12:00:00Z"},
        )
        try:
            await self.teardown.run(body, after)
        finally:
            await self.dispatcher.stop(0)
            await settle()

    @property
    def left(self) -> set[str]:
        """The TaskQueue's queues that are still there."""
        return {WORK, DEAD} & set(self.rabbit.queues)

    @property
    def told(self) -> list[str]:
        """Reasons of Events."""
        return [event[1] for event in self.cluster.events]
