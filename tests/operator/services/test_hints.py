"""Workers are told that a Task is to be stopped; what cannot be told is dropped and logged."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from taskqueue_api.messages import TaskUid, parse_hint
from taskqueue_operator.broker.link import Link
from taskqueue_operator.errors import BrokerError, BrokerUnavailableError
from taskqueue_operator.services import hints as hints_module
from taskqueue_operator.services.hints import Hints
from tests.operator.builders import KEY
from tests.operator.clock import settle


class FakeLink:
    """A connection that keeps what was told over it, or refuses it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, bytes]] = []
        self.fault: BrokerError | None = None

    async def tell(self, exchange: str, routing_key: str, body: bytes) -> None:
        if self.fault:
            raise self.fault
        self.told.append((exchange, routing_key, body))


class World:
    """Hints over one connection."""

    def __init__(self) -> None:
        self.link: FakeLink | None = FakeLink()
        self.hints = Hints(lambda _: cast(Link, self.link))


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
    assert [parse_hint(body) for _, _, body in link.told] == ["uid-c"]


async def test_there_are_never_too_many(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hints_module, "HELD_MOST", 2)
    world = World()
    for number in range(3):
        world.hints.send(KEY, TaskUid(f"uid-{number}"))
    assert "too much to tell the workers of shop/emails" in caplog.text
