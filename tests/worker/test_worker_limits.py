"""A handler starts with its tokens, and they go on when it has ended or is not started at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from taskqueue_operator.domain.topology import CONSUMER_TIMEOUT_MS
from taskqueue_worker.attempts import Claimed, Settled
from taskqueue_worker.claim import Path
from taskqueue_worker.deliveries import Tag
from taskqueue_worker.settle import Acknowledge
from taskqueue_worker.statuses import Attempt
from taskqueue_worker.worker import LIMITED_SECONDS
from tests.worker.bench import ME, NOW, Bench, FakeTokens


@asynccontextmanager
async def serving(slots: int = 1, **free: int) -> AsyncIterator[Bench]:
    """Give a worker whose limits have so many tokens."""
    bench = Bench(slots=slots, tokens=FakeTokens(**free))
    running = asyncio.create_task(bench.worker.run())
    await asyncio.sleep(0)
    yield bench
    running.cancel()
    await asyncio.wait([running])


async def test_a_task_that_waits_for_a_token_is_neither_claimed_nor_started() -> None:
    async with serving(rate=1, running=0) as bench:
        bench.deliver(1)
        await bench.tokens.paused()
        assert (bench.attempts.suspected, bench.runner.jobs) == ([], [])
        bench.tokens.put("running")
        await bench.runner.started.wait()
        assert bench.tokens.told == ["took rate", "took running", "spent rate"]
        bench.runner.go.set()
        await bench.settled()
        assert bench.tokens.told[3:] == ["back running"]


async def test_the_rate_is_spent_when_the_handler_starts_and_not_before() -> None:
    async with serving(rate=1) as bench:
        bench.attempts.answers.clear()
        bench.deliver(1)
        await bench.attempts.claiming.wait()
        assert bench.tokens.told == ["took rate"]
        bench.attempts.answers.set()
        await bench.runner.started.wait()
        assert bench.tokens.told == ["took rate", "spent rate"]


async def test_a_task_that_is_not_to_be_started_costs_no_token() -> None:
    async with serving(rate=1, running=1) as bench:
        bench.attempts.claims = [Settled(Acknowledge())]
        bench.deliver(1)
        await bench.settled()
        assert bench.runner.jobs == []
        assert bench.tokens.free == {"rate": 1, "running": 1}


async def test_no_more_handlers_run_than_there_are_tokens() -> None:
    async with serving(slots=4, running=2) as bench:
        for number in range(4):
            bench.deliver(number, message_id=f"uid-{number}")
        await bench.tokens.paused()
        assert len(bench.runner.jobs) == 2
        bench.runner.go.set()
        while len(bench.runner.jobs) < 4:
            await asyncio.sleep(0)
            bench.tokens.wake()


async def test_a_drain_gives_back_what_waits_for_a_token() -> None:
    async with serving(rate=1, running=0) as bench:
        bench.deliver(1)
        await bench.tokens.paused()
        await bench.worker.drain(1)
        assert bench.broker.returned == [Tag(1, 1)]
        bench.tokens.put("running")
        await bench.tokens.returned.wait()
        await asyncio.sleep(0)
        assert bench.tokens.free == {"rate": 1, "running": 1}
        assert bench.runner.jobs == []


async def test_what_has_waited_for_too_long_for_a_token_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # RabbitMQ takes it back after the longest timeout of a Task and half an hour.
    assert 24 * 3600 + LIMITED_SECONDS < CONSUMER_TIMEOUT_MS / 1000 - 600
    monkeypatch.setattr("taskqueue_worker.worker.LIMITED_SECONDS", 0.0)
    async with serving(running=0) as bench:
        bench.deliver(1)
        await bench.settled()
        assert bench.broker.returned == [Tag(1, 1)]


async def test_what_waits_for_a_token_is_forgotten_with_its_connection() -> None:
    async with serving(running=0) as bench:
        bench.deliver(1)
        await bench.tokens.paused()
        bench.connect_again()
        bench.deliver(1, session=2)
        bench.tokens.put("running")
        await bench.runner.started.wait()
        bench.runner.go.set()
        await bench.settled()
        assert (len(bench.runner.jobs), bench.broker.acked) == (1, [Tag(2, 1)])


def claimed(*, announced: bool) -> Claimed:
    return Claimed(Attempt("uid-1", 0, 1, NOW, ME), announced, Path.PLAIN)  # type: ignore[arg-type]


async def lose_while_claiming(bench: Bench, **delivery: Any) -> None:
    """Let the token that was taken be lost before the claim is decided."""
    bench.attempts.answers.clear()
    bench.deliver(1, **delivery)
    await bench.attempts.claiming.wait()
    bench.tokens.taken[0].lost = True
    bench.attempts.answers.set()


async def test_a_task_that_is_shown_as_running_waits_for_another_token() -> None:
    async with serving(running=1) as bench:
        bench.attempts.claims = [claimed(announced=True)]
        await lose_while_claiming(bench)
        await bench.tokens.paused()
        assert bench.runner.jobs == []
        bench.tokens.put("running")
        await bench.runner.started.wait()


async def test_one_that_is_not_shown_yet_is_given_back_when_its_token_is_lost() -> None:
    async with serving(running=1) as bench:
        bench.attempts.claims = [claimed(announced=False)]
        await lose_while_claiming(bench)
        await bench.settled()
        assert bench.broker.returned == [Tag(1, 1)]
        assert len(bench.attempts.released) == 1
        assert bench.runner.jobs == []


async def test_messages_of_outside_producers_need_tokens_too() -> None:
    async with serving(rate=1, running=0) as bench:
        bench.deliver(1, headers={}, message_id="outside")
        await bench.tokens.paused()
        assert bench.runner.jobs == []
        bench.tokens.put("running")
        await bench.runner.started.wait()
        bench.runner.go.set()
        await bench.settled()
        assert bench.tokens.told == ["took rate", "took running", "spent rate", "back running"]
