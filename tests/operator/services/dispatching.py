"""A dispatcher with an API server and a RabbitMQ of its own, in memory."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from taskqueue_api.conditions import rfc3339_milli
from taskqueue_api.messages import TaskUid
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.services.dispatcher import Dispatcher
from taskqueue_operator.services.lanes import Gate
from taskqueue_operator.services.task_writer import TaskWriter
from tests.operator.builders import CLUSTER, KEY, NOW, build_rng, build_task
from tests.operator.clock import settle
from tests.operator.fakes import FakeCluster
from tests.operator.rabbit import FakeLink, FakeRabbit

WORK = "tq.shop.emails"
SECOND = timedelta(seconds=1)
EARLIER = NOW - timedelta(minutes=10)
OTHER = QueueKey("shop", "other")
RUNNING = {"phase": "Running", "attempts": 2, "worker": {"pod": "p", "instance": "i"}}
NEXT = timedelta(minutes=2)
"""How long after NOW the next attempt of a Task in phase Retrying starts."""


def build_retrying(
    name: str = "welcome",
    *,
    attempts: int = 1,
    due: timedelta = NEXT,
    status: Mapping[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Return a Task whose attempt failed; due: when the next one starts, after NOW."""
    retrying = {
        "phase": "Retrying",
        "attempts": attempts,
        "nextAttemptTime": rfc3339_milli(NOW + due),
        "error": {"type": "Boom", "message": "why"},
    }
    return build_task(name, status={**retrying, **(status or {})}, **changes)


class World:
    """A dispatcher with an API server and a RabbitMQ of its own; it started at NOW.

    now: what the dispatcher takes for the API server's time.
    leads: whether it may publish.
    """

    def __init__(self) -> None:
        self.now = NOW
        self.leads: Callable[[], bool] = lambda: True
        self.rabbit = FakeRabbit(WORK, "tq.shop.other")
        self.link = FakeLink(self.rabbit)
        self.cluster = FakeCluster()
        self.writer = TaskWriter(self.cluster, build_rng())
        self.troubles: list[QueueKey] = []
        self.dispatcher = Dispatcher(
            cluster_uid=CLUSTER,
            started=NOW,
            now=lambda: self.now,
            leads=lambda: self.leads(),
            writer=self.writer,
            on_trouble=self.troubles.append,
        )

    def create(self, *names: str, listed: bool = False, **changes: Any) -> None:
        """Let Tasks appear."""
        for name in names:
            body = self.cluster.add(build_task(name, **changes))
            self.dispatcher.task_seen(body, listed=listed)

    def fail(self, name: str = "a", *, listed: bool = False, **changes: Any) -> None:
        """Let an attempt of a Task fail that is followed by another."""
        body = self.cluster.add(build_retrying(name, **changes))
        self.dispatcher.task_seen(body, listed=listed)

    def leave(self, name: str) -> None:
        """Let a Task leave Pending."""
        self.cluster.find("Task", name)["status"]["phase"] = "Running"
        self.dispatcher.task_left(self.uid(name))

    def uid(self, name: str) -> TaskUid:
        """Return the UID of a Task."""
        return TaskUid(f"uid-{name}")

    def open(
        self,
        key: QueueKey = KEY,
        *,
        through: datetime | None = None,
        link: FakeLink | None = None,
        ceiling: timedelta = timedelta(minutes=5),
    ) -> None:
        """Open a queue's gate."""
        self.dispatcher.open(
            key, Gate(link=link or self.link, ceiling=ceiling, dispatched_through=through)
        )

    def status(self, name: str) -> dict[str, Any]:
        """Return a Task's status."""
        status: dict[str, Any] = self.cluster.find("Task", name)["status"]
        return status

    def dispatched(self, name: str) -> tuple[str, str] | None:
        """Return status and reason of a Task's condition Dispatched."""
        for item in self.status(name)["conditions"]:
            if item["type"] == "Dispatched":
                return item["status"], item["reason"]
        return None


async def lose_channel(world: World) -> None:
    """Let RabbitMQ close the channel before it confirms."""
    await settle()
    world.rabbit.channels[-1].die(ConnectionResetError("gone"))
    world.rabbit.silent.clear()
    await settle()
    world.open()
