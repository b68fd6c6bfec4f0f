"""Messages of producers outside the cluster's API: no Task remembers their attempts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from taskqueue_worker.deliveries import Tag
from taskqueue_worker.outcomes import Success, failure, final
from taskqueue_worker.pace import ample_messages
from tests.worker.bench import Bench
from tests.worker.failing import AT_ONCE, DEATH, FIXED, HOUR, IMMEDIATE, OVERHEAD, running


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with running(Bench(retry=FIXED)) as made:
        yield made


def outside(attempt: int | None = None, **headers: Any) -> dict[str, Any]:
    """Return what makes a delivery one of an outside producer."""
    number = {} if attempt is None else {"x-tq-attempt": attempt}
    return {"headers": number | headers, "message_id": "m"}


@pytest.mark.parametrize(
    ("attempt", "following"),
    [
        pytest.param(None, 2, id="the first has no header"),
        pytest.param(1, 2, id="the first"),
        pytest.param(2, 3, id="the last but one"),
    ],
)
async def test_an_outside_message_that_fails_is_published_for_its_next_attempt(
    bench: Bench, attempt: int | None, following: int
) -> None:
    bench.deliver(1, **outside(attempt))
    await bench.settled()
    (sent,) = bench.broker.published
    assert (sent.exchange, sent.uid, sent.attempt) == ("taskqueue.delay.25", "m", following)
    assert HOUR - OVERHEAD < sent.delay <= HOUR
    assert sent.error == ""
    assert bench.runner.jobs[0].attempt == following - 1
    assert bench.attempts.finished == []
    assert bench.broker.acked == [Tag(1, 1)]


@pytest.mark.parametrize("attempt", [3, 4, 1000])
async def test_an_outside_message_is_dead_lettered_after_its_last_attempt(
    bench: Bench, attempt: int
) -> None:
    bench.deliver(1, **outside(attempt))
    await bench.settled()
    assert bench.published == [("taskqueue.dlx", "tqd.ns.q", "m", "Boom")]
    assert bench.broker.acked == [Tag(1, 1)]


async def test_an_outside_message_is_tried_as_often_as_the_policy_says() -> None:
    async with running(Bench(retry=IMMEDIATE)) as bench:
        bench.deliver(1, **outside())
        for number in (2, 3):
            await bench.settled()
            headers = dict(bench.broker.published[-1].headers)
            bench.deliver(number, message_id="m", headers=headers | DEATH)
        await bench.settled()
    assert [job.attempt for job in bench.runner.jobs] == [1, 2, 3]
    assert [(item.exchange, item.error) for item in bench.broker.published] == [
        ("taskqueue.delay.25", ""),
        ("taskqueue.delay.25", ""),
        ("taskqueue.dlx", "Boom"),
    ]
    assert all("x-death" not in item.headers for item in bench.broker.published)
    assert bench.broker.acked == [Tag(1, 1), Tag(1, 2), Tag(1, 3)]


@pytest.mark.parametrize(
    ("random", "delay"),
    [
        pytest.param(lambda: 0.0, HOUR / 2, id="shortest"),
        pytest.param(lambda: 0.5, HOUR, id="middle"),
        pytest.param(lambda: 0.75, HOUR * 1.25, id="longer"),
    ],
)
async def test_the_pauses_of_outside_messages_have_jitter(
    random: Callable[[], float], delay: timedelta
) -> None:
    async with running(Bench(retry=FIXED, random=random)) as bench:
        bench.deliver(1, **outside())
        await bench.settled()
    assert delay - OVERHEAD < bench.broker.published[0].delay <= delay


@pytest.mark.parametrize(
    ("outcome", "published"),
    [
        pytest.param(
            final("Rejected", "no"), ("taskqueue.dlx", "tqd.ns.q", "m", "Rejected"), id="permanent"
        ),
        pytest.param(
            failure("Retry", "later", after=0),
            ("taskqueue.delay.25", AT_ONCE, "m", ""),
            id="the handler says when",
        ),
    ],
)
async def test_the_handler_of_an_outside_message_has_a_say(
    bench: Bench, outcome: Any, published: tuple[str, str, str, str]
) -> None:
    bench.runner.outcome = outcome
    bench.deliver(1, **outside())
    await bench.settled()
    assert bench.published == [published]


@pytest.mark.parametrize(
    ("attempt", "exchange"),
    [
        pytest.param(1, "taskqueue.delay.25", id="next attempt"),
        pytest.param(3, "taskqueue.dlx", id="dead letter"),
    ],
)
async def test_an_outside_message_whose_connection_is_lost_is_not_published_twice(
    bench: Bench, attempt: int, exchange: str
) -> None:
    bench.broker.go.clear()
    bench.deliver(1, **outside(attempt))
    await bench.broker.publishing.wait()
    bench.connect_again()
    bench.broker.go.set()
    # It comes again, to this worker or another, which runs and publishes it.
    bench.deliver(2, session=2, redelivered=True, **outside(attempt))
    await bench.settled()
    assert [item.exchange for item in bench.broker.published] == [exchange]
    assert bench.broker.acked == [Tag(2, 2)]


async def test_an_outside_message_that_succeeds_at_last_is_acknowledged(bench: Bench) -> None:
    bench.runner.outcome = Success(None)
    bench.deliver(1, **outside(3))
    await bench.settled()
    assert bench.published == []
    assert bench.broker.acked == [Tag(1, 1)]


async def test_nothing_but_our_headers_of_an_outside_message_is_passed_on(bench: Bench) -> None:
    bench.deliver(1, **outside(2, secret="s", traceparent="00-1", **DEATH))
    await bench.settled()
    assert bench.broker.published[0].headers == {"x-tq-attempt": 3, "traceparent": "00-1"}


async def test_an_outside_message_whose_attempt_is_no_number_is_dead_lettered(
    bench: Bench,
) -> None:
    bench.deliver(1, headers={"x-tq-attempt": "two"}, message_id="m")
    await bench.settled()
    assert bench.runner.jobs == []
    assert bench.published == [("taskqueue.dlx", "tqd.ns.q", "m", "BadMessage")]


async def test_an_unknown_handler_is_not_tried_again(bench: Bench) -> None:
    bench.deliver(1, type="nope", **outside())
    await bench.settled()
    assert bench.published == [("taskqueue.dlx", "tqd.ns.q", "m", "UnknownHandler")]


async def wait_asked(bench: Bench, *counts: int) -> None:
    """Wait until just these numbers of messages have been asked for."""
    async with asyncio.timeout(5):
        while bench.broker.asked != list(counts):
            bench.broker.changed.clear()
            await bench.broker.changed.wait()


async def test_quick_handlers_have_more_messages_at_hand_until_one_waits_in_vain(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.runner.outcome = Success(None)
    with monkeypatch.context() as patch:
        patch.setattr("taskqueue_worker.pace.QUICK_SECONDS", HOUR.total_seconds())
        bench.deliver(1, **outside())
        await wait_asked(bench, ample_messages(1))
    bench.runner.go.clear()
    bench.runner.started.clear()
    bench.deliver(2, **outside())
    await bench.runner.started.wait()
    bench.worker._waiting._seconds = 0.0
    bench.deliver(3, **outside())
    await wait_asked(bench, ample_messages(1), 0)
    assert bench.broker.returned == [Tag(1, 3)]


async def test_a_task_ends_it_for_its_outcome_may_have_to_wait(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.runner.outcome = Success(None)
    monkeypatch.setattr("taskqueue_worker.pace.QUICK_SECONDS", HOUR.total_seconds())
    bench.deliver(1, **outside())
    await wait_asked(bench, ample_messages(1))
    bench.deliver(2)
    await wait_asked(bench, ample_messages(1), 0)
