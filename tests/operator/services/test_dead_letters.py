"""Dead letters are counted without a word to the API server, but for what has changed."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pika.exceptions import ChannelClosedByBroker
from prometheus_client import REGISTRY

from taskqueue_api.conditions import Condition
from taskqueue_operator.domain.dead_letters import TOLD_SECONDS
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.errors import (
    ClusterError,
    ClusterUnavailableError,
    NamespaceTerminatingError,
)
from taskqueue_operator.services.backlogs import Reading
from taskqueue_operator.services.dead_letters import EVERY_SECONDS, DeadLetters
from taskqueue_operator.services.status import StatusBoard
from tests.operator.builders import KEY, build_taskqueue
from tests.operator.fakes import FakeCluster
from tests.operator.rabbit import FakeLink, FakeRabbit
from tests.operator.services.brokers import FakeBrokers
from tests.operator.services.reconciling import World as WholeWorld

DEAD = "tqd.shop.emails"
OTHER = QueueKey("shop", "other")


class World:
    """A counter of the dead letters of two TaskQueues on one broker."""

    def __init__(self, stored: int | None = None) -> None:
        self.rabbit = FakeRabbit(DEAD, "tqd.shop.other")
        self.link = FakeLink(self.rabbit)
        self.cluster = FakeCluster()
        self.brokers = FakeBrokers(self.cluster, self.link)
        self.board = StatusBoard(self.cluster)
        self.reading: Reading | None = None
        self.letters = DeadLetters(self.cluster, self.brokers, self.board, lambda _: self.reading)
        status = None if stored is None else {"deadLetters": stored}
        for key in (KEY, OTHER):
            metadata = {"name": key.name, "uid": f"uid-{key.name}"}
            body = self.cluster.add(build_taskqueue(metadata=metadata, status=status))
            self.board.seen(key, body)
            self.letters.queue_seen(key, body)
            self.brokers.used.add(key)

    def shown(self, key: QueueKey = KEY) -> int | None:
        """Return the number that the TaskQueue's status is to show."""
        for known, row in self.board._rows.items():
            if known == key:
                return row.wanted.dead_letters
        return None


def metric(key: QueueKey = KEY) -> float | None:
    labels = {"namespace": key.namespace, "queue": key.name}
    return REGISTRY.get_sample_value("taskqueue_dead_letters", labels)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    counting = asyncio.create_task(world.letters.run())
    yield world
    counting.cancel()
    for key in (KEY, OTHER):
        world.letters.queue_gone(key)


async def test_the_number_reaches_status_and_metrics(world: World) -> None:
    world.rabbit.ready = {DEAD: 3}
    await asyncio.sleep(EVERY_SECONDS + 1)
    assert (world.shown(), world.shown(OTHER)) == (3, 0)
    assert (metric(), metric(OTHER)) == (3, 0)


async def test_what_one_call_for_all_has_told_is_not_asked_again(world: World) -> None:
    world.reading = Reading(0, 0, 0.0, letters=5)
    await asyncio.sleep(EVERY_SECONDS + 1)
    assert (world.shown(), world.shown(OTHER)) == (5, 5)
    assert not world.rabbit.channels


async def test_all_queues_are_read_over_one_channel(world: World) -> None:
    await asyncio.sleep(EVERY_SECONDS + 1)
    assert len(world.rabbit.channels) == 1
    assert not world.rabbit.channels[0].is_open
    assert world.cluster.requests == []


async def test_what_does_not_change_is_not_written(world: World) -> None:
    world.rabbit.ready = {DEAD: 3}
    for key in (KEY, OTHER):
        world.board.conditions(key, 1, [Condition(type="Ready", status="True", reason="Ready")])
    await world.board.flush()
    before = world.cluster.count("apply")
    writing = asyncio.create_task(world.board.run())
    await asyncio.sleep(20 * EVERY_SECONDS)
    writing.cancel()
    assert world.cluster.count("apply") == before + 2
    assert world.cluster.find("TaskQueue", "emails")["status"]["deadLetters"] == 3


@pytest.mark.parametrize("lost", ["connection", "queue", "node"])
async def test_the_last_number_stays_while_rabbitmq_cannot_tell(world: World, lost: str) -> None:
    world.rabbit.ready = {DEAD: 3}
    await asyncio.sleep(EVERY_SECONDS + 1)
    if lost == "connection":
        world.link.lose()
    elif lost == "queue":
        del world.rabbit.queues[DEAD]
    else:
        words = f"NOT_FOUND - home node of durable queue '{DEAD}' is down or inaccessible"
        world.rabbit.refuse[DEAD] = ChannelClosedByBroker(404, words)
    world.rabbit.ready = {"tqd.shop.other": 2}
    await asyncio.sleep(3 * EVERY_SECONDS)
    assert (world.shown(), metric()) == (3, 3)
    assert world.shown(OTHER) == (0 if lost == "connection" else 2)


async def test_a_connection_that_breaks_meanwhile_is_no_end(world: World) -> None:
    world.brokers.link.fault = None
    world.link.lose()
    world.link.connected.set()
    await asyncio.sleep(EVERY_SECONDS + 1)
    assert world.shown() is None
    world.link.fault = None
    await asyncio.sleep(EVERY_SECONDS)
    assert world.shown() == 0


async def test_a_rise_is_one_event(world: World) -> None:
    await asyncio.sleep(EVERY_SECONDS + 1)
    for number in range(1, 20):
        world.rabbit.ready = {DEAD: number}
        await asyncio.sleep(EVERY_SECONDS)
    ((kind, reason, message),) = world.cluster.events
    assert (kind, reason) == ("Warning", "DeadLetters")
    assert "'tqd.shop.emails' in RabbitMQ: 1;" in message
    await asyncio.sleep(TOLD_SECONDS)
    assert len(world.cluster.events) == 2
    assert "'tqd.shop.emails' in RabbitMQ: 19;" in world.cluster.events[1][2]
    await asyncio.sleep(3 * TOLD_SECONDS)
    assert len(world.cluster.events) == 2


async def test_an_event_that_the_api_server_could_not_take_is_posted_later(world: World) -> None:
    world.cluster.faults["event"] = [ClusterUnavailableError(503, "away")]
    world.rabbit.ready = {DEAD: 3}
    await asyncio.sleep(EVERY_SECONDS + 1)
    assert world.cluster.events == []
    await asyncio.sleep(EVERY_SECONDS)
    assert len(world.cluster.events) == 1


@pytest.mark.parametrize(
    "error", [ClusterError(403, "forbidden"), NamespaceTerminatingError(403, "terminating")]
)
async def test_an_event_that_is_refused_is_not_tried_again(
    world: World, error: ClusterError
) -> None:
    world.cluster.faults["event"] = [error]
    world.rabbit.ready = {DEAD: 3}
    await asyncio.sleep(5 * EVERY_SECONDS)
    assert world.cluster.count("event") == 1
    assert (world.cluster.events, world.shown()) == ([], 3)


async def test_what_an_earlier_operator_has_told_is_not_told_again() -> None:
    world = World(stored=3)
    await world.letters.take(KEY, 3)
    await world.letters.take(OTHER, 4)
    assert [message for *_, message in world.cluster.events] == [
        message for *_, message in world.cluster.events if "tqd.shop.other" in message
    ]
    assert len(world.cluster.events) == 1
    for key in (KEY, OTHER):
        world.letters.queue_gone(key)


async def test_a_namesake_starts_anew(world: World) -> None:
    world.rabbit.ready = {DEAD: 3}
    await asyncio.sleep(EVERY_SECONDS + 1)
    world.letters.queue_seen(KEY, build_taskqueue(metadata={"uid": "another"}))
    await world.letters.take(KEY, 0)
    assert (world.shown(), metric()) == (0, 0)


async def test_a_taskqueue_that_is_gone_leaves_no_metric(world: World) -> None:
    await asyncio.sleep(EVERY_SECONDS + 1)
    world.letters.queue_gone(KEY)
    assert metric() is None
    await world.letters.take(KEY, 5)
    assert metric() is None
    world.letters.queue_gone(KEY)


async def test_a_reconcile_tells_the_number_too() -> None:
    world = WholeWorld()
    world.rabbit.queues[DEAD] = {}
    world.rabbit.ready = {DEAD: 2}
    await world.reconcile()
    await world.board.flush()
    assert world.cluster.find("TaskQueue", "emails")["status"]["deadLetters"] == 2
    assert [event[1] for event in world.cluster.events].count("DeadLetters") == 1
    world.dead_letters.queue_gone(KEY)
    world.requests.stop()
    await world.dispatcher.stop(0)
