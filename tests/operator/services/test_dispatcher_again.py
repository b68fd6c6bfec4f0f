"""What is published again, and what is not."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from taskqueue_api.messages import TaskUid
from taskqueue_operator.errors import ClusterUnavailableError
from tests.operator.builders import KEY
from tests.operator.clock import settle
from tests.operator.rabbit import FakeLink
from tests.operator.services.dispatching import EARLIER, RUNNING, WORK, World, lose_channel

SOURCE = {"secretKeyRef": {"name": "cards", "key": "visa"}}


async def test_a_name_used_again_is_another_task(world: World) -> None:
    world.open()
    world.create("a")
    await settle()
    world.dispatcher.task_left(TaskUid("uid-a"))
    world.create("a", uid="uid-a2")
    await settle()
    assert world.rabbit.uids == ["uid-a", "uid-a2"]


async def test_an_unroutable_task_goes_back_and_is_published_when_the_queue_opens_again(
    world: World,
) -> None:
    del world.rabbit.queues[WORK]
    world.open()
    world.create("a")
    await settle()
    assert world.troubles == [KEY]
    await asyncio.sleep(10)
    assert len(world.rabbit.sent) == 1
    assert world.dispatched("a") == ("False", "Unroutable")
    world.rabbit.queues[WORK] = {}
    world.open()
    await asyncio.sleep(10)
    assert world.rabbit.uids == ["uid-a", "uid-a"]
    assert [item.dispatches for item in world.rabbit.sent] == [1, 1]
    assert world.dispatched("a") == ("True", "Published")


async def test_an_unsure_publication_is_announced_and_made_once_10_s_later(world: World) -> None:
    world.rabbit.silent.add(WORK)
    world.open()
    world.create("a")
    await lose_channel(world)
    await asyncio.sleep(9.9)
    assert world.status("a")["dispatches"] == 2
    assert world.rabbit.uids == ["uid-a"]
    await asyncio.sleep(60)
    assert [(item.uid, item.dispatches) for item in world.rabbit.sent] == [
        ("uid-a", 1),
        ("uid-a", 2),
    ]
    assert world.rabbit.sent[1].body == world.rabbit.sent[0].body
    assert world.troubles == [KEY]


async def test_a_task_that_left_pending_meanwhile_is_not_published_again(world: World) -> None:
    world.rabbit.silent.add(WORK)
    world.open()
    world.create("a", "b")
    await lose_channel(world)
    await asyncio.sleep(1)
    world.leave("a")
    await asyncio.sleep(60)
    assert world.rabbit.uids == ["uid-a", "uid-b", "uid-b"]


async def test_a_task_whose_start_we_have_not_heard_of_is_not_published_again(
    world: World,
) -> None:
    world.rabbit.silent.add(WORK)
    world.open()
    world.create("a")
    world.cluster.find("Task", "a")["status"]["phase"] = "Running"
    await lose_channel(world)
    await asyncio.sleep(60)
    assert world.rabbit.uids == ["uid-a"]
    assert world.status("a")["dispatches"] == 1


async def test_a_task_that_starts_before_its_confirm_is_forgotten(world: World) -> None:
    world.rabbit.silent.add(WORK)
    world.open()
    world.create("a")
    await settle()
    world.leave("a")
    await lose_channel(world)
    await asyncio.sleep(60)
    assert world.rabbit.uids == ["uid-a"]
    assert world.cluster.requests == []


async def test_the_channel_of_a_silent_queue_is_given_up_and_its_tasks_published_again(
    world: World,
) -> None:
    world.rabbit.silent.add(WORK)
    world.open()
    world.create("a")
    await asyncio.sleep(29)
    world.dispatcher.give_up_silent_channels()
    await settle()
    assert [channel.is_open for channel in world.rabbit.channels] == [True]
    await asyncio.sleep(2)
    world.dispatcher.give_up_silent_channels()
    await settle()
    assert [channel.is_open for channel in world.rabbit.channels] == [False]
    world.rabbit.silent.clear()
    world.open()
    await asyncio.sleep(60)
    assert [item.dispatches for item in world.rabbit.sent] == [1, 2]


async def test_a_publication_that_rabbitmq_could_not_take_is_unsure(world: World) -> None:
    world.rabbit.silent.add(WORK)
    world.open()
    world.create("a")
    await settle()
    world.rabbit.channels[0].nack(1)
    world.rabbit.silent.clear()
    await settle()
    world.open()
    await asyncio.sleep(60)
    assert [item.dispatches for item in world.rabbit.sent] == [1, 2]


async def test_a_lost_queue_brings_back_only_what_was_out(world: World) -> None:
    world.open()
    world.create("out")
    await settle()
    world.dispatcher.hold(KEY, "QueueNotReady", "gone")
    world.create("held")
    world.dispatcher.queue_lost(KEY)
    world.open()
    await asyncio.sleep(60)
    assert [(item.uid, item.dispatches) for item in world.rabbit.sent] == [
        ("uid-out", 1),
        ("uid-held", 1),
        ("uid-out", 2),
    ]


async def test_what_was_in_a_deleted_taskqueue_waits_for_its_successor(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.open()
    world.create("a")
    await settle()
    caplog.set_level("INFO")
    world.dispatcher.close_queue(KEY)
    assert [record.message for record in caplog.records] == [
        "the TaskQueue was deleted: 1 Tasks wait, and are published when there is one of its name "
        "again"
    ]
    await asyncio.sleep(60)
    assert world.dispatched("a") == ("False", "QueueNotFound")
    world.open()
    await asyncio.sleep(60)
    assert [item.dispatches for item in world.rabbit.sent] == [1, 2]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        pytest.param({"payload": "x" * 32767}, "PayloadTooLarge", id="payload"),
        pytest.param({"timeout": "6m"}, "TimeoutTooLong", id="timeout"),
        pytest.param({"payloadFrom": SOURCE}, "PayloadAmbiguous", id="two payloads"),
    ],
)
async def test_a_task_that_can_never_run_is_failed_and_not_published(
    world: World, changes: dict[str, Any], kind: str
) -> None:
    world.open()
    world.create("bad", spec=changes)
    world.create("good")
    await asyncio.sleep(60)
    assert world.rabbit.uids == ["uid-good"]
    assert world.status("bad")["phase"] == "Failed"
    assert world.status("bad")["error"]["type"] == kind
    assert [event[:2] for event in world.cluster.events] == [("Warning", kind)]


async def test_what_is_in_flight_on_an_old_connection_does_not_hold_the_new_one(
    world: World,
) -> None:
    world.rabbit.silent.add(WORK)
    world.open()
    world.create("a")
    await settle()
    world.open(link=FakeLink(world.rabbit))
    await settle()
    world.rabbit.silent.clear()
    world.create("b")
    await settle()
    assert world.rabbit.uids == ["uid-a", "uid-b"]
    assert world.troubles == []
    await asyncio.sleep(60)
    assert [(item.uid, item.dispatches) for item in world.rabbit.sent] == [
        ("uid-a", 1),
        ("uid-b", 1),
        ("uid-a", 2),
    ]


async def test_what_is_in_flight_stays_so_when_the_queue_is_held_and_opened_again(
    world: World,
) -> None:
    world.rabbit.silent.add(WORK)
    world.open()
    world.create("a")
    await settle()
    world.dispatcher.hold(KEY, "QueueNotReady", "looked at")
    world.open()
    await settle()
    assert world.rabbit.channels[0].is_open
    world.rabbit.channels[0].ack(1)
    await asyncio.sleep(60)
    assert world.rabbit.uids == ["uid-a"]


async def test_an_announcement_waits_for_the_api_server(world: World) -> None:
    world.cluster.faults["patch"] = [ClusterUnavailableError(503, "away")] * 3
    world.rabbit.silent.add(WORK)
    world.open()
    world.create("a")
    await lose_channel(world)
    await asyncio.sleep(120)
    assert [item.dispatches for item in world.rabbit.sent] == [1, 2]


async def test_what_runs_is_published_again_when_its_queue_was_lost(world: World) -> None:
    """Its worker may be lost too, and with it the message that another would have got."""
    world.open()
    world.create("a", status=RUNNING)
    await asyncio.sleep(600)
    assert world.rabbit.sent == []
    world.dispatcher.queue_lost(KEY)
    await asyncio.sleep(9.9)
    assert world.status("a")["dispatches"] == 2
    await asyncio.sleep(1)
    (sent,) = world.rabbit.sent
    headers = sent.properties.headers
    assert headers is not None
    # Of the attempt that runs: should it fail, this message starts no other before its time.
    assert (sent.uid, headers["x-tq-attempt"], headers["x-tq-dispatches"]) == ("uid-a", 2, 2)
    assert world.status("a")["phase"] == "Running"


async def test_what_runs_is_left_alone_by_all_else(world: World) -> None:
    world.open()
    world.create("a", status=RUNNING, spec={"deadline": "2026-01-02T12:00:01Z"}, listed=True)
    await settle()
    world.now += timedelta(hours=1)
    await asyncio.sleep(3600)
    world.dispatcher.sweep(KEY, empty=True)
    world.dispatcher.ladder_lost(KEY)
    world.dispatcher.fail_late()
    world.dispatcher.hold(KEY, "BrokerUnreachable", "away")
    await asyncio.sleep(60)
    assert world.rabbit.sent == []
    assert world.status("a") | RUNNING == world.status("a")
    assert world.dispatched("a") is None


async def test_what_runs_and_has_no_queue_is_not_told_so(world: World) -> None:
    world.open()
    world.create("a", status=RUNNING)
    await settle()
    world.dispatcher.close_queue(KEY)
    await asyncio.sleep(60)
    assert world.dispatched("a") is None
    world.open()
    await asyncio.sleep(1)
    assert world.rabbit.uids == ["uid-a"]


async def test_a_rerun_is_published_as_one_before_the_end_of_the_last_run_was_seen(
    world: World,
) -> None:
    """The end of a short run and its rerun may come as one event."""
    world.open()
    world.create("a", created=EARLIER)
    await settle()
    world.create("a", created=EARLIER, status={"run": 1})
    await settle()
    assert [(item.run, item.dispatches) for item in world.rabbit.sent] == [(0, 1), (1, 1)]


async def test_what_is_started_after_its_message_was_lost_is_published_all_the_same(
    world: World,
) -> None:
    world.open()
    world.create("a")
    await settle()
    world.dispatcher.queue_lost(KEY)
    await settle()
    # Whoever started it unsaid says so now, and may be lost later.
    body = world.cluster.find("Task", "a")
    body["status"] |= {**RUNNING, "attempts": 1}
    world.dispatcher.task_seen(body, listed=False)
    await asyncio.sleep(60)
    assert [item.uid for item in world.rabbit.sent] == ["uid-a", "uid-a"]
    assert world.rabbit.sent[1].dispatches == world.status("a")["dispatches"]
    assert world.status("a")["phase"] == "Running"
