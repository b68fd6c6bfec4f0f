"""The watch of Tasks that are to be run again, and what it does to them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskqueue_api.task import NEW_STATUS
from taskqueue_operator.domain.rerunning import SELECTOR
from taskqueue_operator.errors import ClusterError, ClusterUnavailableError, ConflictError
from taskqueue_operator.services.reruns import PARALLEL, Reruns
from tests.operator.builders import build_rng, build_task
from tests.operator.clock import settle
from tests.operator.fakes import FakeCluster

AWAY = ClusterUnavailableError(503, "away")
EXPIRED = ClusterError(410, "too old resource version")


class World:
    """A watch that runs, with finished Tasks."""

    def __init__(self, *namespaces: str) -> None:
        self.cluster = FakeCluster()
        self.cluster.lists = [{"metadata": {"resourceVersion": "5"}, "items": []}]
        self.reruns = Reruns(self.cluster, namespaces, build_rng())
        self.begin = asyncio.Event()
        self.running: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Let it begin."""
        self.running.append(asyncio.create_task(self.reruns.run(self.begin)))
        self.begin.set()
        await settle()

    def ask(self, name: str = "a", rerun: int = 1, version: str = "9") -> dict[str, Any]:
        """Let somebody ask for another run; return the Task."""
        body = build_task(name, spec={"rerun": rerun}, status={"phase": "Failed", "attempts": 3})
        body["metadata"]["resourceVersion"] = version
        return self.cluster.add(body)

    def tell(self, body: dict[str, Any], kind: str = "ADDED") -> None:
        """Let the watch show a Task."""
        self.cluster.feed.put_nowait({"type": kind, "object": body})

    def status(self, name: str = "a") -> dict[str, Any]:
        """Return a Task's status."""
        status: dict[str, Any] = self.cluster.find("Task", name)["status"]
        return status


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    for task in world.running:
        task.cancel()
    await settle()


async def test_one_that_is_asked_for_while_it_watches_begins_like_a_new_task(world: World) -> None:
    await world.start()
    world.tell(world.ask())
    await settle()
    assert world.status() == {**NEW_STATUS, "run": 1}
    assert world.cluster.count("patch") == 1
    assert world.cluster.watched == [(None, SELECTOR, "5")]


async def test_one_that_was_asked_for_before_begins_too(world: World) -> None:
    items = [world.ask("a"), world.ask("b", 2)]
    world.cluster.lists = [
        {"metadata": {"resourceVersion": "5", "continue": "more"}, "items": items[:1]},
        {"metadata": {"resourceVersion": "5"}, "items": items[1:]},
    ]
    await world.start()
    assert (world.status("a")["run"], world.status("b")["run"]) == (1, 2)


async def test_those_of_other_operators_are_left_alone(world: World) -> None:
    world.reruns = Reruns(world.cluster, (), build_rng(), lambda _: False)
    world.cluster.lists = [{"metadata": {"resourceVersion": "5"}, "items": [world.ask("a")]}]
    await world.start()
    world.tell(world.ask("b"))
    await asyncio.sleep(60)
    assert world.cluster.count("patch") == 0


async def test_nothing_is_asked_of_the_api_server_before_there_is_something_to_watch(
    world: World,
) -> None:
    world.running.append(asyncio.create_task(world.reruns.run(world.begin)))
    await asyncio.sleep(60)
    assert world.cluster.requests == []


async def test_one_that_has_run_again_is_left_alone(world: World) -> None:
    await world.start()
    body = world.ask()
    body["status"]["run"] = 1
    world.tell(body)
    await asyncio.sleep(60)
    assert world.cluster.count("patch") == 0


async def test_many_begin_and_never_too_many_at_once(world: World) -> None:
    gate = world.cluster.gates["patch"] = asyncio.Event()
    await world.start()
    for number in range(3 * PARALLEL):
        world.tell(world.ask(f"t{number}"))
    await settle()
    assert world.cluster.count("patch") == PARALLEL
    gate.set()
    await settle()
    assert {world.status(f"t{number}")["run"] for number in range(3 * PARALLEL)} == {1}


async def test_one_that_was_edited_since_is_read_again_and_begins(world: World) -> None:
    await world.start()
    old = world.ask(rerun=1, version="9")
    world.ask(rerun=3, version="10")
    world.tell(old)
    await asyncio.sleep(5)
    assert world.status()["run"] == 3
    assert (world.cluster.count("patch"), world.cluster.count("get")) == (2, 1)


@pytest.mark.parametrize("change", ["begun", "recreated", "gone"])
async def test_one_that_is_not_to_be_run_any_more_is_dropped(world: World, change: str) -> None:
    await world.start()
    world.cluster.faults["patch"] = [ConflictError(409, "changed")]
    world.tell(world.ask())
    await settle()
    if change == "begun":
        world.status().update(phase="Pending", run=1)
    elif change == "recreated":
        world.ask(version="11")["metadata"]["uid"] = "another"
    else:
        world.cluster.objects.clear()
    await asyncio.sleep(120)
    assert (world.cluster.count("patch"), world.cluster.count("get")) == (1, 1)


async def test_one_that_is_gone_while_it_waits_for_its_turn_is_dropped(world: World) -> None:
    gate = world.cluster.gates["patch"] = asyncio.Event()
    await world.start()
    bodies = [world.ask(f"t{number}") for number in range(PARALLEL + 1)]
    for body in bodies:
        world.tell(body)
    world.tell(bodies[-1], "DELETED")
    gate.set()
    await settle()
    assert world.cluster.count("patch") == PARALLEL


async def test_an_api_server_that_is_away_is_waited_for(world: World) -> None:
    await world.start()
    world.cluster.faults["patch"] = [AWAY] * 5
    world.tell(world.ask())
    await asyncio.sleep(120)
    assert world.status()["run"] == 1


@pytest.mark.parametrize("error", [AWAY, EXPIRED, ClusterError(403, "no")], ids=str)
async def test_a_broken_watch_is_followed_by_a_new_list(world: World, error: ClusterError) -> None:
    await world.start()
    world.cluster.feed.put_nowait(error)
    world.cluster.lists = [{"metadata": {"resourceVersion": "20"}, "items": [world.ask()]}]
    await asyncio.sleep(5)
    assert world.status()["run"] == 1
    assert [version for _, _, version in world.cluster.watched] == ["5", "20"]


async def test_a_watch_that_cannot_be_had_is_asked_for_ever_more_seldom(world: World) -> None:
    world.cluster.faults["watch"] = [ClusterError(403, "no")] * 1000
    await world.start()
    await asyncio.sleep(600)
    assert 10 < world.cluster.count("watch") < 60


async def test_a_watch_that_ended_goes_on_where_it_was(world: World) -> None:
    await world.start()
    bookmark = {"metadata": {"resourceVersion": "30"}}
    world.cluster.feed.put_nowait({"type": "BOOKMARK", "object": bookmark})
    world.cluster.feed.put_nowait(None)
    await asyncio.sleep(5)
    assert [version for _, _, version in world.cluster.watched] == ["5", "30"]
    assert world.cluster.count("list") == 1


async def test_each_namespace_that_is_served_is_watched() -> None:
    world = World("shop", "other")
    await world.start()
    assert sorted(world.cluster.watched) == [("other", SELECTOR, "5"), ("shop", SELECTOR, "5")]
    world.running[0].cancel()
    await settle()
