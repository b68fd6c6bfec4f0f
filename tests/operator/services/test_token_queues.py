"""There are exactly as many tokens as a limit says, whatever comes between."""

import asyncio
from typing import Any

import pytest

from taskqueue_operator.errors import BrokerError, ClusterUnavailableError
from taskqueue_operator.services.token_queues import TokenQueues
from tests.operator.builders import KEY, build_spec, build_taskqueue
from tests.operator.services.reconciling import World

RUNNING, FEWER = "tql.shop.emails.running.5", "tql.shop.emails.running.3"
RATE = "tql.shop.emails.rate.700.60000"
COOLING = f"{RATE}.cooling"
BOTH: dict[str, Any] = {"maxRunning": 5, "rateLimit": {"tasks": 700, "per": "1m"}}
HANDLERS = {"python": {"module": "shop.tasks"}}


@pytest.fixture
def world(reconciling_world: World) -> World:
    return reconciling_world


async def reconcile(world: World, **workers: Any) -> dict[str, tuple[str, str]]:
    """Reconcile the TaskQueue with these changes to its workers."""
    return await world.reconcile(spec={"workers": {"handlers": HANDLERS, **workers}})


def tokens(world: World) -> dict[str, int]:
    """Return how many messages each queue of limits has."""
    found = world.rabbit
    return {name: found.ready.get(name, 0) for name in found.queues if name.startswith("tql.")}


def noted(world: World) -> dict[str, str]:
    """Return what the status says of them."""
    status = world.cluster.find("TaskQueue", "emails").get("status", {})
    return dict(status.get("tokenQueues", {}))


def told(world: World) -> set[str]:
    """Return the queues that the workers are told of."""
    (container,) = world.deployment["spec"]["template"]["spec"]["containers"]
    return {one["value"] for one in container["env"] if one["name"].endswith("_TOKENS")}


async def test_the_tokens_are_there_before_the_workers_are_told_of_them(world: World) -> None:
    await reconcile(world, **BOTH)
    assert tokens(world) == {RUNNING: 5, RATE: 700, COOLING: 0}
    assert noted(world) == {RUNNING: "Whole", RATE: "Whole"}
    assert told(world) == {RUNNING, RATE}
    kinds = [(one.verb, one.kind) for one in world.cluster.requests if one.verb == "apply"]
    assert kinds.index(("apply", "TaskQueue")) < kinds.index(("apply", "Deployment"))


async def test_without_limits_nothing_is_declared_and_nothing_noted(world: World) -> None:
    await reconcile(world)
    assert (tokens(world), noted(world), told(world)) == ({}, {}, set())


async def test_tokens_that_are_in_use_are_left_alone(world: World) -> None:
    await reconcile(world, **BOTH)
    world.rabbit.ready[RUNNING] = 2
    world.rabbit.ready[RATE] = 0
    await world.queues.reconcile(KEY)
    assert tokens(world) == {RUNNING: 2, RATE: 0, COOLING: 0}


@pytest.mark.parametrize("missing", [RUNNING, RATE, COOLING])
async def test_a_queue_that_vanished_is_made_anew(world: World, missing: str) -> None:
    await reconcile(world, **BOTH)
    del world.rabbit.queues[missing]
    world.rabbit.ready[RATE] = 9  # the rest cools, or did
    await world.queues.reconcile(KEY)
    whole = 9 if missing == RUNNING else 700
    assert tokens(world) == {RUNNING: 5, RATE: whole, COOLING: 0}


@pytest.mark.parametrize("left", [0, 3, 5, 9])
async def test_what_an_operator_left_half_way_is_made_anew(world: World, left: int) -> None:
    world.declare_as_before()
    world.rabbit.queues[RUNNING], world.rabbit.ready[RUNNING] = {}, left
    body = build_taskqueue(
        spec={"workers": {"handlers": HANDLERS, "maxRunning": 5}},
        status={"tokenQueues": {RUNNING: "Filling"}},
    )
    world.queues.seen(world.cluster.add(body))
    await world.queues.reconcile(KEY)
    assert tokens(world) == {RUNNING: 5}
    assert noted(world) == {RUNNING: "Whole"}


async def test_what_nobody_noted_is_not_trusted(world: World) -> None:
    # Such as of an earlier TaskQueue of that name, which was deleted while RabbitMQ was away.
    world.rabbit.queues[RUNNING], world.rabbit.ready[RUNNING] = {}, 4
    await reconcile(world, maxRunning=5)
    assert tokens(world) == {RUNNING: 5}


async def test_that_it_is_begun_is_noted_before_anything_is_put(world: World) -> None:
    world.cluster.gates["apply"] = asyncio.Event()
    making = asyncio.create_task(reconcile(world, maxRunning=5))
    await asyncio.sleep(1)
    assert tokens(world) == {}
    world.cluster.gates["apply"].set()
    await making
    assert tokens(world) == {RUNNING: 5}


async def test_nothing_is_put_while_that_cannot_be_noted(world: World) -> None:
    world.queues.seen(world.cluster.add(build_taskqueue()))
    world.cluster.faults["apply"] = [ClusterUnavailableError(503, "away")] * 2
    queues, workers = TokenQueues(world.board), build_spec(maxRunning=5).workers
    for _ in range(2):
        with pytest.raises(ClusterUnavailableError):
            await queues.ensure(KEY, world.link, workers)
        assert tokens(world) == {}
    await queues.ensure(KEY, world.link, workers)
    assert tokens(world) == {RUNNING: 5}


async def test_what_is_whole_counts_only_once_it_is_noted(world: World) -> None:
    world.queues.seen(world.cluster.add(build_taskqueue()))
    queues, workers = TokenQueues(world.board), build_spec(maxRunning=5).workers
    world.rabbit.silent.add(RUNNING)
    filling = asyncio.create_task(queues.ensure(KEY, world.link, workers))
    await asyncio.sleep(1)
    assert noted(world) == {RUNNING: "Filling"}
    world.cluster.faults["apply"] = [ClusterUnavailableError(503, "away")]
    for tag in range(1, 6):
        world.rabbit.channels[-1].ack(tag)
    with pytest.raises(ClusterUnavailableError):
        await filling
    await queues.ensure(KEY, world.link, workers)
    assert noted(world) == {RUNNING: "Whole"}


@pytest.mark.parametrize("kind", ["deaf", "silent"])
async def test_tokens_that_are_not_confirmed_are_not_whole(world: World, kind: str) -> None:
    world.queues.seen(world.cluster.add(build_taskqueue()))
    getattr(world.rabbit, kind).add(RUNNING)
    queues, workers = TokenQueues(world.board), build_spec(maxRunning=5).workers
    with pytest.raises(BrokerError):
        await queues.ensure(KEY, world.link, workers)
    assert noted(world) == {RUNNING: "Filling"}
    getattr(world.rabbit, kind).clear()
    await queues.ensure(KEY, world.link, workers)
    assert tokens(world) == {RUNNING: 5}


async def roll_out(world: World) -> None:
    """Let the workers be of the newest template, and the TaskQueue looked at."""
    world.workers_ready()
    await world.queues.reconcile(KEY)


async def test_earlier_tokens_stay_until_no_worker_takes_from_them(world: World) -> None:
    await reconcile(world, **BOTH)
    await roll_out(world)
    await reconcile(world, maxRunning=3)
    assert set(tokens(world)) == {RUNNING, FEWER, RATE, COOLING}
    # The watch is behind: what is known of the Deployment is of the template before.
    await world.queues.reconcile(KEY)
    assert set(tokens(world)) == {RUNNING, FEWER, RATE, COOLING}
    await roll_out(world)
    assert tokens(world) == {FEWER: 3}
    assert noted(world) == {FEWER: "Whole"}


async def test_a_limit_that_comes_back_is_whole_again(world: World) -> None:
    for most in (5, 3, 5):
        await reconcile(world, maxRunning=most)
        await roll_out(world)
    assert tokens(world) == {RUNNING: 5}


async def test_without_a_limit_any_more_nothing_is_left(world: World) -> None:
    await reconcile(world, **BOTH)
    await roll_out(world)
    await reconcile(world)
    await roll_out(world)
    assert (tokens(world), noted(world), told(world)) == ({}, {}, set())
    assert "tokenQueues" not in world.cluster.find("TaskQueue", "emails")["status"]
