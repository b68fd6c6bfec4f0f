"""A busy queue that lost one message: others overtake its Task, which is published again then."""

import asyncio
from datetime import timedelta

import pytest

from tests.operator.builders import KEY
from tests.operator.clock import settle
from tests.operator.services.dispatching import World

MINUTE = timedelta(minutes=1)
RUNNING = {"phase": "Running", "attempts": 1}


async def pass_time(world: World, minutes: float) -> None:
    """Let time go by on both clocks."""
    world.now += minutes * MINUTE
    await asyncio.sleep(minutes * 60)


async def make_busy(world: World, *, priority: int = 4) -> None:
    """Publish a Task whose message is lost, and a minute later one that is run."""
    world.open()
    world.create("lost")
    await pass_time(world, 1)
    world.create("later", spec={"priority": priority})
    await pass_time(world, 1)
    world.create("later", spec={"priority": priority}, status=RUNNING)
    await pass_time(world, 0.1)


def published(world: World) -> list[tuple[str, int]]:
    """Return which Tasks were published, each time as its how manieth publication."""
    return [(one.uid.removeprefix("uid-"), one.dispatches) for one in world.rabbit.sent]


FIRST = [("lost", 1), ("later", 1)]


async def test_one_that_was_overtaken_is_published_again(world: World) -> None:
    await make_busy(world)
    world.dispatcher.sweep(KEY, empty=False)
    await pass_time(world, 1)
    assert published(world) == [*FIRST, ("lost", 2)]
    # Nobody has overtaken the copy yet.
    await pass_time(world, 10)
    world.dispatcher.sweep(KEY, empty=False)
    await pass_time(world, 1)
    assert published(world) == [*FIRST, ("lost", 2)]
    world.create("latest")
    await settle()
    world.create("latest", status=RUNNING)
    world.dispatcher.sweep(KEY, empty=False)
    await pass_time(world, 1)
    assert published(world) == [*FIRST, ("lost", 2), ("latest", 1), ("lost", 3)]


async def test_one_that_left_for_good_has_overtaken_as_well(world: World) -> None:
    """A short Task is written once, at its end."""
    world.open()
    world.create("lost")
    await pass_time(world, 1)
    world.create("later")
    await pass_time(world, 1.1)
    world.dispatcher.task_left(world.uid("later"), ran=True)
    world.dispatcher.sweep(KEY, empty=False)
    await pass_time(world, 1)
    assert published(world) == [*FIRST, ("lost", 2)]


async def test_nothing_has_overtaken_that_was_not_run(world: World) -> None:
    world.open()
    world.create("lost")
    await pass_time(world, 1)
    world.create("later")
    await pass_time(world, 1.1)
    world.dispatcher.task_left(world.uid("later"))  # deleted
    world.dispatcher.sweep(KEY, empty=False)
    await pass_time(world, 1)
    assert published(world) == FIRST


@pytest.mark.parametrize("priority", [3, 5])
async def test_another_priority_has_its_own_order(world: World, priority: int) -> None:
    await make_busy(world, priority=priority)
    world.dispatcher.sweep(KEY, empty=False)
    await pass_time(world, 1)
    assert published(world) == FIRST


async def test_one_whose_turn_came_later_was_not_overtaken(world: World) -> None:
    """It waited in the ladder while the other was run."""
    due = (world.now + 3 * MINUTE).strftime("%Y-%m-%dT%H:%M:%SZ")
    world.open()
    world.create("lost", spec={"notBefore": due})
    await pass_time(world, 1)
    world.create("later")
    await pass_time(world, 1)
    world.create("later", status=RUNNING)
    await pass_time(world, 4)
    world.dispatcher.sweep(KEY, empty=False)
    await pass_time(world, 1)
    assert published(world) == FIRST


async def test_one_of_the_same_time_is_given_its_time(world: World) -> None:
    """Workers take several messages at a time, and start them in any order."""
    world.open()
    world.create("slow", "later")
    await pass_time(world, 3)
    world.create("later", status=RUNNING)
    await settle()
    world.dispatcher.sweep(KEY, empty=False)
    await pass_time(world, 1)
    assert published(world) == [("slow", 1), ("later", 1)]
