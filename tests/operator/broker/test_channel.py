"""Declarations on one channel, with RabbitMQ's own words when it refuses."""

import asyncio

import pytest
from pika.exceptions import ChannelClosedByBroker, StreamLostError

from taskqueue_operator.broker.channel import DeclaringChannel, QueueState
from taskqueue_operator.domain.ladder import build_ladder
from taskqueue_operator.domain.topology import build_topology
from taskqueue_operator.errors import BrokerRefusedError, BrokerUnavailableError
from tests.operator.rabbit import Callback, FakeLink, FakeRabbit

TOPOLOGY = build_topology(
    namespace="shop", name="emails", queue_type="Quorum", cluster="c1", version=(4, 0)
)
LADDER = build_ladder()
WORK = "tq.shop.emails"


@pytest.fixture
def rabbit() -> FakeRabbit:
    return FakeRabbit()


async def test_everything_of_the_topology_is_declared_and_bound(rabbit: FakeRabbit) -> None:
    async with await FakeLink(rabbit).open_channel() as channel:
        await channel.declare(TOPOLOGY)
    assert rabbit.exchanges == {
        "taskqueue": "direct",
        "taskqueue.dlx": "topic",
        "taskqueue.unrouted": "fanout",
        "taskqueue.control": "topic",
        "taskqueue.due": "topic",
    }
    assert rabbit.exchange_arguments == {
        exchange.name: exchange.arguments for exchange in TOPOLOGY.exchanges
    }
    assert rabbit.queues == {queue.name: queue.arguments for queue in TOPOLOGY.all_queues}
    assert rabbit.bindings == {
        (*binding, queue.name) for queue in TOPOLOGY.all_queues for binding in queue.bindings
    }
    assert not rabbit.channels[0].is_open


async def test_a_declaration_tells_how_many_dead_letters_there_are(rabbit: FakeRabbit) -> None:
    rabbit.ready = {WORK: 9, "tqd.shop.emails": 4}
    async with await FakeLink(rabbit).open_channel() as channel:
        assert await channel.declare(TOPOLOGY) == 4


async def test_a_refused_declaration_ends_with_rabbitmq_s_words(rabbit: FakeRabbit) -> None:
    words = "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue"
    rabbit.refuse[WORK] = ChannelClosedByBroker(406, words)
    async with await FakeLink(rabbit).open_channel() as channel:
        with pytest.raises(BrokerRefusedError, match=words) as caught:
            await channel.declare(TOPOLOGY)
        assert caught.value.reason == "DeclarationRefused"
        with pytest.raises(BrokerRefusedError, match=words):
            await channel.inspect("tqd.shop.emails")


async def test_a_queue_that_is_not_there_is_not_filled(rabbit: FakeRabbit) -> None:
    async with await FakeLink(rabbit).open_channel() as channel:
        with pytest.raises(BrokerUnavailableError, match="there is no queue 'tql"):
            await channel.fill("tql.a.b.running.1", 1)


async def test_a_queue_is_filled_with_messages_that_outlive_a_restart(rabbit: FakeRabbit) -> None:
    rabbit.queues["tql.a.b.running.1201"] = {}
    async with await FakeLink(rabbit).open_channel() as channel:
        await channel.fill("tql.a.b.running.1201", 1201)
    assert rabbit.ready["tql.a.b.running.1201"] == 1201
    assert {sent.properties.delivery_mode for sent in rabbit.sent} == {2}


async def test_a_queue_is_inspected(rabbit: FakeRabbit) -> None:
    rabbit.queues[WORK] = {}
    rabbit.ready[WORK], rabbit.consumers[WORK] = 3, 2
    async with await FakeLink(rabbit).open_channel() as channel:
        assert await channel.inspect(WORK) == QueueState(ready=3, consumers=2)


async def test_a_queue_that_is_slow_to_say_is_counted_by_taking_a_message(
    rabbit: FakeRabbit,
) -> None:
    rabbit.queues[WORK], rabbit.ready[WORK] = {}, 3
    rabbit.lagging.add(WORK)
    async with await FakeLink(rabbit).open_channel() as channel:
        assert await channel.inspect(WORK) == QueueState(ready=0, consumers=0)
        assert await channel.count_by_taking(WORK) == 3
    await asyncio.sleep(0)
    assert rabbit.ready[WORK] == 3
    rabbit.ready[WORK] = 0
    async with await FakeLink(rabbit).open_channel() as channel:
        assert await channel.count_by_taking(WORK) == 0


async def test_a_queue_that_is_not_there_is_none(rabbit: FakeRabbit) -> None:
    async with await FakeLink(rabbit).open_channel() as channel:
        assert await channel.inspect(WORK) is None


async def test_a_queue_that_may_not_be_seen_is_not_taken_for_missing(rabbit: FakeRabbit) -> None:
    rabbit.queues[WORK] = {}
    rabbit.refuse[WORK] = ChannelClosedByBroker(403, "ACCESS_REFUSED - no")
    async with await FakeLink(rabbit).open_channel() as channel:
        with pytest.raises(BrokerRefusedError) as caught:
            await channel.inspect(WORK)
    assert caught.value.reason == "PermissionDenied"


async def test_a_queue_whose_node_is_down_is_not_taken_for_missing(rabbit: FakeRabbit) -> None:
    rabbit.queues[WORK] = {}
    rabbit.refuse[WORK] = ChannelClosedByBroker(404, "NOT_FOUND - home node of queue is down")
    async with await FakeLink(rabbit).open_channel() as channel:
        with pytest.raises(BrokerRefusedError, match="home node"):
            await channel.inspect(WORK)


async def test_a_queue_is_deleted(rabbit: FakeRabbit) -> None:
    rabbit.queues[WORK] = {}
    async with await FakeLink(rabbit).open_channel() as channel:
        await channel.delete_queue(WORK)
    assert rabbit.queues == {}


async def test_a_broker_that_goes_away_is_unavailable(rabbit: FakeRabbit) -> None:
    link = FakeLink(rabbit)
    async with await link.open_channel() as channel:
        asyncio.get_running_loop().call_soon(rabbit.channels[0].die, StreamLostError("lost"))
        with pytest.raises(BrokerUnavailableError, match="lost"):
            await channel.declare(TOPOLOGY)


async def test_a_broker_that_does_not_answer_is_unavailable(
    rabbit: FakeRabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = FakeLink(rabbit)
    async with await link.open_channel() as channel:
        monkeypatch.setattr(rabbit.channels[0], "queue_delete", lambda **_: None)
        begun = asyncio.get_running_loop().time()
        with pytest.raises(BrokerUnavailableError, match="did not answer within 10 s"):
            await channel.delete_queue(WORK)
        assert asyncio.get_running_loop().time() - begun == pytest.approx(10, abs=0.1)


async def test_a_channel_that_is_closed_already_is_unavailable(rabbit: FakeRabbit) -> None:
    async with await FakeLink(rabbit).open_channel() as channel:
        rabbit.channels[0].close()
        with pytest.raises(BrokerUnavailableError):
            await channel.inspect(WORK)


async def declare_ladder(rabbit: FakeRabbit) -> None:
    """Declare everything, the ladder last."""
    async with await FakeLink(rabbit).open_channel() as channel:
        await channel.declare(TOPOLOGY)
        await channel.declare_ladder(LADDER)


async def is_ladder_whole(rabbit: FakeRabbit) -> bool:
    async with await FakeLink(rabbit).open_channel() as channel:
        return await channel.is_ladder_whole(LADDER)


async def test_the_whole_ladder_is_declared_and_bound(rabbit: FakeRabbit) -> None:
    await declare_ladder(rabbit)
    for level in LADDER:
        assert rabbit.exchanges[level.exchange.name] == "topic"
        assert rabbit.queues[level.queue.name] == level.queue.arguments
        for binding in level.queue.bindings:
            assert (*binding, level.queue.name) in rabbit.bindings
        assert (*level.passing, level.next_exchange) in rabbit.links
    assert len(rabbit.links) == len(LADDER)
    assert not rabbit.channels[-1].is_open


async def test_the_ladder_asks_for_one_answer_only(
    rabbit: FakeRabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await FakeLink(rabbit).open_channel() as channel:
        await channel.declare(TOPOLOGY)
        answers: list[object] = []
        answer = rabbit.channels[0]._answer

        def counted(callback: Callback | None, method: object) -> None:
            answers.extend([] if callback is None else [method])
            answer(callback, method)

        monkeypatch.setattr(rabbit.channels[0], "_answer", counted)
        await channel.declare_ladder(LADDER)
        await channel.is_ladder_whole(LADDER)
    assert len(answers) == 2


async def test_a_ladder_that_is_refused_ends_with_rabbitmq_s_words(rabbit: FakeRabbit) -> None:
    words = "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue"
    rabbit.refuse[LADDER[3].queue.name] = ChannelClosedByBroker(406, words)
    with pytest.raises(BrokerRefusedError, match=words):
        await declare_ladder(rabbit)


async def test_a_ladder_without_the_exchange_at_its_foot_is_refused(rabbit: FakeRabbit) -> None:
    async with await FakeLink(rabbit).open_channel() as channel:
        with pytest.raises(BrokerRefusedError, match=r"taskqueue\.due"):
            await channel.declare_ladder(LADDER)


async def test_a_ladder_is_whole_once_it_is_declared(rabbit: FakeRabbit) -> None:
    assert not await is_ladder_whole(rabbit)
    await declare_ladder(rabbit)
    assert await is_ladder_whole(rabbit)


@pytest.mark.parametrize("level", [0, 13, len(LADDER) - 1])
async def test_a_ladder_without_one_level_is_not_whole(rabbit: FakeRabbit, level: int) -> None:
    await declare_ladder(rabbit)
    del rabbit.queues[LADDER[level].queue.name]
    before = dict(rabbit.queues)
    assert not await is_ladder_whole(rabbit)
    assert rabbit.queues == before


async def test_a_ladder_that_may_not_be_seen_is_not_taken_for_missing(rabbit: FakeRabbit) -> None:
    rabbit.refuse[LADDER[0].queue.name] = ChannelClosedByBroker(403, "ACCESS_REFUSED - no")
    with pytest.raises(BrokerRefusedError) as caught:
        await is_ladder_whole(rabbit)
    assert caught.value.reason == "PermissionDenied"


async def test_a_broker_that_goes_away_leaves_the_ladder_unknown(rabbit: FakeRabbit) -> None:
    await declare_ladder(rabbit)
    async with await FakeLink(rabbit).open_channel() as channel:
        asyncio.get_running_loop().call_soon(rabbit.channels[-1].die, StreamLostError("lost"))
        with pytest.raises(BrokerUnavailableError, match="lost"):
            await channel.is_ladder_whole(LADDER)


async def test_the_ladder_of_a_channel_that_is_closed_already_is_unavailable(
    rabbit: FakeRabbit,
) -> None:
    async with await FakeLink(rabbit).open_channel() as channel:
        rabbit.channels[0].close()
        with pytest.raises(BrokerUnavailableError):
            await channel.declare_ladder(LADDER)


async def test_who_leads_no_more_declares_and_deletes_nothing(rabbit: FakeRabbit) -> None:
    rabbit.queues[WORK] = {}
    raw = await FakeLink(rabbit).open_raw_channel()
    async with DeclaringChannel(raw, lambda: False) as channel:
        for change in (
            channel.declare(TOPOLOGY),
            channel.declare_ladder(LADDER),
            channel.delete_queue(WORK),
        ):
            with pytest.raises(BrokerUnavailableError, match="the lease of this operator is over"):
                await change
    assert set(rabbit.queues) == {WORK}
    assert rabbit.exchanges == {}
