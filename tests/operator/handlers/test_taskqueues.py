"""The deletion of a TaskQueue, as Kopf asks for it again and again."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import kopf
import pytest

from taskqueue_operator.handlers import taskqueues
from taskqueue_operator.services.taskqueues import TaskQueues
from taskqueue_operator.services.teardown import NotYetError, Teardown
from tests.operator.builders import build_taskqueue


class FakeTeardown(Teardown):
    """One that is never done, and keeps how long it had waited each time."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    async def run(self, body: Mapping[str, Any], waited: float) -> None:  # noqa: ARG002
        self.waited.append(waited)
        raise NotYetError("the broker is away")


def find_handler(registry: kopf.OperatorRegistry, name: str) -> Any:
    (found,) = [one for one in registry._changing.get_all_handlers() if one.id == name]
    return found.fn


@pytest.mark.parametrize("stamp", ["2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"])
async def test_patience_is_no_matter_of_the_clocks_of_two_machines(stamp: str) -> None:
    registry, teardown = kopf.OperatorRegistry(), FakeTeardown()
    lock = asyncio.Lock()
    queues = cast(TaskQueues, SimpleNamespace(lock=lambda _: lock))
    taskqueues.register(registry, queues, teardown)
    delete = find_handler(registry, "delete")
    memo, body = kopf.Memo(), build_taskqueue(metadata={"deletionTimestamp": stamp})
    await lock.acquire()
    waiting = asyncio.create_task(delete(body=body, memo=memo))
    await asyncio.sleep(100)  # a reconcile that takes long is not held against it
    lock.release()
    with pytest.raises(kopf.TemporaryError, match="the broker is away"):
        await waiting
    await asyncio.sleep(30)
    with pytest.raises(kopf.TemporaryError):
        await delete(body=body, memo=memo)
    with pytest.raises(kopf.TemporaryError):
        await delete(body=body, memo=kopf.Memo())  # another TaskQueue
    assert teardown.waited == pytest.approx([0, 30, 0])
