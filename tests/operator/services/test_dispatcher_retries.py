"""What is done with Tasks whose attempt failed: the worker has published the next one itself."""

import asyncio
from datetime import datetime, timedelta

import pytest

from taskqueue_api.messages import TaskUid
from taskqueue_operator.errors import ClusterUnavailableError
from tests.operator.builders import KEY, NOW, build_task
from tests.operator.clock import settle
from tests.operator.services.dispatching import (
    EARLIER,
    NEXT,
    OTHER,
    SECOND,
    WORK,
    World,
    build_retrying,
    lose_channel,
)

UID = TaskUid("uid-a")


def publications(world: World) -> list[tuple[str, int, int]]:
    """Return UID, attempt and number of each publication."""
    return [(item.uid, item.attempt, item.dispatches) for item in world.rabbit.sent]


async def test_a_task_seen_to_be_retried_is_not_published(world: World) -> None:
    world.open()
    world.fail("a")
    await asyncio.sleep(3600)
    assert world.rabbit.sent == []
    assert world.cluster.requests == []


async def test_a_task_that_is_due_while_its_queue_is_held_is_told_so(world: World) -> None:
    world.fail("live")
    world.fail("listed", listed=True, created=EARLIER)
    await asyncio.sleep(60)
    told = world.cluster.find("Task", "listed")["status"]
    reasons = [one["reason"] for one in told["conditions"]]
    assert (told["phase"], reasons) == ("Retrying", ["Retrying", "Retrying", "QueueNotFound"])
    assert world.dispatched("live") is None
    assert world.cluster.count("patch", "Task") == 1
    world.open(through=NOW)
    await asyncio.sleep(60)
    assert world.rabbit.sent == []
    assert world.dispatched("listed") == ("True", "Published")


async def test_each_phase_on_the_way_of_a_task_publishes_its_first_attempt_only(
    world: World,
) -> None:
    world.open()
    world.create("a")
    await settle()
    world.fail("a", attempts=1)
    world.dispatcher.task_left(UID)  # Running
    world.fail("a", attempts=2)
    world.fail("a", attempts=2)  # an edit of its labels
    world.dispatcher.task_left(UID)
    world.fail("a", attempts=3)
    await asyncio.sleep(3600)
    assert publications(world) == [("uid-a", 1, 1)]
    assert world.cluster.requests == []


async def test_a_task_that_fails_before_its_confirm_is_not_published_again(world: World) -> None:
    world.rabbit.silent.add(WORK)
    world.open()
    world.create("a")
    await settle()
    world.fail("a")
    world.rabbit.channels[0].ack(1)
    await lose_channel(world)
    await asyncio.sleep(60)
    assert publications(world) == [("uid-a", 1, 1)]


async def test_a_task_that_fails_while_it_waits_for_its_turn_is_not_published(
    world: World,
) -> None:
    # An operator that is behind: the Task was published by the one before.
    world.create("a", created=EARLIER, listed=True)
    world.fail("a", created=EARLIER)
    world.open()
    await asyncio.sleep(60)
    assert world.rabbit.sent == []
    assert world.cluster.requests == []


async def test_a_task_that_fails_while_it_is_about_to_be_published_again_is_not(
    world: World,
) -> None:
    world.rabbit.silent.add(WORK)
    world.open()
    world.create("a")
    await lose_channel(world)
    await asyncio.sleep(5)
    assert world.status("a")["dispatches"] == 2
    world.fail("a", status={"dispatches": 2})
    await asyncio.sleep(60)
    assert publications(world) == [("uid-a", 1, 1)]


@pytest.mark.parametrize(
    ("lost", "published"),
    [
        pytest.param("ladder", [("uid-retried", 2, 2)], id="ladder"),
        pytest.param("queue", [("uid-new", 1, 2), ("uid-retried", 2, 2)], id="queue"),
    ],
)
async def test_what_was_lost_is_published_again_after_it_was_announced(
    world: World, lost: str, published: list[tuple[str, int, int]]
) -> None:
    world.open()
    world.create("new")
    world.fail("retried")
    await settle()
    world.rabbit.sent.clear()
    if lost == "queue":
        world.dispatcher.queue_lost(KEY)
    else:
        world.dispatcher.ladder_lost(KEY)
    await asyncio.sleep(9.9)
    assert world.status("retried")["dispatches"] == 2
    assert world.rabbit.sent == []
    await asyncio.sleep(60)
    assert sorted(publications(world)) == published


@pytest.mark.parametrize(
    ("due", "exchange", "delay"),
    [
        pytest.param(NEXT, "taskqueue.delay.25", NEXT, id="before it is due"),
        pytest.param(
            timedelta(milliseconds=1),
            "taskqueue.delay.25",
            timedelta(milliseconds=100),
            id="a moment before",
        ),
        pytest.param(timedelta(), "taskqueue", timedelta(), id="as it is due"),
        pytest.param(-NEXT, "taskqueue", timedelta(), id="long after"),
    ],
)
async def test_what_is_published_again_is_delayed_by_what_is_left(
    world: World, due: timedelta, exchange: str, delay: timedelta
) -> None:
    world.open()
    world.fail("a", due=due)
    world.dispatcher.ladder_lost(KEY)
    await asyncio.sleep(60)
    (sent,) = world.rabbit.sent
    assert (sent.exchange, sent.delay, sent.queue) == (exchange, delay, WORK)
    assert sent.mandatory


async def test_the_time_that_is_left_is_taken_as_it_is_published(world: World) -> None:
    world.open()
    world.fail("a")
    world.dispatcher.ladder_lost(KEY)
    await asyncio.sleep(1)
    world.now = NOW + 90 * SECOND
    await asyncio.sleep(60)
    (sent,) = world.rabbit.sent
    assert sent.delay == 30 * SECOND


async def test_what_is_published_again_carries_payload_and_policy(world: World) -> None:
    world.open()
    world.fail("a", attempts=3, spec={"retry": {"maxAttempts": 7}})
    world.dispatcher.ladder_lost(KEY)
    await asyncio.sleep(60)
    (sent,) = world.rabbit.sent
    assert sent.body == b'{"to":"a@example.com"}'
    assert (sent.attempt, sent.dispatches) == (4, 2)
    assert dict(sent.properties.headers or {})["x-tq-retry"] == '{"maxAttempts":7}'


async def test_what_was_published_again_is_out_and_may_be_lost_once_more(world: World) -> None:
    world.open()
    world.fail("a")
    world.dispatcher.ladder_lost(KEY)
    await asyncio.sleep(60)
    world.dispatcher.ladder_lost(KEY)
    await asyncio.sleep(60)
    assert publications(world) == [("uid-a", 2, 2), ("uid-a", 2, 3)]


async def test_a_retried_task_that_has_started_is_not_published_again(world: World) -> None:
    world.open()
    world.fail("a")
    world.fail("b")
    world.dispatcher.ladder_lost(KEY)
    await asyncio.sleep(5)
    world.leave("a")
    await asyncio.sleep(60)
    assert publications(world) == [("uid-b", 2, 2)]


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({"phase": "Running", "attempts": 2}, id="it runs"),
        pytest.param({"attempts": 2}, id="the next attempt has failed too"),
        pytest.param({"phase": "Succeeded", "attempts": 2}, id="it has ended"),
    ],
)
async def test_what_has_gone_on_unheard_of_is_not_published_again(
    world: World, status: dict[str, object]
) -> None:
    world.open()
    world.fail("a")
    # Someone else's announcement makes ours read the Task.
    world.status("a").update({"dispatches": 5, **status})
    world.dispatcher.ladder_lost(KEY)
    await asyncio.sleep(60)
    assert world.rabbit.sent == []
    assert world.status("a")["dispatches"] == 5


async def test_an_announcement_that_comes_too_late_forgets_not_the_next_attempt(
    world: World,
) -> None:
    # The API server is away while the first attempt is announced again; meanwhile it fails.
    world.cluster.faults["patch"] = [ClusterUnavailableError(503, "away")] * 3
    world.rabbit.silent.add(WORK)
    world.open()
    world.create("a")
    await lose_channel(world)
    world.fail("a")
    await asyncio.sleep(60)
    world.dispatcher.ladder_lost(KEY)
    await asyncio.sleep(60)
    assert publications(world) == [("uid-a", 1, 1), ("uid-a", 2, 2)]


async def test_a_read_that_comes_too_late_forgets_not_the_next_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskqueue_operator.services.publishing.HELD_BYTES_MAX", 0)
    gate = world.cluster.gates["get"] = asyncio.Event()
    world.open()
    world.create("a")
    await settle()
    world.fail("a")
    gate.set()
    await settle()
    del world.cluster.gates["get"]
    world.dispatcher.ladder_lost(KEY)
    await asyncio.sleep(60)
    assert publications(world) == [("uid-a", 2, 2)]


async def test_a_lost_ladder_concerns_one_taskqueue_at_a_time(world: World) -> None:
    world.open()
    world.open(OTHER)
    world.fail("a")
    world.fail("x", spec={"queue": "other"})
    world.dispatcher.ladder_lost(OTHER)
    await asyncio.sleep(60)
    assert [(item.uid, item.queue) for item in world.rabbit.sent] == [("uid-x", "tq.shop.other")]


async def test_a_lost_ladder_without_tasks_is_fine(world: World) -> None:
    world.dispatcher.ladder_lost(KEY)
    await asyncio.sleep(60)
    assert world.rabbit.sent == []
    assert world.cluster.requests == []


async def test_a_publication_to_the_ladder_that_is_unsure_is_made_again(world: World) -> None:
    world.open()
    world.fail("a")
    world.dispatcher.ladder_lost(KEY)
    world.rabbit.silent.add(WORK)
    await asyncio.sleep(11)
    await lose_channel(world)
    await asyncio.sleep(60)
    assert publications(world) == [("uid-a", 2, 2), ("uid-a", 2, 3)]


@pytest.mark.parametrize(
    ("created", "through", "published"),
    [
        pytest.param(EARLIER, NOW, [], id="before dispatchedThrough"),
        pytest.param(EARLIER, EARLIER, [("uid-a", 2, 2)], id="at that moment"),
        pytest.param(EARLIER, EARLIER - SECOND, [("uid-a", 2, 2)], id="after it"),
        pytest.param(EARLIER, None, [("uid-a", 2, 2)], id="nothing known"),
        pytest.param(NOW, None, [], id="created since we started, so its worker lives"),
    ],
)
async def test_a_retried_task_that_is_listed_at_start_is_published_if_it_is_not_known_to_be_out(
    world: World,
    created: datetime,
    through: datetime | None,
    published: list[tuple[str, int, int]],
) -> None:
    world.fail("a", created=created, listed=True)
    world.open(through=through)
    await asyncio.sleep(60)
    assert publications(world) == published
    assert [item.delay for item in world.rabbit.sent] == [NEXT] * len(published)


async def test_a_retried_task_that_is_listed_and_known_to_be_out_may_still_be_lost(
    world: World,
) -> None:
    world.fail("a", created=EARLIER, listed=True)
    world.open(through=NOW)
    await settle()
    world.dispatcher.ladder_lost(KEY)
    await asyncio.sleep(60)
    assert publications(world) == [("uid-a", 2, 2)]


async def test_a_second_list_publishes_no_retried_task(world: World) -> None:
    world.open()
    world.fail("a")
    world.fail("a", listed=True)
    await asyncio.sleep(60)
    assert world.rabbit.sent == []
    assert world.cluster.requests == []


async def test_a_retried_task_does_not_hold_dispatched_through_back(world: World) -> None:
    world.open()
    world.fail("a", created=EARLIER)
    world.create("b", created=NOW)
    await settle()
    assert world.dispatcher.dispatched_through(KEY) == NOW - 10 * SECOND


async def test_a_retried_task_that_was_lost_holds_dispatched_through_back(world: World) -> None:
    # Else the next operator takes it for published, and it waits for ever.
    world.open()
    world.fail("a", created=EARLIER)
    world.create("b", created=NOW)
    await settle()
    world.dispatcher.ladder_lost(KEY)
    await settle()
    assert world.dispatcher.dispatched_through(KEY) == EARLIER - 10 * SECOND
    await asyncio.sleep(60)
    assert world.dispatcher.dispatched_through(KEY) == NOW - 10 * SECOND


async def test_a_retried_task_is_never_refused(world: World) -> None:
    # It was run, so it can be; the TaskQueue's timeout was lowered since.
    world.open(ceiling=timedelta(minutes=1))
    world.fail("a", spec={"timeout": "2m"})
    world.dispatcher.ladder_lost(KEY)
    await asyncio.sleep(60)
    assert publications(world) == [("uid-a", 2, 2)]
    assert dict(world.rabbit.sent[0].properties.headers or {})["x-tq-timeout-ms"] == 60_000
    assert world.cluster.events == []


async def test_payloads_of_retried_tasks_beyond_the_memory_for_them_are_read_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskqueue_operator.services.publishing.HELD_BYTES_MAX", 30)
    world.open()
    names = ("a", "b", "c")
    for name in names:
        world.fail(name)
    world.dispatcher.hold(KEY, "QueueNotReady", "gone")
    world.dispatcher.ladder_lost(KEY)
    await asyncio.sleep(60)
    world.open()
    await asyncio.sleep(60)
    assert sorted(publications(world)) == [(f"uid-{name}", 2, 2) for name in names]
    assert {item.body for item in world.rabbit.sent} == {b'{"to":"a@example.com"}'}
    assert world.cluster.count("get") == 2


async def test_a_new_run_of_a_finished_task_is_another_publication(world: World) -> None:
    world.open()
    world.fail("a")
    body = world.cluster.add(build_task("a", status={"run": 1}))
    world.dispatcher.task_seen(body, listed=False)
    await settle()
    assert publications(world) == [("uid-a", 1, 1)]


async def test_a_retried_task_is_forgotten_when_it_is_gone(world: World) -> None:
    world.open()
    world.fail("a")
    world.dispatcher.task_seen(build_retrying("b"), listed=False)
    world.dispatcher.task_left(UID)
    world.dispatcher.forget_except("shop", set(), NOW + SECOND)
    world.dispatcher.ladder_lost(KEY)
    await asyncio.sleep(60)
    assert world.rabbit.sent == []
    assert world.cluster.requests == []
