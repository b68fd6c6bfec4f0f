"""Dead letters that somebody put back into the queue."""

import asyncio
from typing import Any

import pytest

from taskqueue_api.retries import parse_policy
from taskqueue_worker.deliveries import Tag
from taskqueue_worker.outcomes import Outcome, Success, failure
from tests.worker.bench import Bench

TWICE = parse_policy({"maxAttempts": 2, "backoff": {"type": "Immediate"}})
BOOM = failure("Boom", "why")


async def served(
    bench: Bench, outcome: Outcome, headers: dict[str, Any], body: bytes = b"{}"
) -> None:
    """Let a worker handle a message of an outside producer, with its next attempts."""
    bench.runner.outcome = outcome
    bench.runner.go.set()
    working = asyncio.create_task(bench.worker.run())
    await asyncio.sleep(0)
    for number in range(1, 10):
        bench.deliver(number, message_id="m", headers=headers, body=body)
        await bench.settled()
        if not bench.broker.published or bench.broker.published[-1].exchange == "taskqueue.dlx":
            break
        headers = dict(bench.broker.published[-1].headers)
    working.cancel()
    await asyncio.wait([working])


async def dead_letter() -> dict[str, Any]:
    """Return the headers of a message that has used up its attempts."""
    bench = Bench(retry=TWICE)
    await served(bench, BOOM, {})
    return dict(bench.broker.published[-1].headers)


async def test_it_has_all_its_attempts_again_and_no_more() -> None:
    letter = await dead_letter()
    assert letter["x-tq-attempt"] == 2
    bench = Bench(retry=TWICE)
    await served(bench, BOOM, letter)
    assert [job.attempt for job in bench.runner.jobs] == [1, 2]
    again, last = bench.broker.published
    assert again.headers == {"x-tq-attempt": 2}
    assert (last.exchange, last.headers["x-tq-attempt"]) == ("taskqueue.dlx", 2)
    assert bench.broker.acked == [Tag(1, 1), Tag(1, 2)]


async def test_it_is_gone_once_its_handler_works() -> None:
    bench = Bench(retry=TWICE)
    await served(bench, Success(None), await dead_letter())
    assert [job.attempt for job in bench.runner.jobs] == [1]
    assert bench.published == []
    assert bench.broker.acked == [Tag(1, 1)]


@pytest.mark.parametrize("body", [b"not json", b"\xff"])
async def test_what_could_not_be_read_is_a_dead_letter_again(body: bytes) -> None:
    bench = Bench(retry=TWICE)
    await served(bench, Success(None), await dead_letter(), body)
    assert bench.runner.jobs == []
    assert [item[3] for item in bench.published] == ["BadMessage"]
    assert bench.broker.acked == [Tag(1, 1)]
