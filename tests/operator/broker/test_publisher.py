"""Every publication gets a verdict, and the right one."""

import asyncio
from typing import Any

import pytest
from pika.exceptions import ChannelClosedByBroker

from taskqueue_operator.broker.publisher import Publisher, Verdict
from taskqueue_operator.domain.topology import Binding
from tests.operator.builders import NOW, build_waiting
from tests.operator.clock import settle
from tests.operator.rabbit import FakeChannel, FakeLink, FakeRabbit

KEY = "tq.shop.emails"


class World:
    """A publisher whose messages are confirmed by hand."""

    def __init__(self) -> None:
        self.rabbit = FakeRabbit(KEY)
        self.rabbit.silent.add(KEY)
        self.publisher: Publisher

    @property
    def channel(self) -> FakeChannel:
        return self.rabbit.channels[0]

    def publish(self, uid: str = "a", key: str = KEY) -> "asyncio.Future[Verdict]":
        headers = {"x-tq-run": 0}
        to = Binding("taskqueue", key)
        return self.publisher.publish(build_waiting(uid=uid), b"{}", to=to, headers=headers)


@pytest.fixture
async def world() -> World:
    world = World()
    world.publisher = await Publisher.open(FakeLink(world.rabbit))
    return world


def verdicts(*futures: "asyncio.Future[Verdict]") -> list[str]:
    return [future.result().value if future.done() else "" for future in futures]


async def test_the_message_is_what_the_contract_says(world: World) -> None:
    task = build_waiting(priority=7)
    to = Binding("taskqueue", KEY)
    world.publisher.publish(task, b'{"a":1}', to=to, headers={"x-tq-run": 0})
    (sent,) = world.rabbit.sent
    properties: Any = sent.properties
    assert (sent.exchange, sent.key) == ("taskqueue", KEY)
    assert (sent.body, sent.mandatory) == (b'{"a":1}', True)
    assert properties.message_id == task.uid
    assert properties.type == "send_welcome"
    assert properties.priority == 7
    assert properties.delivery_mode == 2
    assert properties.timestamp == int(NOW.timestamp())
    assert properties.content_type == "application/json"
    assert properties.headers == {"x-tq-run": 0}


async def test_a_message_goes_to_the_exchange_that_it_is_meant_for(world: World) -> None:
    to = Binding("taskqueue.delay.25", f"{'0.' * 25}1.{KEY}")
    world.publisher.publish(build_waiting(), b"{}", to=to, headers={})
    (sent,) = world.rabbit.sent
    assert (sent.exchange, sent.key, sent.mandatory) == (*to, True)


async def test_confirms_come_in_any_order(world: World) -> None:
    futures = [world.publish(uid) for uid in "abc"]
    world.channel.ack(2)
    assert verdicts(*futures) == ["", "confirmed", ""]
    world.channel.ack(3)
    world.channel.ack(1)
    assert verdicts(*futures) == ["confirmed"] * 3


async def test_one_confirm_may_cover_many(world: World) -> None:
    futures = [world.publish(uid) for uid in "abcd"]
    world.channel.ack(1)
    world.channel.ack(3, multiple=True)
    assert verdicts(*futures) == ["confirmed", "confirmed", "confirmed", ""]


async def test_what_rabbitmq_could_not_take_is_unsure(world: World) -> None:
    futures = [world.publish(uid) for uid in "abc"]
    world.channel.nack(2, multiple=True)
    world.channel.ack(3)
    assert verdicts(*futures) == ["unsure", "unsure", "confirmed"]


async def test_what_came_back_is_unroutable_although_it_is_confirmed(world: World) -> None:
    lost, kept = world.publish("a", key="tq.shop.gone"), world.publish("b")
    await settle()
    world.channel.ack(2)
    assert verdicts(lost, kept) == ["unroutable", "confirmed"]
    again = world.publish("a")
    world.channel.ack(3)
    assert verdicts(again) == ["confirmed"]


async def test_what_is_not_confirmed_when_the_channel_ends_is_unsure(world: World) -> None:
    done, open_ = world.publish("a"), world.publish("b")
    world.channel.ack(1)
    world.channel.die(ChannelClosedByBroker(406, "PRECONDITION_FAILED - x"))
    assert verdicts(done, open_) == ["confirmed", "unsure"]
    assert world.publisher.fault
    assert world.publisher.fault.reason == "DeclarationRefused"


async def test_a_publisher_whose_channel_is_closed_says_so_and_publishes_nothing(
    world: World,
) -> None:
    world.publisher.close()
    late = world.publish("a")
    assert verdicts(late) == ["unsure"]
    assert world.publisher.fault
    await settle()
    world.publisher.close()
    assert world.rabbit.sent == []


async def test_a_waiter_that_gave_up_disturbs_nobody(world: World) -> None:
    futures = [world.publish(uid) for uid in "ab"]
    futures[0].cancel()
    world.channel.ack(2, multiple=True)
    assert verdicts(futures[1]) == ["confirmed"]
