"""Busy workers are marked before some go, whoever asks for fewer."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from taskqueue_api.conditions import rfc3339
from taskqueue_operator.domain.deletion_cost import ANNOTATION
from tests.operator.builders import NOW
from tests.operator.services.scaling import Scaling, rounds, running, spec


@pytest.fixture
async def world() -> AsyncIterator[Scaling]:
    async for world in running(Scaling()):
        yield world


def stand_three_pods(world: Scaling, busy: str) -> None:
    """Let there be three worker pods, one of which runs a Task."""
    for name in ("p1", "p2", "p3"):
        pod = {"kind": "Pod", "metadata": {"name": name, "namespace": "shop"}, "status": {}}
        world.cluster.pods.append(world.cluster.add(pod))
    running = {"startTime": rfc3339(NOW), "worker": {"pod": busy}}
    world.cluster.lists = [{"items": [{"status": running}]}]


def assert_marked_first(world: Scaling, busy: str) -> None:
    """Assert that the busy one alone was marked, and before the Deployment was changed."""
    found = {
        one["metadata"]["name"]: one["metadata"].get("annotations") for one in world.cluster.pods
    }
    costs = {name: int(given[ANNOTATION]) for name, given in found.items() if given}
    assert costs.keys() == {busy}
    assert costs[busy] > 0
    applied = [item.verb for item in world.cluster.requests if item.verb in ("annotate", "apply")]
    assert applied.index("annotate") < len(applied) - 1


async def test_busy_workers_are_marked_before_others_go(world: Scaling) -> None:
    await world.reconcile(spec=spec())
    world.come("a", "b", "c")
    await asyncio.sleep(0.1)
    stand_three_pods(world, "p2")
    world.finish("a", "b")
    await rounds(5)
    assert world.pods == 1
    assert_marked_first(world, "p2")


async def test_busy_workers_are_marked_when_an_edit_lowers_the_maximum(world: Scaling) -> None:
    await world.reconcile(spec=spec())
    world.come("a", "b", "c")
    await asyncio.sleep(0.1)
    stand_three_pods(world, "p3")
    await world.reconcile(spec=spec({"maxReplicas": 2}), metadata={"generation": 2})
    assert world.pods == 2
    assert_marked_first(world, "p3")


async def test_busy_workers_are_marked_when_a_fixed_number_is_lowered(world: Scaling) -> None:
    workers = spec()["workers"]
    del workers["scaling"]
    await world.reconcile(spec={"workers": {**workers, "replicas": 3}})
    stand_three_pods(world, "p1")
    await world.reconcile(spec={"workers": {**workers, "replicas": 1}}, metadata={"generation": 2})
    assert world.pods == 1
    assert_marked_first(world, "p1")


async def test_what_is_wanted_once_the_busy_are_marked_counts(world: Scaling) -> None:
    await world.reconcile(spec=spec())
    world.come("a", "b", "c")
    await asyncio.sleep(0.1)
    stand_three_pods(world, "p2")
    gate = world.cluster.gates["annotate"] = asyncio.Event()
    world.finish("a", "b")
    await rounds(5)
    assert world.pods == 3
    world.come("d", "e")
    await rounds(1)
    world.cluster.requests.clear()
    gate.set()
    await asyncio.sleep(0.1)
    assert world.pods == 3
    assert world.cluster.count("apply") == 0  # not fewer for a moment either


async def test_a_running_task_without_a_worker_marks_no_pod(world: Scaling) -> None:
    await world.reconcile(spec=spec())
    world.come("a", "b", "c")
    await asyncio.sleep(0.1)
    stand_three_pods(world, "p2")
    world.cluster.lists = [{"items": [{"status": {"startTime": rfc3339(NOW)}}]}]
    await world.reconcile(spec=spec({"maxReplicas": 2}), metadata={"generation": 2})
    assert world.pods == 2
    assert world.cluster.count("annotate") == 0


async def test_no_pod_is_marked_when_all_or_none_go(world: Scaling) -> None:
    workers = spec()["workers"]
    del workers["scaling"]
    await world.reconcile(spec={"workers": {**workers, "replicas": 3}})
    stand_three_pods(world, "p1")
    for number in (4, 0):
        await world.reconcile(spec={"workers": {**workers, "replicas": number}})
    assert world.pods == 0
    assert world.cluster.count("annotate") == 0
