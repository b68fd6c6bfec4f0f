"""A dispatcher with an API server and a RabbitMQ of its own, in memory."""

from datetime import datetime, timedelta
from typing import Any

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


class World:
    """A dispatcher with an API server and a RabbitMQ of its own; it started at NOW."""

    def __init__(self) -> None:
        self.rabbit = FakeRabbit(WORK, "tq.shop.other")
        self.link = FakeLink(self.rabbit)
        self.cluster = FakeCluster()
        self.writer = TaskWriter(self.cluster, build_rng())
        self.troubles: list[QueueKey] = []
        self.dispatcher = Dispatcher(
            cluster_uid=CLUSTER,
            started=NOW,
            writer=self.writer,
            on_trouble=self.troubles.append,
        )

    def create(self, *names: str, listed: bool = False, **changes: Any) -> None:
        """Let Tasks appear."""
        for name in names:
            body = self.cluster.add(build_task(name, **changes))
            self.dispatcher.task_waiting(body, listed=listed)

    def leave(self, name: str) -> None:
        """Let a Task leave Pending."""
        self.cluster.find("Task", name)["status"]["phase"] = "Running"
        self.dispatcher.task_left(TaskUid(f"uid-{name}"))

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
