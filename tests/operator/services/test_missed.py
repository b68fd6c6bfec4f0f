"""TaskQueues that are gone without an event are forgotten; no others are."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.errors import ClusterUnavailableError
from taskqueue_operator.services.missed import EVERY_SECONDS, MissedDeletions
from tests.operator.builders import KEY, build_taskqueue
from tests.operator.services.reconciling import World

OTHER = QueueKey("shop", "other")


@pytest.fixture
async def world(reconciling_world: World) -> AsyncIterator[World]:
    world = reconciling_world
    missed = MissedDeletions(world.cluster, [], world.queues)
    comparing = asyncio.create_task(missed.run())
    await world.reconcile()
    yield world
    assert not comparing.done()
    comparing.cancel()


def page(*items: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": "5"}, "items": list(items)}


async def test_one_that_is_in_no_list_is_forgotten(world: World) -> None:
    other = build_taskqueue(metadata={"name": "other", "uid": "uid-other"})
    world.queues.seen(other)
    world.cluster.lists = [page(), page(other)]
    await asyncio.sleep(EVERY_SECONDS + 1)
    assert world.queues.known() == [OTHER]
    assert world.brokers.used == set()


async def test_its_namesake_is_another(world: World) -> None:
    namesake = build_taskqueue(metadata={"uid": "uid-namesake"})
    world.cluster.lists = [page(namesake)]
    await asyncio.sleep(EVERY_SECONDS + 1)
    assert world.queues.known() == []


async def test_one_that_comes_while_it_is_listed_is_kept(world: World) -> None:
    world.cluster.lists = [page()]
    world.cluster.gates["list"] = asyncio.Event()
    await asyncio.sleep(EVERY_SECONDS + 1)
    world.queues.gone(build_taskqueue())
    world.queues.seen(build_taskqueue(metadata={"uid": "uid-namesake"}))
    world.cluster.gates["list"].set()
    await asyncio.sleep(1)
    assert world.queues.known() == [KEY]


async def test_without_an_answer_nothing_is_forgotten(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.cluster.faults["list"] = [ClusterUnavailableError(503, "away")]
    await asyncio.sleep(EVERY_SECONDS + 1)
    assert world.queues.known() == [KEY]
    assert "TaskQueues not compared: away" in caplog.text
    world.cluster.lists = [page()]
    await asyncio.sleep(EVERY_SECONDS + 1)
    assert world.queues.known() == []


@pytest.mark.parametrize(("watched", "known"), [("shop", []), ("infra", [KEY])])
async def test_only_what_is_watched_is_compared(
    reconciling_world: World, watched: str, known: list[QueueKey]
) -> None:
    world = reconciling_world
    world.queues.seen(build_taskqueue())
    world.cluster.lists = [page()]
    comparing = asyncio.create_task(MissedDeletions(world.cluster, [watched], world.queues).run())
    await asyncio.sleep(EVERY_SECONDS + 1)
    assert world.queues.known() == known
    assert [one.name for one in world.cluster.requests if one.verb == "list"] == [watched]
    comparing.cancel()
