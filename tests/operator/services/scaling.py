"""A TaskQueue whose workers follow its backlog, with the loops that see to it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from taskqueue_operator.broker.management import QueueTotals
from taskqueue_operator.services.scaler import EVERY_SECONDS
from tests.operator.builders import KEY, build_task
from tests.operator.services.reconciling import WORK, World

QUICK = {
    "maxReplicas": 4,
    "scaleDown": {"stabilization": "10s"},
    "idleBeforeZero": "30s",
}


def spec(scaling: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    handlers = {"python": {"module": "shop.tasks"}}
    return {"workers": {"handlers": handlers, "scaling": {**QUICK, **(scaling or {})}}, **changes}


class Scaling(World):
    """A TaskQueue whose workers follow its backlog, and loops that run."""

    def __init__(self, cap: int | None = None) -> None:
        super().__init__(cap)
        self.brokers.api.totals = {WORK: QueueTotals(0, 0)}

    def come(self, *names: str, **fields: Any) -> None:
        """Let Tasks come."""
        for name in names:
            self.dispatcher.task_seen(build_task(name, **fields), listed=False)
            self.scaler.work_came(KEY)

    def finish(self, *names: str) -> None:
        """Let Tasks end."""
        for name in names:
            self.dispatcher.task_left(build_task(name)["metadata"]["uid"])

    @property
    def pods(self) -> int:
        """What the Deployment asks for."""
        return int(self.deployment["spec"]["replicas"])

    async def condition(self) -> tuple[str, str, str]:
        """Return status, reason and message of the condition."""
        await self.board.flush()
        conditions = self.cluster.find("TaskQueue", "emails")["status"]["conditions"]
        (found,) = [one for one in conditions if one["type"] == "Scaling"]
        return found["status"], found["reason"], found["message"]


async def running(world: Scaling) -> AsyncIterator[Scaling]:
    """Give it while its loops run."""
    loops = [asyncio.create_task(one.run()) for one in (world.scaler, world.backlogs)]
    yield world
    assert not any(one.done() for one in loops)
    for one in loops:
        one.cancel()
    await world.dispatcher.stop(0)
    world.scaler.forget(KEY)


async def rounds(number: float) -> None:
    """Let so many decisions come."""
    await asyncio.sleep(number * EVERY_SECONDS + 0.5)
