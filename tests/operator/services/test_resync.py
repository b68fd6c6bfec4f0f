"""Every TaskQueue is looked at again and again: the more seldom, the less there is to do for it."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.services.resync import (
    AT_REST_SECONDS,
    EVERY_SECONDS,
    TICK_SECONDS,
    VERIFY_SECONDS,
    Resync,
)
from tests.operator.builders import KEY, build_rng


class FakeQueues:
    """TaskQueues that take note of when they are reconciled and verified."""

    def __init__(self) -> None:
        self.keys = {KEY}
        self.resting = False
        self.seconds = 0.0
        self.readable = True
        self.fault: Exception | None = None
        self.reconciled: list[tuple[QueueKey, float]] = []
        self.verified: list[tuple[QueueKey, float]] = []

    def known(self) -> set[QueueKey]:
        """Return them."""
        return self.keys

    def is_at_rest(self, _: QueueKey) -> bool:
        """Return it."""
        return self.resting

    async def reconcile(self, key: QueueKey) -> None:
        """Take note, and take as long as it should."""
        self.reconciled.append((key, asyncio.get_running_loop().time()))
        await asyncio.sleep(self.seconds)

    async def verify(self, key: QueueKey) -> bool:
        """Take note, and fail if it should."""
        self.verified.append((key, asyncio.get_running_loop().time()))
        if self.fault:
            raise self.fault
        await self.reconcile(key)
        return self.readable


@pytest.fixture
async def queues() -> AsyncIterator[FakeQueues]:
    queues = FakeQueues()
    running = asyncio.create_task(Resync(queues, build_rng()).run())
    yield queues
    assert not running.done()
    running.cancel()


async def test_each_is_reconciled_every_half_minute(queues: FakeQueues) -> None:
    await asyncio.sleep(20 * EVERY_SECONDS)
    assert len(queues.reconciled) in (19, 20)


async def test_one_at_rest_is_reconciled_every_two_minutes(queues: FakeQueues) -> None:
    queues.resting = True
    await asyncio.sleep(20 * AT_REST_SECONDS)
    assert len(queues.reconciled) in (16, 17, 18, 19, 20)
    moments = [moment for _, moment in queues.reconciled]
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert max(pauses) <= AT_REST_SECONDS + EVERY_SECONDS


async def test_one_that_rests_no_more_is_reconciled_soon(queues: FakeQueues) -> None:
    queues.resting = True
    await asyncio.sleep(3 * AT_REST_SECONDS)
    before = len(queues.reconciled)
    queues.resting = False
    await asyncio.sleep(EVERY_SECONDS + TICK_SECONDS)
    assert len(queues.reconciled) == before + 1


async def test_what_it_owns_is_read_every_ten_minutes(queues: FakeQueues) -> None:
    await asyncio.sleep(10 * VERIFY_SECONDS)
    assert len(queues.verified) in (9, 10)


async def test_what_could_not_be_read_is_read_at_the_next_look(queues: FakeQueues) -> None:
    queues.readable = False
    await asyncio.sleep(VERIFY_SECONDS + 5 * EVERY_SECONDS)
    assert len(queues.verified) >= 5


async def test_an_error_that_nobody_foresaw_ends_nothing(
    queues: FakeQueues, caplog: pytest.LogCaptureFixture
) -> None:
    queues.fault = KeyError("unforeseen")
    await asyncio.sleep(VERIFY_SECONDS + EVERY_SECONDS)
    assert "not looked at" in caplog.text
    before, queues.fault = len(queues.reconciled), None
    await asyncio.sleep(2 * EVERY_SECONDS)
    assert len(queues.reconciled) > before


async def test_one_that_takes_long_is_not_reconciled_twice_at_once(queues: FakeQueues) -> None:
    queues.seconds = 200.0
    await asyncio.sleep(190)
    assert len(queues.reconciled) == 1


async def test_one_that_takes_long_holds_no_other_up(queues: FakeQueues) -> None:
    queues.seconds = 10_000.0
    queues.keys = {QueueKey("shop", f"q{number}") for number in range(50)}
    await asyncio.sleep(EVERY_SECONDS + 2 * TICK_SECONDS)
    assert {key for key, _ in queues.reconciled} == queues.keys


async def test_those_that_come_together_do_not_stay_together(queues: FakeQueues) -> None:
    queues.keys = {QueueKey("shop", f"q{number}") for number in range(100)}
    await asyncio.sleep(EVERY_SECONDS + TICK_SECONDS)
    moments = [moment for _, moment in queues.reconciled]
    assert max(moments.count(one) for one in moments) < 25


async def test_one_that_is_gone_is_forgotten(queues: FakeQueues) -> None:
    queues.keys = set()
    await asyncio.sleep(10 * EVERY_SECONDS)
    assert queues.reconciled == []
