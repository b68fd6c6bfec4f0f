"""Workers are told that a Task is to be stopped; what cannot be told is dropped and logged."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from taskqueue_api.messages import TaskUid, parse_hint
from taskqueue_operator.broker.link import Link
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.errors import BrokerError, BrokerUnavailableError
from taskqueue_operator.services import hints as hints_module
from taskqueue_operator.services.hints import Hints
from tests.operator.builders import KEY
from tests.operator.clock import settle

OTHER = QueueKey("shop", "other")


class FakeLink:
    """A connection that keeps what was told over it, or refuses it, after some seconds."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, bytes]] = []
        self.fault: BrokerError | None = None
        self.seconds = 0.0
        self.tries = 0

    @property
    def uids(self) -> list[str]:
        """The Tasks that were told of."""
        return [parse_hint(body) for _, _, body in self.told]

    async def tell(self, exchange: str, routing_key: str, body: bytes) -> None:
        self.tries += 1
        await asyncio.sleep(self.seconds)
        if self.fault:
            raise self.fault
        self.told.append((exchange, routing_key, body))


class World:
    """Hints over the connection of each queue; all but OTHER have the same."""

    def __init__(self) -> None:
        self.link: FakeLink | None = FakeLink()
        self.other = FakeLink()
        self.hints = Hints(lambda key: cast(Link, self.other if key == OTHER else self.link))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    sending = asyncio.create_task(world.hints.run())
    yield world
    assert not sending.done()
    sending.cancel()


async def test_a_hint_names_the_task_to_the_workers_of_its_queue(world: World) -> None:
    assert world.link is not None
    world.hints.send(KEY, TaskUid("uid-a"))
    await settle()
    ((exchange, key, body),) = world.link.told
    assert (exchange, key, parse_hint(body)) == ("taskqueue.control", "tq.shop.emails", "uid-a")


async def test_one_that_cannot_be_sent_keeps_back_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    link = world.link
    assert link is not None
    link.fault = BrokerUnavailableError("BrokerUnreachable", "the channel is closed")
    world.hints.send(KEY, TaskUid("uid-a"))
    await settle()
    assert "the channel is closed" in caplog.text
    world.link = None
    world.hints.send(KEY, TaskUid("uid-b"))
    await settle()
    world.link, link.fault = link, None
    world.hints.send(KEY, TaskUid("uid-c"))
    await settle()
    assert link.uids == ["uid-c"]


async def test_a_broker_that_is_slow_keeps_back_no_other_broker_s(world: World) -> None:
    assert world.link is not None
    world.link.seconds = 10
    for number in range(3):
        world.hints.send(KEY, TaskUid(f"uid-{number}"))
    world.hints.send(OTHER, TaskUid("uid-other"))
    await settle()
    assert world.other.uids == ["uid-other"]
    await asyncio.sleep(31)
    assert world.link.uids == ["uid-0", "uid-1", "uid-2"]


async def test_one_that_opens_no_channel_is_not_asked_for_each(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    link = world.link
    assert link is not None
    link.fault = BrokerUnavailableError("BrokerUnreachable", "opens no channel")
    link.seconds = 10
    for number in range(3):
        world.hints.send(KEY, TaskUid(f"uid-{number}"))
    await asyncio.sleep(11)
    assert link.tries == 1
    assert "nor of 2 other Tasks: opens no channel" in caplog.text
    link.fault, link.seconds = None, 0.0
    world.hints.send(KEY, TaskUid("uid-later"))
    await settle()
    assert link.uids == ["uid-later"]
    assert world.hints._waiting == {}


async def test_there_are_never_too_many(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hints_module, "HELD_MOST", 2)
    world = World()
    for number in range(3):
        world.hints.send(KEY, TaskUid(f"uid-{number}"))
    assert "too much to tell the workers of shop/emails" in caplog.text
