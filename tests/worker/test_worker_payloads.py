"""The wiring of payloads that are elsewhere: found before the claim, and nowhere but in the job."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from taskqueue_worker.deliveries import Tag
from taskqueue_worker.outcomes import failure, final
from tests.worker.bench import Bench

SECRET = b'{"pin": 4711}'


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    running = asyncio.create_task(made.worker.run())
    await asyncio.sleep(0)
    yield made
    running.cancel()
    await asyncio.wait([running])


async def test_the_handler_gets_what_was_found(bench: Bench) -> None:
    bench.payloads.found = SECRET
    bench.runner.go.set()
    bench.deliver(1, body=b"null")
    await bench.settled()
    assert [job.payload for job in bench.runner.jobs] == [SECRET]
    assert "4711" not in repr(bench.runner.jobs)


async def test_what_is_published_of_its_message_is_as_it_came(bench: Bench) -> None:
    bench.payloads.found = SECRET
    bench.runner.outcome = failure("Boom", "why")
    bench.runner.go.set()
    bench.deliver(1, body=b"null")
    await bench.settled()
    (letter,) = bench.broker.copied
    assert letter.body == b"null"
    assert "4711" not in repr(letter)


async def test_one_without_payload_fails_and_is_not_started(bench: Bench) -> None:
    bench.payloads.found = final("PayloadNotAllowed", "why")
    bench.deliver(1)
    await bench.settled()
    assert bench.runner.jobs == []
    assert bench.attempts.finished == [final("PayloadNotAllowed", "why")]
    assert bench.published == [("taskqueue.dlx", "tqd.ns.q", "uid-1", "PayloadNotAllowed")]


async def test_nothing_is_claimed_before_the_payload_is_there(bench: Bench) -> None:
    # A start that nobody knows of follows its claim at once, or another makes it as well.
    bench.payloads.go.clear()
    bench.deliver(1)
    await asyncio.sleep(0.01)
    assert bench.attempts.suspected == []
    bench.payloads.go.set()
    await bench.runner.started.wait()
    assert bench.attempts.suspected == [False]


async def test_one_that_was_given_back_meanwhile_is_not_claimed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskqueue_worker.worker._CLAIM_SECONDS", 0.05)
    bench.payloads.go.clear()
    bench.deliver(1)
    await asyncio.sleep(0)
    await bench.worker.drain(5)
    assert bench.broker.returned == [Tag(1, 1)]
    bench.payloads.go.set()
    await asyncio.sleep(0.01)
    assert bench.attempts.suspected == []
    assert bench.runner.jobs == []


async def test_an_outside_message_names_no_place(bench: Bench) -> None:
    bench.payloads.found = SECRET
    bench.runner.go.set()
    headers = {"x-tq-payload-from": "Secret/cards/visa"}
    bench.deliver(1, headers=headers, message_id="m", body=b"1")
    await bench.settled()
    assert [job.payload for job in bench.runner.jobs] == [b"1"]
