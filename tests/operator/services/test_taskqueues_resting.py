"""A TaskQueue at rest costs little: what one call for all has told is not asked for singly."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from taskqueue_operator.broker.management import QueueTotals
from taskqueue_operator.domain.dispatching import OVERDUE
from taskqueue_operator.errors import ManagementUnavailableError
from taskqueue_operator.services.backlogs import EVERY_SECONDS
from taskqueue_operator.services.brokers import SECRET_SECONDS
from taskqueue_operator.services.taskqueues import DECLARE_SECONDS
from tests.operator.builders import KEY, build_task
from tests.operator.services.reconciling import WORK, World

DEAD = "tqd.shop.emails"
NO_WORKERS = {"workers": {"handlers": {"python": {"module": "shop.tasks"}}, "replicas": 0}}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Give a TaskQueue that is declared, and whose queues the management API tells of."""
    world = World()
    world.brokers.api.totals = {WORK: QueueTotals(0, 0), DEAD: QueueTotals(0, 0)}
    await world.reconcile()
    world.workers_ready()
    reading = asyncio.create_task(world.backlogs.run())
    await asyncio.sleep(EVERY_SECONDS + 1)
    await world.queues.reconcile(KEY)
    await world.board.flush()
    world.rabbit.channels.clear()
    world.cluster.requests.clear()
    yield world
    assert not reading.done()
    reading.cancel()
    await world.dispatcher.stop(0)
    world.scaler.forget(KEY)


async def test_a_reconcile_reads_two_secrets_and_asks_rabbitmq_for_nothing(world: World) -> None:
    await world.queues.reconcile(KEY)
    await world.board.flush()
    assert len(world.cluster.requests) <= 2
    assert {(item.verb, item.kind) for item in world.cluster.requests} <= {("get", "Secret")}
    assert not world.rabbit.channels


async def test_it_is_declared_again_every_few_minutes(world: World) -> None:
    await asyncio.sleep(DECLARE_SECONDS)
    world.rabbit.queues.pop(DEAD)
    await world.queues.reconcile(KEY)
    assert DEAD in world.rabbit.queues


async def test_a_queue_that_is_gone_is_declared_again_with_what_it_held(world: World) -> None:
    world.dispatcher.task_seen(world.cluster.add(build_task("a")), listed=False)
    await asyncio.sleep(1)
    assert world.rabbit.uids == ["uid-a"]
    del world.brokers.api.totals[WORK], world.rabbit.queues[WORK]
    await asyncio.sleep(EVERY_SECONDS + 1)
    await world.queues.reconcile(KEY)
    assert WORK in world.rabbit.queues
    await asyncio.sleep(30)
    assert world.rabbit.uids == ["uid-a", "uid-a"]


async def test_a_message_that_is_lost_singly_is_noticed_too(world: World) -> None:
    world.dispatcher.task_seen(world.cluster.add(build_task("a")), listed=False)
    await asyncio.sleep(OVERDUE.total_seconds() + 1)
    world.now += OVERDUE + timedelta(seconds=1)
    await world.queues.reconcile(KEY)
    await asyncio.sleep(30)
    assert world.rabbit.uids == ["uid-a", "uid-a"]


@pytest.mark.parametrize("trouble", ["connection", "publication", "no management"])
async def test_after_trouble_everything_is_declared_again(world: World, trouble: str) -> None:
    if trouble == "connection":
        world.link.lose()
        world.queues.broker_changed([KEY], world.link)
        world.link.fault = None
        world.link.connected.set()
    elif trouble == "publication":
        world.queues.distrust(KEY)
    else:
        world.brokers.api.error = ManagementUnavailableError("away")
        await asyncio.sleep(EVERY_SECONDS * 4)
    world.rabbit.queues.pop(DEAD)
    await world.queues.reconcile(KEY)
    assert DEAD in world.rabbit.queues


async def rest(world: World) -> None:
    """Let all be read that a TaskQueue without workers needs to be known to be at rest."""
    await world.reconcile(spec=NO_WORKERS)
    assert not world.queues.is_at_rest(KEY)  # a worker is left
    world.workers_ready(0)
    await asyncio.sleep(EVERY_SECONDS + 1)
    await world.queues.reconcile(KEY)
    assert world.queues.is_at_rest(KEY)


async def test_it_is_at_rest_without_workers_and_work(world: World) -> None:
    assert not world.queues.is_at_rest(KEY)  # it has a worker
    await rest(world)


@pytest.mark.parametrize(
    "what",
    ["a Task", "a message", "a connection lost", "a publication refused", "no reading", "trouble"],
)
async def test_it_is_not_at_rest_with(world: World, what: str) -> None:
    await rest(world)
    if what == "a Task":
        world.dispatcher.task_seen(build_task("a"), listed=False)
    elif what == "a message":
        world.brokers.api.totals[WORK] = QueueTotals(0, 1)
        await asyncio.sleep(EVERY_SECONDS + 1)
    elif what == "a connection lost":
        world.link.lose()
    elif what == "a publication refused":
        world.queues.distrust(KEY)
    elif what == "no reading":
        world.brokers.api.error = ManagementUnavailableError("away")
        await asyncio.sleep(EVERY_SECONDS * 4)
    else:
        world.cluster.objects.pop(("Secret", "shop", "rabbit"))
        await asyncio.sleep(SECRET_SECONDS)
        await world.queues.reconcile(KEY)
    assert not world.queues.is_at_rest(KEY)
    world.link.connected.set()
