"""A running Task that is to be cancelled ends although its worker is lost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskqueue_api.conditions import rfc3339
from taskqueue_operator.errors import ClusterUnavailableError, ConflictError
from taskqueue_operator.services.cancels import EVERY_SECONDS, Cancels
from tests.operator.builders import NOW, build_task
from tests.operator.fakes import FakeCluster

WORKER = {"pod": "tq-emails-1", "podUid": "pod-1", "node": "n", "instance": "i"}
STATUS = {
    "phase": "Running",
    "attempts": 2,
    "startTime": rfc3339(NOW),
    "worker": WORKER,
    "progress": {"percent": 40},
}


def pod(uid: str = "pod-1") -> dict[str, Any]:
    """The pod of the worker, which started long before the attempt."""
    container = {
        "name": "worker",
        "ready": True,
        "state": {"running": {"startedAt": "2000-01-01T00:00:00Z"}},
    }
    return {
        "kind": "Pod",
        "metadata": {"name": "tq-emails-1", "namespace": "shop", "uid": uid},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [container],
        },
    }


class World:
    """A Task that runs and is to be cancelled."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.body = self.cluster.add(build_task(spec={"cancel": True}, status=STATUS))
        self.name = self.body["metadata"]["name"]
        self.cancels = Cancels(self.cluster, lambda: NOW)
        self.cancels.seen(self.body)

    @property
    def status(self) -> dict[str, Any]:
        """The Task's status as it is stored."""
        status: dict[str, Any] = self.cluster.find("Task", self.name)["status"]
        return status


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    looking = asyncio.create_task(world.cancels.run())
    yield world
    assert not looking.done()
    looking.cancel()


async def turn() -> None:
    await asyncio.sleep(EVERY_SECONDS + 0.1)


@pytest.mark.parametrize(
    "pods", [pytest.param([], id="no pod"), pytest.param([pod("pod-2")], id="another of its name")]
)
async def test_one_whose_worker_is_lost_is_ended(world: World, pods: list[dict[str, Any]]) -> None:
    for one in pods:
        world.cluster.add(one)
    await turn()
    assert world.status["phase"] == "Cancelled"
    assert world.status["completionTime"] == rfc3339(NOW)
    conditions = {one["type"]: one["status"] for one in world.status["conditions"]}
    assert conditions == {"Succeeded": "False", "Finished": "True"}
    assert (world.status["attempts"], world.status["worker"]) == (2, WORKER)
    await turn()
    assert world.cluster.count("get", "Task") == 1  # it is forgotten


async def test_one_whose_worker_lives_is_left_to_it_until_it_is_lost(world: World) -> None:
    world.cluster.add(pod())
    await turn()
    assert world.status["phase"] == "Running"
    del world.cluster.objects["Pod", "shop", "tq-emails-1"]
    await turn()
    assert world.status["phase"] == "Cancelled"


async def test_one_that_a_worker_takes_over_meanwhile_is_not_ended_under_it(world: World) -> None:
    world.cluster.gates["patch"] = asyncio.Event()
    await turn()
    world.status["attempts"] = 3
    world.cluster.gates["patch"].set()
    await asyncio.sleep(0.01)
    assert world.status["phase"] == "Running"
    world.cluster.add(pod())
    await turn()
    assert world.status["phase"] == "Running"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"status": {**STATUS, "phase": "Succeeded"}}, id="it has finished"),
        pytest.param({"metadata": {"uid": "another"}}, id="it is another of its name"),
    ],
)
async def test_one_that_is_over_is_left_alone_and_forgotten(
    world: World, change: dict[str, Any]
) -> None:
    for member, values in change.items():
        world.body[member] |= values
    await turn()
    await turn()
    assert world.cluster.count("patch") == 0
    assert world.cluster.count("get", "Task") == 1


async def test_one_that_is_gone_is_forgotten(world: World) -> None:
    del world.cluster.objects["Task", "shop", world.name]
    await turn()
    await turn()
    assert world.cluster.count("get") == 1


@pytest.mark.parametrize(
    "fault", [ClusterUnavailableError(0, "away"), ConflictError(409, "many writers")]
)
async def test_what_could_not_be_done_is_done_at_the_next_turn(
    world: World, fault: Exception
) -> None:
    world.cluster.faults["patch"] = [fault]  # type: ignore[list-item]
    await turn()
    assert world.status["phase"] == "Running"
    await turn()
    assert world.status["phase"] == "Cancelled"
