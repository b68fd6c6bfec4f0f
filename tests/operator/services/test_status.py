"""The status of TaskQueues is written on change only, and seldom."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from taskqueue_api.conditions import Condition
from taskqueue_api.taskqueue import TaskCounts, WorkerCounts
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.errors import (
    ClusterError,
    ClusterUnavailableError,
    ConflictError,
    NotFoundError,
)
from taskqueue_operator.services.status import StatusBoard
from tests.operator.builders import KEY, NOW, build_taskqueue
from tests.operator.fakes import FakeCluster


def ready(reason: str = "Ready", message: str = "fine") -> Condition:
    status = "True" if reason == "Ready" else "False"
    return Condition(type="Ready", status=status, reason=reason, message=message)


OLD = {
    "type": "BrokerReady",
    "status": "True",
    "reason": "QueuesDeclared",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


class World:
    """A board that writes, with one TaskQueue on it."""

    def __init__(self) -> None:
        self.cluster = FakeCluster(build_taskqueue(status={"conditions": [OLD]}))
        self.board = StatusBoard(self.cluster)
        self.board.seen(KEY, self.cluster.find("TaskQueue", "emails"))

    @property
    def writes(self) -> int:
        """Writes of status so far."""
        return self.cluster.count("apply")

    @property
    def status(self) -> dict[str, Any]:
        """The status as it is stored."""
        status: dict[str, Any] = self.cluster.find("TaskQueue", "emails")["status"]
        return status


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    writing = asyncio.create_task(world.board.run())
    yield world
    writing.cancel()


async def test_everything_gathered_is_written_at_once(world: World) -> None:
    world.board.conditions(KEY, 3, [ready()])
    world.board.counts(KEY, TaskCounts(pending=2))
    world.board.workers(KEY, WorkerCounts(desired=1, ready=1))
    world.board.dispatched_through(KEY, NOW)
    await asyncio.sleep(60)
    assert world.writes == 1
    assert world.status["observedGeneration"] == 3
    assert world.status["tasks"]["pending"] == 2
    assert world.status["workers"]["ready"] == 1
    assert world.status["dispatchedThrough"] == "2026-01-02T12:00:00Z"
    assert world.status["conditions"][0]["reason"] == "Ready"
    assert world.status["conditions"][0]["lastTransitionTime"]


async def test_what_has_not_changed_is_not_written(world: World) -> None:
    await asyncio.sleep(60)
    assert world.writes == 0
    for _ in range(10):
        world.board.conditions(KEY, 1, [ready()])
        world.board.counts(KEY, TaskCounts(pending=1))
        await asyncio.sleep(6)
    assert world.writes == 1


async def test_what_was_stored_before_we_started_is_not_written_again(world: World) -> None:
    world.board.conditions(KEY, 1, [ready()])
    await asyncio.sleep(10)
    board = StatusBoard(world.cluster)
    board.seen(KEY, world.cluster.find("TaskQueue", "emails"))
    board.conditions(KEY, 1, [ready()])
    await board.flush()
    assert world.writes == 1


async def test_one_taskqueue_is_written_at_most_every_5_s(world: World) -> None:
    for number in range(1000):
        world.board.counts(KEY, TaskCounts(pending=number))
        await asyncio.sleep(0.02)
    assert world.writes in (4, 5)
    await asyncio.sleep(6)
    assert world.status["tasks"]["pending"] == 999


async def test_all_taskqueues_together_are_written_at_most_5_times_a_second(world: World) -> None:
    keys = [QueueKey("shop", f"q{number:02}") for number in range(60)]
    for key in keys:
        metadata = {"name": key.name, "uid": key.name}
        body = world.cluster.add(build_taskqueue(metadata=metadata, status={"conditions": [OLD]}))
        world.board.seen(key, body)
        world.board.counts(key, TaskCounts(pending=1))
    await asyncio.sleep(2)
    assert 9 <= world.writes <= 10
    await asyncio.sleep(11)
    assert world.writes == 60
    assert len({item.name for item in world.cluster.requests}) == 60


async def test_the_one_written_longest_ago_comes_first(world: World) -> None:
    names = ["a", "b"]
    for name in names:
        body = world.cluster.add(build_taskqueue(metadata={"name": name, "uid": name}))
        world.board.seen(QueueKey("shop", name), body)
    for number in range(3000):
        for name in names:
            world.board.counts(QueueKey("shop", name), TaskCounts(pending=number))
        await asyncio.sleep(0.01)
    written = [item.name for item in world.cluster.requests]
    assert abs(written.count("a") - written.count("b")) <= 1


async def test_each_change_of_ready_s_reason_is_an_event(world: World) -> None:
    for reason in ("WorkersStarting", "Ready", "Ready", "AuthenticationFailed", "Ready"):
        world.board.conditions(KEY, 1, [ready(reason, f"it is {reason}")])
        await asyncio.sleep(10)
    assert world.cluster.events == [
        ("Normal", "WorkersStarting", "it is WorkersStarting"),
        ("Normal", "Ready", "it is Ready"),
        ("Warning", "AuthenticationFailed", "it is AuthenticationFailed"),
        ("Normal", "Ready", "it is Ready"),
    ]


async def test_another_message_or_another_condition_is_no_event(world: World) -> None:
    world.board.conditions(KEY, 1, [ready()])
    await asyncio.sleep(10)
    other = ready("Declared").model_copy(update={"type": "BrokerReady"})
    world.board.conditions(KEY, 1, [ready(message="still fine"), other])
    await asyncio.sleep(10)
    assert world.writes == 2
    assert len(world.cluster.events) == 1


@pytest.mark.parametrize(
    "error",
    [
        ClusterUnavailableError(503, "away"),
        ClusterError(403, "forbidden"),
        ConflictError(409, "conflict"),
    ],
    ids=["away", "forbidden", "conflict"],
)
async def test_a_write_that_fails_is_made_again_later(world: World, error: ClusterError) -> None:
    world.cluster.faults["apply"] = [error, error]
    world.board.conditions(KEY, 1, [ready()])
    await asyncio.sleep(4)
    assert world.writes == 1
    await asyncio.sleep(20)
    assert world.writes == 3
    assert world.status["conditions"][0]["reason"] == "Ready"
    assert len(world.cluster.events) == 1


async def test_a_taskqueue_that_is_gone_is_not_written_again(world: World) -> None:
    world.cluster.faults["apply"] = [NotFoundError(404, "gone")] * 100
    world.board.counts(KEY, TaskCounts(pending=1))
    await asyncio.sleep(60)
    assert world.writes == 1


async def test_an_event_that_cannot_be_posted_stops_nothing(world: World) -> None:
    world.cluster.faults["event"] = [ClusterError(403, "forbidden")]
    world.board.conditions(KEY, 1, [ready()])
    await asyncio.sleep(10)
    world.board.conditions(KEY, 1, [ready("AuthenticationFailed")])
    await asyncio.sleep(10)
    assert world.writes == 2
    assert [event[1] for event in world.cluster.events] == ["AuthenticationFailed"]


async def test_what_somebody_wrote_over_it_is_put_right(world: World) -> None:
    world.board.counts(KEY, TaskCounts(pending=7))
    await asyncio.sleep(10)
    world.status["tasks"]["pending"] = 0
    world.board.seen(KEY, world.cluster.find("TaskQueue", "emails"))
    await asyncio.sleep(10)
    assert world.status["tasks"]["pending"] == 7


async def test_a_taskqueue_made_anew_starts_anew(world: World) -> None:
    world.board.counts(KEY, TaskCounts(pending=7))
    body = world.cluster.add(build_taskqueue(metadata={"uid": "another"}))
    world.board.seen(KEY, body)
    await asyncio.sleep(10)
    assert world.writes == 0


async def test_a_forgotten_taskqueue_is_not_written(world: World) -> None:
    world.board.counts(KEY, TaskCounts(pending=7))
    world.board.gone(KEY)
    world.board.gone(KEY)
    world.board.counts(KEY, TaskCounts(pending=8))
    world.board.conditions(KEY, 1, [ready()])
    await asyncio.sleep(10)
    assert world.writes == 0


async def test_a_clean_stop_writes_what_is_left_at_once(world: World) -> None:
    world.board.counts(KEY, TaskCounts(pending=1))
    await asyncio.sleep(1)
    world.board.dispatched_through(KEY, NOW + timedelta(minutes=1))
    await world.board.flush()
    assert world.writes == 2
    assert world.status["dispatchedThrough"] == "2026-01-02T12:01:00Z"


async def test_nothing_is_written_before_a_reconcile_has_found_how_it_is(world: World) -> None:
    world.cluster.add(build_taskqueue(status={}))
    world.board.gone(KEY)
    world.board.seen(KEY, world.cluster.find("TaskQueue", "emails"))
    world.board.counts(KEY, TaskCounts(pending=1))
    await asyncio.sleep(60)
    assert world.writes == 0
    world.board.conditions(KEY, 1, [ready()])
    await asyncio.sleep(0.3)
    assert world.writes == 1
    assert world.status["tasks"]["pending"] == 1


async def test_another_reason_of_ready_is_written_within_a_second(world: World) -> None:
    world.board.conditions(KEY, 1, [ready("WorkersStarting")])
    await asyncio.sleep(0.3)
    world.board.counts(KEY, TaskCounts(pending=1))
    await asyncio.sleep(1.5)
    assert world.writes == 1
    world.board.conditions(KEY, 1, [ready()])
    await asyncio.sleep(0.3)
    assert world.writes == 2
    assert world.status["conditions"][0]["reason"] == "Ready"
    world.board.counts(KEY, TaskCounts(pending=2))
    await asyncio.sleep(1.5)
    assert world.writes == 2
