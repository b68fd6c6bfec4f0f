"""Of a TaskQueue that is gone nothing is kept, and what its namesake needs is not taken away."""

import asyncio
import gc

import pytest
from prometheus_client import REGISTRY

from taskqueue_operator.domain.dispatching import QueueKey
from tests.operator.builders import KEY, build_task, build_taskqueue
from tests.operator.clock import settle
from tests.operator.services.dispatching import EARLIER, build_retrying
from tests.operator.services.reconciling import WORK, World

OTHER = QueueKey("shop", "other")
THROUGH = {"dispatchedThrough": "2026-01-02T11:59:00Z"}


@pytest.fixture
def world(reconciling_world: World) -> World:
    return reconciling_world


async def test_a_taskqueue_that_is_gone_is_forgotten(world: World) -> None:
    await world.reconcile()
    assert world.queues.known() == [KEY]
    world.queues.gone(world.cluster.find("TaskQueue", "emails"))
    world.queues.gone(world.cluster.find("TaskQueue", "emails"))
    assert world.queues.known() == []
    assert world.brokers.used == set()
    world.cluster.requests.clear()
    await asyncio.sleep(100)
    await world.queues.reconcile(KEY)
    assert world.cluster.requests == []


async def test_one_that_goes_while_it_is_reconciled_is_forgotten_too(world: World) -> None:
    # Somebody has taken its finalizer away.
    gate = world.cluster.gates["get"] = asyncio.Event()
    world.queues.seen(build_taskqueue())
    world.dispatcher.task_seen(world.cluster.add(build_task("a")), listed=False)
    reconciling = asyncio.create_task(world.queues.reconcile(KEY))
    await settle()
    world.queues.gone(build_taskqueue())
    gate.set()
    await reconciling
    assert world.brokers.used == set()
    assert world.rabbit.sent == []
    assert world.dispatcher._lanes[KEY].gate.missing


def dispatches(verdict: str) -> float | None:
    """Return how many publications had this verdict; None: there is no such metric."""
    labels = {"namespace": "shop", "queue": "emails", "verdict": verdict}
    return REGISTRY.get_sample_value("taskqueue_dispatches_total", labels)


async def test_its_publications_are_counted_no_longer(world: World) -> None:
    await world.reconcile()
    world.dispatcher.task_seen(build_task("a"), listed=False)
    await settle()
    assert dispatches("confirmed")
    world.rabbit.silent.add(WORK)
    world.dispatcher.task_seen(build_task("b"), listed=False)
    await settle()
    world.queues.gone(build_taskqueue())
    # What becomes of the second one is known only now.
    await settle()
    world.rabbit.channels[-1].die(ConnectionResetError("gone"))
    await settle()
    assert [dispatches(verdict) for verdict in ("confirmed", "unsure")] == [None, None]


async def test_its_lock_lasts_for_as_long_as_somebody_holds_or_awaits_it(world: World) -> None:
    held = asyncio.Event()

    async def hold() -> None:
        async with world.queues.lock(KEY):
            held.set()
            await asyncio.sleep(1)

    world.queues.seen(build_taskqueue())
    first = asyncio.create_task(hold())
    await held.wait()
    held.clear()
    second = asyncio.create_task(hold())
    await settle()
    world.queues.gone(build_taskqueue())
    gc.collect()
    # Whoever comes with the namesake waits for both.
    assert world.queues.lock(KEY).locked()
    await first
    await held.wait()
    gc.collect()
    assert world.queues.lock(KEY).locked()
    await second
    gc.collect()
    assert len(world.queues._locks) == 0


async def test_its_vhost_is_forgotten_when_no_other_uses_it(world: World) -> None:
    await world.reconcile()
    assert world.queues._unsure_vhosts == {"/"}
    metadata = {"name": "other", "uid": "uid-other"}
    world.queues.seen(world.cluster.add(build_taskqueue(metadata=metadata)))
    await world.queues.reconcile(OTHER)
    world.queues.gone(build_taskqueue())
    assert world.queues._unsure_vhosts == {"/"}
    world.queues.gone(build_taskqueue(metadata=metadata))
    assert world.queues._unsure_vhosts == set()


async def test_its_vhost_is_kept_in_mind_for_who_is_not_reconciled_yet(world: World) -> None:
    # The ladder was broken while no operator ran. The first reconcile has repaired it.
    world.rabbit.queues["tq.shop.other"] = {}
    metadata = {"name": "other", "uid": "uid-other"}
    world.queues.seen(world.cluster.add(build_taskqueue(metadata=metadata, status=THROUGH)))
    body = world.cluster.add(build_retrying("x", created=EARLIER, spec={"queue": "other"}))
    world.dispatcher.task_seen(body, listed=True)
    await world.reconcile(status=THROUGH)
    world.queues.gone(build_taskqueue())
    await world.queues.reconcile(OTHER)
    await asyncio.sleep(60)
    assert [(item.queue, item.dispatches) for item in world.rabbit.sent] == [("tq.shop.other", 2)]
