"""Every waiting Task is published once, as far as one process can know."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from taskqueue_operator.services.publishing import WINDOW
from tests.operator.builders import KEY, NOW, build_task
from tests.operator.clock import settle
from tests.operator.rabbit import FakeLink
from tests.operator.services.dispatching import EARLIER, OTHER, SECOND, WORK, World


def held_metric() -> float | None:
    return REGISTRY.get_sample_value(
        "taskqueue_tasks_held", {"namespace": "shop", "queue": "emails"}
    )


async def test_a_task_is_published_once_and_the_operator_writes_nothing(world: World) -> None:
    world.open()
    world.create("a")
    await asyncio.sleep(60)
    (sent,) = world.rabbit.sent
    assert (sent.uid, sent.key, sent.mandatory) == ("uid-a", WORK, True)
    assert sent.body == b'{"to":"a@example.com"}'
    assert sent.properties.type == "send_welcome"
    assert sent.properties.delivery_mode == 2
    assert sent.properties.priority == 4
    assert world.cluster.requests == []


async def test_a_payload_that_is_elsewhere_is_named_and_read_by_nobody_here(world: World) -> None:
    world.open()
    source = {"secretKeyRef": {"name": "cards", "key": "visa"}}
    world.create("a", spec={"payload": None, "payloadFrom": source})
    await asyncio.sleep(60)
    (sent,) = world.rabbit.sent
    assert sent.body == b"null"
    headers = sent.properties.headers
    assert headers is not None
    assert (headers["x-tq-version"], headers["x-tq-payload-from"]) == (2, "Secret/cards/visa")
    assert world.cluster.requests == []


async def test_an_edit_of_a_waiting_task_publishes_nothing_twice(world: World) -> None:
    world.open()
    world.create("a")
    await settle()
    body = build_task("a")
    body["metadata"]["labels"] = {"edited": "yes"}
    world.dispatcher.task_seen(body, listed=False)
    await asyncio.sleep(60)
    assert world.rabbit.uids == ["uid-a"]


async def test_a_second_list_publishes_nothing_twice(world: World) -> None:
    world.open()
    world.create("a", "b")
    await settle()
    world.create("a", "b", listed=True)
    await asyncio.sleep(60)
    assert world.rabbit.uids == ["uid-a", "uid-b"]
    assert world.cluster.requests == []


async def test_an_edit_before_the_queue_opens_publishes_nothing_twice(world: World) -> None:
    world.create("a")
    world.create("a")
    world.open()
    await asyncio.sleep(60)
    assert world.rabbit.uids == ["uid-a"]


async def test_tasks_are_held_until_their_queue_opens_and_published_once(world: World) -> None:
    world.create("a", "b")
    await asyncio.sleep(1)
    assert world.rabbit.sent == []
    world.open()
    world.open()
    await asyncio.sleep(60)
    assert world.rabbit.uids == ["uid-a", "uid-b"]
    assert world.cluster.requests == []


async def test_a_held_task_is_told_why_and_told_when_it_is_published(world: World) -> None:
    world.create("a")
    await asyncio.sleep(10)
    assert world.dispatched("a") == ("False", "QueueNotFound")
    world.open()
    await asyncio.sleep(10)
    assert world.rabbit.uids == ["uid-a"]
    assert world.dispatched("a") == ("True", "Published")
    assert world.cluster.count("patch") == 2


async def test_a_reason_that_changes_is_told(world: World) -> None:
    world.create("a")
    await asyncio.sleep(10)
    world.dispatcher.hold(KEY, "QueueNotReady", "no credentials")
    await asyncio.sleep(10)
    assert world.dispatched("a") == ("False", "QueueNotReady")


async def test_one_unroutable_task_holds_back_the_others_and_asks_for_help_once(
    world: World,
) -> None:
    del world.rabbit.queues[WORK]
    world.open()
    world.create("a", "b", "c")
    await settle()
    world.create("d")
    await settle()
    assert world.troubles == [KEY]
    assert "uid-d" not in world.rabbit.uids


async def test_a_task_that_leaves_before_its_turn_is_not_published(world: World) -> None:
    world.create("a", "b")
    world.leave("a")
    world.open()
    await settle()
    assert world.rabbit.uids == ["uid-b"]


async def test_a_held_task_that_leaves_is_not_told(world: World) -> None:
    world.create("a")
    await asyncio.sleep(1)
    world.leave("a")
    await asyncio.sleep(60)
    assert world.cluster.requests == []


async def test_at_most_a_window_is_unconfirmed(world: World) -> None:
    world.rabbit.silent.add(WORK)
    world.open()
    world.create(*(f"t{number:03}" for number in range(WINDOW + 50)))
    await asyncio.sleep(10)
    assert len(world.rabbit.sent) == WINDOW
    world.rabbit.channels[0].ack(10, multiple=True)
    await settle()
    assert len(world.rabbit.sent) == WINDOW + 10
    world.rabbit.silent.clear()
    world.rabbit.channels[0].ack(WINDOW + 10, multiple=True)
    await settle()
    assert len(set(world.rabbit.uids)) == len(world.rabbit.sent) == WINDOW + 50


async def test_a_silent_queue_does_not_stop_another(world: World) -> None:
    world.rabbit.silent.add(WORK)
    world.open()
    world.open(OTHER)
    world.create(*(f"t{number:03}" for number in range(WINDOW + 1)))
    world.create("x", spec={"queue": "other"})
    await settle()
    assert [item.uid for item in world.rabbit.sent if item.key == "tq.shop.other"] == ["uid-x"]
    assert world.dispatcher.dispatched_through(OTHER) == NOW - 10 * SECOND


@pytest.mark.parametrize("end", ["stop", "freeze"])
async def test_nothing_more_is_published_at_the_end(world: World, end: str) -> None:
    world.create("a")
    if end == "stop":
        await world.dispatcher.stop(1)
    else:
        world.dispatcher.freeze()
    world.open()
    world.create("b")
    await asyncio.sleep(60)
    assert world.rabbit.sent == []


async def test_a_connection_that_is_lost_holds_the_queue_and_asks_for_help(world: World) -> None:
    world.open()
    await settle()
    world.link.lose()
    world.create("a")
    await settle()
    assert world.troubles == [KEY]
    link = FakeLink(world.rabbit)
    world.open(link=link)
    await settle()
    assert world.rabbit.uids == ["uid-a"]
    assert world.dispatcher.faults() == []


async def test_forget_except_forgets_what_is_old_and_not_listed(world: World) -> None:
    world.create("gone", created=EARLIER)
    world.create("there", created=EARLIER)
    world.create("young", created=NOW)
    world.create("elsewhere", created=EARLIER, spec={"queue": "other"})
    world.dispatcher.forget_except("shop", {"there", "elsewhere"}, NOW)
    world.dispatcher.forget_except("another", set(), NOW + SECOND)
    world.open()
    world.open(OTHER)
    await settle()
    assert sorted(world.rabbit.uids) == ["uid-elsewhere", "uid-there", "uid-young"]


async def test_the_lane_of_a_queue_that_nobody_needs_is_dropped_with_its_metric(
    world: World,
) -> None:
    world.create("a")
    await settle()
    assert held_metric() == 1
    world.leave("a")
    await settle()
    assert held_metric() is None
    assert world.dispatcher.dispatched_through(KEY) is None


async def test_a_lane_that_never_ran_is_dropped_too(world: World) -> None:
    world.create("a")
    world.leave("a")
    await settle()
    assert held_metric() is None


async def test_the_lane_of_a_deleted_taskqueue_goes_with_its_last_task(world: World) -> None:
    world.open()
    world.create("a")
    await settle()
    channel = world.rabbit.channels[0]
    world.dispatcher.close_queue(KEY)
    world.leave("a")
    await settle()
    assert held_metric() is None
    assert not channel.is_open
    world.dispatcher.close_queue(KEY)


async def test_payloads_beyond_the_memory_for_them_are_read_again_in_their_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskqueue_operator.services.publishing.HELD_BYTES_MAX", 30)
    world.create("a", "b", "c")
    world.cluster.find("Task", "c")["status"]["phase"] = "Running"
    world.open()
    await asyncio.sleep(60)
    assert [(item.uid, item.body) for item in world.rabbit.sent] == [
        ("uid-a", b'{"to":"a@example.com"}'),
        ("uid-b", b'{"to":"a@example.com"}'),
    ]
    assert world.cluster.count("get") == 2
    assert world.cluster.count("patch") == 0
