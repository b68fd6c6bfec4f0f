"""The ladder of each vhost is looked at every half minute, and repaired before it is needed."""

import asyncio
from datetime import timedelta

import pytest
from pika.exceptions import ChannelClosedByBroker

from taskqueue_api.names import DUE_EXCHANGE
from taskqueue_operator.domain.dispatching import OVERDUE, QueueKey
from taskqueue_operator.errors import BrokerError
from taskqueue_operator.services.ladders import CHECK_SECONDS, Ladders
from tests.operator.builders import KEY, build_task, build_taskqueue
from tests.operator.clock import settle
from tests.operator.rabbit import FakeLink, FakeRabbit
from tests.operator.services.dispatching import EARLIER, NEXT, build_retrying
from tests.operator.services.reconciling import World

LEVELS = {f"taskqueue.delay.{level:02}" for level in range(26)}
LEVEL = "taskqueue.delay.07"


class Vhost:
    """A connection to a vhost, and what was lost there each time that `lost` was called."""

    def __init__(self) -> None:
        self.rabbit = FakeRabbit()
        self.rabbit.exchanges[DUE_EXCHANGE] = "topic"
        self.link = FakeLink(self.rabbit)
        self.losses: list[set[str]] = []

    def lost(self) -> None:
        """Take note of what is missing now."""
        self.losses.append(LEVELS - set(self.rabbit.queues))

    def wipe(self) -> None:
        """Lose all queues, as a broker without a disk does."""
        self.rabbit.queues.clear()

    @property
    def checks(self) -> int:
        """How often it was looked at: with two channels each time."""
        return len(self.rabbit.channels) // 2


@pytest.fixture
async def vhost() -> Vhost:
    return Vhost()


async def test_a_ladder_that_is_missing_is_told_first_and_then_declared(vhost: Vhost) -> None:
    await Ladders().ensure(vhost.link, vhost.lost)
    assert vhost.losses == [LEVELS]
    assert set(vhost.rabbit.queues) == LEVELS
    assert not any(channel.is_open for channel in vhost.rabbit.channels)


async def test_a_whole_ladder_is_no_loss(vhost: Vhost) -> None:
    await Ladders().ensure(vhost.link, vhost.lost)
    vhost.losses.clear()
    await Ladders().ensure(vhost.link, vhost.lost)
    assert vhost.losses == []


@pytest.mark.parametrize("level", ["taskqueue.delay.00", LEVEL, "taskqueue.delay.25"])
async def test_one_level_that_is_missing_is_a_loss(vhost: Vhost, level: str) -> None:
    await Ladders().ensure(vhost.link, vhost.lost)
    del vhost.rabbit.queues[level]
    await Ladders().ensure(vhost.link, vhost.lost)
    assert vhost.losses[1:] == [{level}]
    assert set(vhost.rabbit.queues) == LEVELS


async def test_bindings_that_somebody_deleted_come_back_and_are_no_loss(vhost: Vhost) -> None:
    await Ladders().ensure(vhost.link, vhost.lost)
    vhost.losses.clear()
    before = set(vhost.rabbit.bindings), set(vhost.rabbit.links)
    vhost.rabbit.bindings.clear()
    vhost.rabbit.links.clear()
    await Ladders().ensure(vhost.link, vhost.lost)
    assert (vhost.rabbit.bindings, vhost.rabbit.links) == before
    assert vhost.losses == []


async def test_it_is_looked_at_now_and_then(vhost: Vhost) -> None:
    ladders = Ladders()
    for _ in range(10):
        await ladders.ensure(vhost.link, vhost.lost)
    assert vhost.checks == 1
    await asyncio.sleep(CHECK_SECONDS - 1)
    vhost.wipe()
    await ladders.ensure(vhost.link, vhost.lost)
    assert (vhost.checks, len(vhost.losses)) == (1, 1)
    await asyncio.sleep(2)
    await ladders.ensure(vhost.link, vhost.lost)
    assert (vhost.checks, len(vhost.losses)) == (2, 2)


async def test_those_who_ask_at_once_share_one_look(vhost: Vhost) -> None:
    ladders = Ladders()
    await asyncio.gather(*(ladders.ensure(vhost.link, vhost.lost) for _ in range(20)))
    assert (vhost.checks, len(vhost.losses)) == (1, 1)


async def test_each_connection_is_looked_at_by_itself(vhost: Vhost) -> None:
    ladders, other = Ladders(), Vhost()
    await ladders.ensure(vhost.link, vhost.lost)
    await ladders.ensure(other.link, other.lost)
    assert (vhost.checks, other.checks) == (1, 1)
    ladders.forget(vhost.link)
    await ladders.ensure(vhost.link, vhost.lost)
    await ladders.ensure(other.link, other.lost)
    assert (vhost.checks, other.checks) == (2, 1)


async def test_a_connection_that_was_lost_is_looked_at_anew(vhost: Vhost) -> None:
    ladders = Ladders()
    ladders.forget(vhost.link)
    await ladders.ensure(vhost.link, vhost.lost)
    vhost.wipe()
    ladders.forget(vhost.link)
    await ladders.ensure(vhost.link, vhost.lost)
    assert vhost.losses == [LEVELS, LEVELS]
    assert set(vhost.rabbit.queues) == LEVELS


async def test_a_refusal_is_raised_and_tried_again_the_next_time(vhost: Vhost) -> None:
    ladders = Ladders()
    vhost.rabbit.refuse[LEVEL] = ChannelClosedByBroker(406, "PRECONDITION_FAILED - x")
    for _ in range(2):
        with pytest.raises(BrokerError, match="PRECONDITION_FAILED"):
            await ladders.ensure(vhost.link, vhost.lost)
    vhost.rabbit.refuse.clear()
    await ladders.ensure(vhost.link, vhost.lost)
    assert set(vhost.rabbit.queues) == LEVELS


# Within a reconcile


@pytest.fixture
def world(reconciling_world: World) -> World:
    return reconciling_world


def add_retrying(world: World, name: str, *, listed: bool = False) -> None:
    """Let a Task appear whose first attempt failed before the operator started."""
    body = world.cluster.add(build_retrying(name, created=EARLIER))
    world.dispatcher.task_seen(body, listed=listed)


async def test_what_waits_for_no_time_is_as_sure_as_before(world: World) -> None:
    world.declare_as_before()
    del world.rabbit.queues[LEVEL]
    world.rabbit.ready["tq.shop.emails"] = 1
    body = world.cluster.add(build_task("b", created=EARLIER))
    world.dispatcher.task_seen(body, listed=True)
    await world.reconcile(status={"dispatchedThrough": "2026-01-02T11:59:00Z"})
    await asyncio.sleep(60)
    assert world.rabbit.sent == []
    status = world.cluster.find("TaskQueue", "emails")["status"]
    assert status["dispatchedThrough"] == "2026-01-02T11:59:00Z"


async def test_a_message_due_long_ago_is_published_again_where_its_queue_is_empty(
    world: World,
) -> None:
    world.declare_as_before()
    await world.reconcile()
    add_retrying(world, "a")
    await world.queues.reconcile(KEY)
    await asyncio.sleep(60)
    assert world.rabbit.sent == []
    world.now += NEXT + OVERDUE + timedelta(seconds=1)
    world.rabbit.ready["tq.shop.emails"] = 1
    await world.queues.reconcile(KEY)
    await asyncio.sleep(60)
    assert world.rabbit.sent == []
    world.rabbit.ready["tq.shop.emails"] = 0
    await world.queues.reconcile(KEY)
    await asyncio.sleep(60)
    assert [(item.uid, item.dispatches) for item in world.rabbit.sent] == [("uid-a", 2)]
    await world.queues.reconcile(KEY)
    await asyncio.sleep(60)
    assert len(world.rabbit.sent) == 1


async def test_what_waited_on_a_lost_level_is_published_again_for_the_rest_of_its_time(
    world: World,
) -> None:
    world.declare_as_before()
    await world.reconcile()
    add_retrying(world, "a")
    world.dispatcher.task_seen(world.cluster.add(build_task("b")), listed=False)
    await settle()
    del world.rabbit.queues[LEVEL]
    await asyncio.sleep(CHECK_SECONDS + 1)
    await world.queues.reconcile(KEY)
    await asyncio.sleep(60)
    # b waits for no time: it is in its queue, which is there.
    assert [(item.uid, item.dispatches) for item in world.rabbit.sent] == [
        ("uid-b", 1),
        ("uid-a", 2),
    ]
    assert world.rabbit.sent[1].delay == NEXT


async def test_a_level_lost_while_no_operator_ran_makes_all_that_is_listed_unsure(
    world: World,
) -> None:
    world.declare_as_before()
    del world.rabbit.queues[LEVEL]
    add_retrying(world, "a", listed=True)
    await world.reconcile(status={"dispatchedThrough": "2026-01-02T11:59:00Z"})
    await asyncio.sleep(60)
    assert [(item.uid, item.dispatches) for item in world.rabbit.sent] == [("uid-a", 2)]


async def test_a_lost_level_concerns_all_taskqueues_of_the_vhost(world: World) -> None:
    other = QueueKey("shop", "other")
    world.declare_as_before()
    await world.reconcile()
    metadata = {"name": "other", "uid": "uid-other"}
    world.queues.seen(world.cluster.add(build_taskqueue(metadata=metadata)))
    await world.queues.reconcile(other)
    body = world.cluster.add(build_retrying("x", spec={"queue": "other"}))
    world.dispatcher.task_seen(body, listed=False)
    del world.rabbit.queues[LEVEL]
    await asyncio.sleep(CHECK_SECONDS + 1)
    await world.queues.reconcile(KEY)
    await asyncio.sleep(60)
    assert [(item.queue, item.dispatches) for item in world.rabbit.sent] == [("tq.shop.other", 2)]


async def test_a_level_lost_while_no_operator_ran_concerns_who_is_reconciled_later_too(
    world: World,
) -> None:
    # At start the first reconcile of a vhost repairs the ladder; the second finds it whole.
    through = {"dispatchedThrough": "2026-01-02T11:59:00Z"}
    world.declare_as_before()
    world.rabbit.queues["tq.shop.other"] = {}
    del world.rabbit.queues[LEVEL]
    second = build_taskqueue(metadata={"name": "other", "uid": "uid-other"}, status=through)
    world.queues.seen(world.cluster.add(second))
    body = world.cluster.add(build_retrying("x", created=EARLIER, spec={"queue": "other"}))
    world.dispatcher.task_seen(body, listed=True)
    await world.reconcile(status=through)
    await world.queues.reconcile(QueueKey("shop", "other"))
    await asyncio.sleep(60)
    assert [(item.queue, item.dispatches) for item in world.rabbit.sent] == [("tq.shop.other", 2)]


async def test_the_ladder_is_looked_at_anew_after_the_connection_was_lost(world: World) -> None:
    await world.reconcile()
    add_retrying(world, "a")
    world.link.lose()
    world.queues.broker_changed([KEY], world.link)
    del world.rabbit.queues[LEVEL]
    world.link.fault = None
    world.link.connected.set()
    world.queues.broker_changed([KEY], world.link)
    await asyncio.sleep(10)
    assert LEVEL in world.rabbit.queues
    await asyncio.sleep(60)
    assert [(item.uid, item.dispatches) for item in world.rabbit.sent] == [("uid-a", 2)]


async def test_a_ladder_that_is_refused_is_a_condition(world: World) -> None:
    words = "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl'"
    world.rabbit.refuse[LEVEL] = ChannelClosedByBroker(406, words)
    conditions = await world.reconcile()
    assert conditions["Ready"] == ("False", "DeclarationRefused")


async def test_reconciles_within_a_minute_leave_the_ladder_alone(world: World) -> None:
    await world.reconcile()
    del world.rabbit.queues[LEVEL]
    await world.queues.reconcile(KEY)
    assert LEVEL not in world.rabbit.queues
    await asyncio.sleep(timedelta(minutes=1).total_seconds())
    await world.queues.reconcile(KEY)
    assert LEVEL in world.rabbit.queues
