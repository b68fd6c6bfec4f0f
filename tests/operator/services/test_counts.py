"""Tasks are counted where something happened, and seldom enough."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from taskqueue_operator import metrics
from taskqueue_operator.domain.counting import Tally
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.errors import ClusterUnavailableError
from taskqueue_operator.services.counts import ALL_SECONDS, EVERY_SECONDS, Counts
from taskqueue_operator.services.status import StatusBoard
from tests.operator.builders import KEY, NOW, build_taskqueue
from tests.operator.fakes import FakeCluster


def table(*rows: tuple[str, str, str]) -> dict[str, Any]:
    return {
        "columnDefinitions": [{"name": name} for name in ("Name", "Queue", "Status")],
        "rows": [{"cells": list(row)} for row in rows],
    }


class World:
    """A counter of one TaskQueue's Tasks."""

    def __init__(self) -> None:
        self.cluster = FakeCluster(build_taskqueue())
        self.cluster.pages = [
            table(("a", "emails", "Pending"), ("c", "emails", "Retrying")),
            table(("b", "emails", "Failed")),
        ]
        self.board = StatusBoard(self.cluster)
        self.board.seen(KEY, build_taskqueue())
        self.pruned: list[tuple[str, set[str], datetime]] = []
        self.listed: list[tuple[str, set[str]]] = []
        self.fault: Exception | None = None
        self.clock = NOW
        self.counts = Counts(self.cluster, self.board, self.prune, lambda: self.clock, self.on_list)

    def prune(self, namespace: str, names: set[str], before: datetime) -> None:
        """Take note."""
        self.pruned.append((namespace, names, before))

    def on_list(self, namespace: str, tally: Tally) -> None:
        """Take note, or fail."""
        self.listed.append((namespace, tally.names))
        if self.fault:
            raise self.fault

    async def counted(self) -> dict[str, int]:
        """Return the counts that the TaskQueue's status shows."""
        await self.board.flush()
        found: dict[str, int] = self.cluster.find("TaskQueue", "emails")["status"]["tasks"]
        return found


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    counting = asyncio.create_task(world.counts.run())
    yield world
    counting.cancel()
    world.counts.queue_gone(KEY)


def metric(phase: str) -> float | None:
    labels = {"namespace": "shop", "queue": "emails", "phase": phase}
    return REGISTRY.get_sample_value("taskqueue_tasks", labels)


async def test_counts_reach_status_and_metrics(world: World) -> None:
    world.counts.queue_seen(KEY)
    await asyncio.sleep(EVERY_SECONDS + 1)
    assert await world.counted() == {
        "pending": 1,
        "running": 0,
        "retrying": 1,
        "succeeded": 0,
        "failed": 1,
        "cancelled": 0,
    }
    assert metric("retrying") == 1
    assert (metric("pending"), metric("running")) == (1, 0)


async def test_a_list_says_nothing_of_the_tasks_of_other_operators(world: World) -> None:
    # Nor does it then delete them.
    world.cluster.pages.append(table(("theirs", "letters", "Failed")))
    counts = Counts(
        world.cluster,
        world.board,
        world.prune,
        lambda: NOW,
        world.on_list,
        lambda queue: queue == KEY,
    )
    counts.changed("shop")
    counting = asyncio.create_task(counts.run())
    await asyncio.sleep(1)
    counting.cancel()
    assert world.listed == [("shop", {"a", "b", "c"})]


async def test_where_nothing_happens_is_counted_once_a_minute(world: World) -> None:
    # The deletion of a finished Task gives no event.
    world.counts.queue_seen(KEY)
    await asyncio.sleep(ALL_SECONDS - EVERY_SECONDS)
    world.counts.queue_seen(KEY)
    assert world.cluster.count("table") == 1
    await asyncio.sleep(10 * ALL_SECONDS)
    assert world.cluster.count("table") == pytest.approx(11, abs=1)


async def test_a_table_that_cannot_be_read_stops_nothing(world: World) -> None:
    pages, world.cluster.pages = world.cluster.pages, [{"columnDefinitions": []}]
    world.counts.queue_seen(KEY)
    await asyncio.sleep(EVERY_SECONDS + 1)
    assert world.pruned == []
    world.cluster.pages = pages
    await asyncio.sleep(EVERY_SECONDS + 1)
    assert (await world.counted())["pending"] == 1


async def test_a_busy_namespace_is_counted_every_few_seconds(world: World) -> None:
    for _ in range(1000):
        world.counts.changed("shop")
        await asyncio.sleep(0.1)
    assert world.cluster.count("table") == pytest.approx(100 / EVERY_SECONDS, abs=1)


async def test_counting_that_takes_long_is_done_more_seldom(world: World) -> None:
    gate = world.cluster.gates["table"] = asyncio.Event()
    world.counts.changed("shop")
    await asyncio.sleep(10)
    gate.set()
    world.counts.changed("shop")
    await asyncio.sleep(45)
    assert world.cluster.count("table") == 1
    await asyncio.sleep(100)
    assert world.cluster.count("table") == 2


async def test_a_namespace_that_takes_long_makes_no_other_wait_for_as_long(world: World) -> None:
    gate = world.cluster.gates["table"] = asyncio.Event()
    world.counts.changed("shop")
    await asyncio.sleep(10)
    gate.set()
    for _ in range(30):
        world.counts.changed("shop")
        world.counts.changed("small")
        await asyncio.sleep(1)
    namespaces = [namespace for namespace, _ in world.listed]
    assert namespaces.count("shop") == 1
    assert namespaces.count("small") >= 2


async def test_many_namespaces_leave_the_api_server_time_for_others(world: World) -> None:
    world.cluster.delays["table"] = 0.3
    begun = asyncio.get_running_loop().time()
    for _ in range(2000):
        for number in range(20):
            world.counts.changed(f"small-{number}")
        await asyncio.sleep(0.1)
    busy = 0.3 * world.cluster.count("table")
    assert busy / (asyncio.get_running_loop().time() - begun) == pytest.approx(1 / 3, abs=0.05)


async def test_what_is_not_listed_is_pruned_but_for_the_youngest(world: World) -> None:
    world.counts.changed("shop")
    await asyncio.sleep(EVERY_SECONDS + 1)
    ((namespace, names, before),) = world.pruned
    assert (namespace, names) == ("shop", {"a", "b", "c"})
    assert before == NOW - timedelta(minutes=1)


async def test_an_api_server_that_is_away_prunes_nothing_and_is_asked_again(world: World) -> None:
    world.cluster.faults["table"] = [ClusterUnavailableError(503, "away")]
    await asyncio.sleep(1)
    world.counts.queue_seen(KEY)
    await asyncio.sleep(EVERY_SECONDS)
    assert world.cluster.count("table") == 1
    assert world.pruned == []
    await asyncio.sleep(EVERY_SECONDS)
    assert (await world.counted())["pending"] == 1


async def test_a_taskqueue_that_is_gone_leaves_no_metric(world: World) -> None:
    world.counts.queue_gone(QueueKey("never", "seen"))
    world.counts.queue_seen(KEY)
    await asyncio.sleep(EVERY_SECONDS + 1)
    metrics.TASKS_DELETED.labels(*KEY, "age").inc()
    world.counts.queue_gone(KEY)
    assert [metric(phase) for phase in ("pending", "retrying", "failed")] == [None] * 3
    labels = {"namespace": "shop", "queue": "emails", "reason": "age"}
    assert REGISTRY.get_sample_value("taskqueue_tasks_deleted_total", labels) is None
    world.counts.queue_gone(KEY)


async def test_a_taskqueue_that_is_gone_before_it_was_counted_is_fine(world: World) -> None:
    world.counts.queue_seen(KEY)
    world.counts.queue_gone(KEY)
    await asyncio.sleep(EVERY_SECONDS + 1)
    assert metric("pending") is None


async def test_a_complete_list_is_handed_on(world: World) -> None:
    world.counts.changed("shop")
    await asyncio.sleep(EVERY_SECONDS + 1)
    assert world.listed == [("shop", {"a", "b", "c"})]
    world.cluster.faults["table"] = [ClusterUnavailableError(503, "away")]
    world.counts.changed("shop")
    await asyncio.sleep(EVERY_SECONDS)
    assert len(world.listed) == 1


async def test_trouble_with_what_is_listed_does_not_stop_counting(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.fault = RuntimeError("boom")
    world.counts.queue_seen(KEY)
    await asyncio.sleep(EVERY_SECONDS + 1)
    assert (await world.counted())["failed"] == 1
    assert "boom" in caplog.text
    world.counts.changed("shop")
    await asyncio.sleep(EVERY_SECONDS)
    assert world.cluster.count("table") == 2


async def test_a_namespace_at_rest_is_listed_when_it_was_asked_for(world: World) -> None:
    world.counts.look_again("shop", NOW + timedelta(minutes=20))
    world.counts.look_again("shop", NOW + timedelta(minutes=10))
    world.counts.look_again("shop", NOW + timedelta(minutes=30))
    await asyncio.sleep(1000)
    assert world.cluster.count("table") == 0
    world.clock = NOW + timedelta(minutes=10)
    await asyncio.sleep(EVERY_SECONDS)
    assert world.listed == [("shop", {"a", "b", "c"})]
    # What is wanted after that, the list itself says.
    world.clock = NOW + timedelta(minutes=60)
    await asyncio.sleep(1000)
    assert world.cluster.count("table") == 1


async def test_a_list_that_was_asked_for_and_fails_is_made_later(world: World) -> None:
    world.cluster.faults["table"] = [ClusterUnavailableError(503, "away")]
    world.counts.look_again("shop", NOW)
    await asyncio.sleep(3 * EVERY_SECONDS)
    assert world.cluster.count("table") == 2
    assert len(world.listed) == 1
