"""The depths of work queues: by one call, or one by one, and never a zero for want of an answer."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from taskqueue_operator.broker.management import QueueTotals
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.errors import BrokerUnavailableError, ManagementUnavailableError
from taskqueue_operator.services.backlogs import EVERY_SECONDS, OLD_SECONDS, Backlogs
from tests.operator.builders import KEY
from tests.operator.fakes import FakeCluster
from tests.operator.rabbit import FakeLink, FakeRabbit
from tests.operator.services.brokers import FakeBrokers

WORK = "tq.shop.emails"
OTHER = QueueKey("shop", "other")


class World:
    """Two TaskQueues on one broker."""

    def __init__(self) -> None:
        self.rabbit = FakeRabbit(WORK, "tq.shop.other")
        self.link = FakeLink(self.rabbit)
        self.brokers = FakeBrokers(FakeCluster(), self.link)
        self.brokers.used = {KEY, OTHER}
        self.wanted = {KEY: True, OTHER: True}
        self.rounds = 0
        self.backlogs = Backlogs(self.brokers, lambda: self.wanted, self._count)
        self.brokers.api.totals = {WORK: QueueTotals(3, 2), "tqd.shop.emails": QueueTotals(9, 9)}

    def _count(self) -> None:
        self.rounds += 1

    def seen(self, key: QueueKey = KEY) -> tuple[int, int] | None:
        """Return what the last reading says: waiting, in hand."""
        reading = self.backlogs.reading(key)
        return (reading.ready, reading.unacknowledged) if reading else None


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    reading = asyncio.create_task(world.backlogs.run())
    yield world
    assert not reading.done()
    reading.cancel()


async def turn() -> None:
    await asyncio.sleep(EVERY_SECONDS + 0.1)


async def test_one_call_tells_of_all_queues(world: World) -> None:
    world.brokers.api.totals["tq.shop.other"] = QueueTotals(0, 0)
    await turn()
    assert (world.seen(), world.seen(OTHER)) == ((3, 2), (0, 0))
    reading = world.backlogs.reading(KEY)
    assert reading is not None
    assert (reading.messages, reading.trouble) == (5, "")
    assert not world.rabbit.channels
    assert world.rounds == 1


async def test_a_queue_that_is_not_told_of_is_no_zero(world: World) -> None:
    await turn()
    assert world.seen(OTHER) is None
    world.brokers.api.totals = {}
    await turn()
    assert world.seen() is None


async def test_an_old_reading_is_none(world: World) -> None:
    await turn()
    world.link.lose(BrokerUnavailableError("BrokerUnreachable", "away"))
    await turn()
    assert world.seen() == (3, 2)
    await asyncio.sleep(OLD_SECONDS)
    assert world.seen() is None


async def test_without_the_management_api_each_queue_is_asked(world: World) -> None:
    world.brokers.api.error = ManagementUnavailableError("it is away")
    world.rabbit.ready = {WORK: 7}
    await turn()
    assert (world.seen(), world.seen(OTHER)) == ((7, 0), (0, 0))
    reading = world.backlogs.reading(KEY)
    assert reading is not None
    assert "it is away" in reading.trouble
    assert len(world.rabbit.channels) == 1
    world.brokers.api.error = None
    await turn()
    assert world.seen() == (3, 2)


async def test_a_queue_is_asked_singly_only_where_that_is_of_use(world: World) -> None:
    world.wanted = {KEY: True, OTHER: False}
    world.brokers.api.error = ManagementUnavailableError("it is away")
    await turn()
    assert (world.seen(), world.seen(OTHER)) == ((0, 0), None)


async def test_a_queue_that_is_gone_keeps_no_other_from_being_read(world: World) -> None:
    world.brokers.api.error = ManagementUnavailableError("it is away")
    world.rabbit.queues.pop("tq.shop.other")
    world.rabbit.ready = {WORK: 7}
    await turn()
    assert (world.seen(), world.seen(OTHER)) == ((7, 0), None)


async def test_nothing_is_asked_while_there_is_no_connection(world: World) -> None:
    world.link.lose(BrokerUnavailableError("BrokerUnreachable", "away"))
    await turn()
    assert world.seen() is None
    assert world.rounds == 1


async def test_nothing_is_asked_for_nobody(world: World) -> None:
    await turn()
    world.wanted = {}
    world.brokers.api.error = ManagementUnavailableError("nobody asks")
    await turn()
    assert world.seen() is None
    assert world.rounds == 2


async def test_a_queue_is_empty_when_it_gives_no_message(world: World) -> None:
    assert await world.backlogs.is_empty(KEY)
    world.rabbit.ready = {WORK: 1}
    assert not await world.backlogs.is_empty(KEY)
    assert not await world.backlogs.is_empty(QueueKey("shop", "unknown"))
    assert all(link.closed for link in world.brokers.apart)


async def test_a_queue_that_does_not_answer_is_not_empty(world: World) -> None:
    world.rabbit.lagging.add(WORK)
    world.rabbit.silent.add(WORK)
    assert not await world.backlogs.is_empty(KEY)
