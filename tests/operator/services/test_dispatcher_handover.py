"""What the next operator is told of what is published, and what it makes of it."""

import asyncio
from datetime import timedelta

import pytest

from taskqueue_operator.services.dispatcher import LIST_SECONDS
from tests.operator.builders import KEY, NOW
from tests.operator.clock import settle
from tests.operator.services.dispatching import EARLIER, RUNNING, SECOND, WORK, World


async def test_the_end_waits_for_what_is_in_flight(world: World) -> None:
    world.rabbit.silent.add(WORK)
    world.open()
    world.create("a", "b")
    await settle()
    loop = asyncio.get_running_loop()
    loop.call_later(2, world.rabbit.channels[0].ack, 1)
    begun = loop.time()
    await world.dispatcher.stop(5)
    assert loop.time() - begun == pytest.approx(5, abs=0.1)
    # a is confirmed, b is not: it alone is published again by the next operator.
    assert world.dispatcher.dispatched_through(KEY) == NOW - 10 * SECOND


async def test_dispatched_through_is_the_oldest_unconfirmed_less_10_s(world: World) -> None:
    assert world.dispatcher.dispatched_through(KEY) is None
    world.create("old", created=NOW - 60 * SECOND)
    world.create("new", created=NOW)
    assert world.dispatcher.dispatched_through(KEY) == NOW - 70 * SECOND
    world.open()
    await settle()
    assert world.dispatcher.dispatched_through(KEY) == NOW - 10 * SECOND
    world.rabbit.silent.add(WORK)
    world.create("newer", created=NOW + 60 * SECOND)
    await settle()
    assert world.dispatcher.dispatched_through(KEY) == NOW + 50 * SECOND


async def test_dispatched_through_is_the_newest_seen_also_when_all_have_left(world: World) -> None:
    world.open()
    world.create("a")
    await settle()
    world.leave("a")
    assert world.dispatcher.dispatched_through(KEY) == NOW - 10 * SECOND


async def test_dispatched_through_is_unknown_while_tasks_are_being_listed(world: World) -> None:
    world.open(through=NOW)
    world.create("b", created=EARLIER, listed=True)
    await asyncio.sleep(LIST_SECONDS - 1)
    assert world.dispatcher.dispatched_through(KEY) is None
    world.create("a", created=EARLIER, listed=True)
    await asyncio.sleep(LIST_SECONDS - 1)
    assert world.dispatcher.dispatched_through(KEY) is None
    await asyncio.sleep(1)
    assert world.dispatcher.dispatched_through(KEY) == EARLIER - 10 * SECOND


async def test_a_task_known_to_be_out_is_not_published(world: World) -> None:
    world.open(through=NOW - 60 * SECOND)
    world.create("known", created=NOW - 61 * SECOND, listed=True)
    world.create("unsure", created=NOW - 60 * SECOND, listed=True)
    world.create("new", created=NOW, listed=True)
    await settle()
    assert world.rabbit.uids == ["uid-new"]
    await asyncio.sleep(60)
    assert [(item.uid, item.dispatches) for item in world.rabbit.sent] == [
        ("uid-new", 1),
        ("uid-unsure", 2),
    ]


async def test_a_known_task_that_was_told_it_is_held_is_told_that_it_is_not(world: World) -> None:
    # The broker was away for a while at start; the Task is in its queue all the same.
    world.create("known", created=EARLIER, listed=True)
    await asyncio.sleep(10)
    assert world.dispatched("known") == ("False", "QueueNotFound")
    world.open(through=NOW)
    await asyncio.sleep(10)
    assert world.rabbit.sent == []
    assert world.dispatched("known") == ("True", "Published")


async def test_a_refusal_that_is_not_written_yet_holds_dispatched_through_back(
    world: World,
) -> None:
    # Else the next operator takes the Task for published, and it waits for ever.
    world.cluster.gates["patch"] = asyncio.Event()
    world.open()
    world.create("bad", spec={"timeout": "6m"}, created=NOW)
    world.create("good", created=NOW + 60 * SECOND)
    await settle()
    assert world.dispatcher.dispatched_through(KEY) == NOW - 10 * SECOND


async def test_a_rerun_that_an_earlier_operator_has_begun_is_published_after_an_announcement(
    world: World,
) -> None:
    world.create("a", listed=True, created=EARLIER, status={"run": 1})
    world.open(through=NOW)
    await asyncio.sleep(60)
    assert [(item.run, item.dispatches) for item in world.rabbit.sent] == [(1, 2)]


async def test_a_held_rerun_does_not_set_back_what_the_next_operator_is_told(
    world: World,
) -> None:
    world.open()
    world.create("b")
    await asyncio.sleep(LIST_SECONDS)
    world.dispatcher.hold(KEY, "BrokerUnreachable", "away")
    world.create("a", created=EARLIER, status={"run": 1})
    await settle()
    assert world.dispatcher.dispatched_through(KEY) == NOW - 10 * SECOND


async def test_what_runs_is_unsure_to_the_next_operator_like_what_waits(world: World) -> None:
    """The one before may have found its queue gone, and died before it could make up for it."""
    world.create("sure", status=RUNNING, listed=True, created=EARLIER)
    world.create("unsure", status=RUNNING, listed=True, created=NOW - SECOND)
    world.create("young", status=RUNNING, listed=True, created=NOW + SECOND)
    world.open(through=NOW - 10 * SECOND)
    await asyncio.sleep(60)
    assert [(item.uid, item.dispatches) for item in world.rabbit.sent] == [("uid-unsure", 2)]


@pytest.mark.parametrize("time", ["soon", "2026-01-02T12:00:00", "9999-12-31T23:59:59Z"])
async def test_a_next_attempt_at_no_time_is_due_and_harms_no_other(world: World, time: str) -> None:
    """Handlers have a token that may write any status."""
    world.fail("odd", listed=True, created=EARLIER, status={"nextAttemptTime": time})
    world.create("a")
    world.open()
    await asyncio.sleep(60)
    world.dispatcher.sweep(KEY, empty=True)
    assert world.dispatcher.faults() == []
    assert [(item.uid, item.dispatches) for item in world.rabbit.sent] == [
        ("uid-a", 1),
        ("uid-odd", 2),
    ]
    assert world.rabbit.sent[1].delay == timedelta()
