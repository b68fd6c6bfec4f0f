"""The deletion of a TaskQueue, as Kopf asks for it again and again."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import kopf
import pytest

from taskqueue_operator.handlers import taskqueues
from taskqueue_operator.services.taskqueues import TaskQueues
from taskqueue_operator.services.teardown import DrainingError, NotYetError, Teardown
from tests.operator.builders import build_taskqueue


class FakeTeardown(Teardown):
    """One that is never done, and keeps how long it had waited each time."""

    def __init__(self, error: NotYetError) -> None:
        self.error = error
        self.waited: list[float] = []

    async def run(self, body: Mapping[str, Any], waited: float) -> None:  # noqa: ARG002
        self.waited.append(waited)
        raise self.error


def find_handler(registry: kopf.OperatorRegistry, name: str) -> Any:
    (found,) = [one for one in registry._changing.get_all_handlers() if one.id == name]
    return found.fn


def register(teardown: FakeTeardown, lock: asyncio.Lock) -> Any:
    """Return the handler of deletions."""
    registry = kopf.OperatorRegistry()
    queues = cast(TaskQueues, SimpleNamespace(lock=lambda _: lock))
    taskqueues.register(registry, queues, teardown)
    return find_handler(registry, "delete")


async def test_patience_begins_when_the_workers_have_finished(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    teardown = FakeTeardown(DrainingError("1 worker finishes"))
    delete, memo, body = register(teardown, asyncio.Lock()), kopf.Memo(), build_taskqueue()
    for error in (teardown.error, teardown.error, NotYetError("away"), NotYetError("away")):
        teardown.error = error
        with pytest.raises(kopf.TemporaryError):
            await delete(body=body, memo=memo)
        await asyncio.sleep(30)
    assert teardown.waited == pytest.approx([0, 0, 0, 30])
    said = [record.getMessage() for record in caplog.records]
    assert said == ["not deleted yet: 1 worker finishes", "not deleted yet: away"]


@pytest.mark.parametrize("stamp", ["2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"])
async def test_patience_is_no_matter_of_the_clocks_of_two_machines(stamp: str) -> None:
    lock, teardown = asyncio.Lock(), FakeTeardown(NotYetError("the broker is away"))
    delete = register(teardown, lock)
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
