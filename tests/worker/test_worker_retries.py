"""The wiring of retries: the next attempt is on its way before this one is acknowledged."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from taskqueue_api.retries import RetryPolicy
from taskqueue_worker.api import ApiServer, Written
from taskqueue_worker.attempts import Attempts, Settled
from taskqueue_worker.deliveries import Tag
from taskqueue_worker.outcomes import Success
from taskqueue_worker.settle import PublishNext
from taskqueue_worker.stopping import Running
from tests.worker.api_server import FakeApi
from tests.worker.bench import ME, Bench
from tests.worker.failing import AT_ONCE, DEATH, FIXED, HOUR, IMMEDIATE, OVERHEAD, PAST, running
from tests.worker.views import PENDING


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with running(Bench(retry=FIXED)) as made:
        yield made


def retries() -> float:
    return REGISTRY.get_sample_value("taskqueue_worker_retries_total", {"handler": "echo"}) or 0


def attempts_of(api: FakeApi, policy: RetryPolicy) -> Attempts:
    return Attempts(cast(ApiServer, api), ME, policy, jitter=lambda: 0.5)


async def test_a_failing_task_publishes_its_next_attempt_and_is_then_acknowledged() -> None:
    api = FakeApi([], [Written()])
    api.clock.observe("Thu, 01 Jan 2026 00:00:00 GMT")
    before = retries()
    async with running(Bench(attempts=attempts_of(api, FIXED))) as bench:
        now = [0.0]
        bench.worker._running = Running(lambda: now[0])
        bench.worker.opened()
        await asyncio.sleep(0)
        now[0] += 10  # it hears for long when the Task is created
        bench.deliver(1, headers=fresh_headers(api))
        await bench.settled()
    (sent,) = bench.broker.published
    assert (sent.exchange, sent.uid, sent.attempt) == ("taskqueue.delay.25", "uid-1", 2)
    assert sent.key.endswith(".tq.ns.q")
    assert HOUR - OVERHEAD < sent.delay <= HOUR
    assert api.patches[0]["/status/phase"] == "Retrying"
    assert bench.broker.acked == [Tag(1, 1)]
    assert retries() == before + 1


def fresh_headers(api: FakeApi) -> dict[str, Any]:
    """Return a Task's headers as of its creation just now, by the API server's clock."""
    return {
        "x-tq-version": 1,
        "x-tq-cluster": "c",
        "x-tq-namespace": "ns",
        "x-tq-name": "t",
        "x-tq-created": int(api.clock.now() or 0),
        "x-tq-run": 0,
        "x-tq-attempt": 1,
        "x-tq-dispatches": 1,
        "x-tq-timeout-ms": 5000,
    }


async def test_nothing_is_acknowledged_before_the_next_attempt_is_published(bench: Bench) -> None:
    bench.attempts.settlements = [PublishNext(2, PAST)]
    bench.broker.go.clear()
    bench.deliver(1)
    await bench.broker.publishing.wait()
    assert bench.broker.acked == []
    bench.broker.go.set()
    await bench.settled()
    assert bench.published == [("taskqueue.delay.25", AT_ONCE, "uid-1", "")]
    assert bench.broker.acked == [Tag(1, 1)]


async def test_a_next_attempt_that_cannot_be_published_leaves_its_message_to_come_again(
    bench: Bench,
) -> None:
    before = retries()
    bench.attempts.settlements = [PublishNext(2, PAST), PublishNext(2, PAST)]
    bench.broker.go.clear()
    bench.broker.over = True
    bench.deliver(1)
    await bench.broker.publishing.wait()
    bench.broker.go.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bench.broker.acked == []
    assert retries() == before
    # It comes again, and is new.
    bench.broker.over = False
    bench.deliver(2, redelivered=True)
    await bench.settled()
    assert bench.broker.acked == [Tag(1, 2)]
    assert len(bench.broker.published) == 1


async def test_a_slot_goes_on_while_the_next_attempt_is_being_published(bench: Bench) -> None:
    bench.attempts.settlements = [PublishNext(2, PAST)]
    bench.broker.go.clear()
    bench.deliver(1)
    await bench.broker.publishing.wait()
    bench.runner.outcome = Success(None)
    bench.deliver(2, message_id="another")
    await bench.settled()
    assert bench.broker.acked == [Tag(1, 2)]
    bench.broker.go.set()
    await bench.settled()
    assert bench.broker.acked == [Tag(1, 2), Tag(1, 1)]


async def test_a_message_whose_attempt_was_over_publishes_the_next_and_runs_nothing(
    bench: Bench,
) -> None:
    bench.attempts.claims = [Settled(PublishNext(3, PAST))]
    bench.deliver(1, redelivered=True)
    await bench.settled()
    assert bench.runner.jobs == []
    assert [item.attempt for item in bench.broker.published] == [3]
    assert bench.broker.acked == [Tag(1, 1)]


async def test_a_failed_attempt_that_comes_again_is_only_acknowledged(bench: Bench) -> None:
    bench.attempts.settlements = [PublishNext(2, PAST)]
    bench.deliver(1)
    await bench.settled()
    bench.deliver(2, redelivered=True)
    assert bench.broker.acked == [Tag(1, 1), Tag(1, 2)]
    assert len(bench.broker.published) == 1
    assert len(bench.runner.jobs) == 1


async def test_the_next_attempt_is_new_work(bench: Bench) -> None:
    bench.attempts.settlements = [PublishNext(2, PAST), PublishNext(3, PAST)]
    bench.deliver(1)
    await bench.settled()
    bench.deliver(2, headers=bench.broker.published[0].headers)
    await bench.settled()
    assert len(bench.runner.jobs) == 2
    assert [item.attempt for item in bench.broker.published] == [2, 3]
    assert bench.broker.acked == [Tag(1, 1), Tag(1, 2)]


async def test_the_headers_of_the_next_attempt_are_those_of_the_task(bench: Bench) -> None:
    bench.attempts.settlements = [PublishNext(2, PAST)]
    own = {"x-tq-retry": '{"maxAttempts":3}', "traceparent": "00-1"}
    api = FakeApi([], [])
    api.clock.observe("Thu, 01 Jan 2026 00:00:00 GMT")
    original = fresh_headers(api) | own
    bench.deliver(1, headers=original | DEATH | {"secret": "s"})
    await bench.settled()
    (sent,) = bench.broker.published
    assert sent.headers == original | {"x-tq-attempt": 2}


async def test_a_task_that_one_slot_runs_is_not_run_by_another_for_a_later_message() -> None:
    # Taken over from a lost worker by the message of attempt 1, it runs as attempt 2 here. The
    # message of attempt 2 comes as well, published before the worker was lost.
    gone = {"pod": "gone", "podUid": "x", "instance": "x"}
    lost = replace(PENDING, phase="Running", attempts=1, worker=gone)
    ours = replace(lost, attempts=2, worker=ME.to_status())
    api = FakeApi([lost, ours], [Written(), Written(), Written()])
    bench = Bench(attempts=attempts_of(api, IMMEDIATE), slots=2)
    async with running(bench):
        bench.runner.outcome = Success(None)
        bench.runner.go.clear()
        bench.deliver(1, redelivered=True)
        await bench.runner.started.wait()
        bench.deliver(2, headers=fresh_headers(api) | {"x-tq-attempt": 2})
        for _ in range(20):
            await asyncio.sleep(0)
        assert api.reads == []
        assert [job.attempt for job in bench.runner.jobs] == [2]
        assert bench.broker.acked == []
        bench.runner.go.set()
        await bench.settled()
    assert bench.broker.acked == [Tag(1, 1)]
    assert [patch["/status/attempts"] for patch in api.patches] == [2, 2]


async def test_the_next_attempt_of_a_task_is_published_though_its_connection_is_lost(
    bench: Bench,
) -> None:
    bench.attempts.settlements = [PublishNext(2, PAST)]
    bench.broker.go.clear()
    bench.deliver(1)
    await bench.broker.publishing.wait()
    bench.connect_again()
    bench.deliver(2, session=2, redelivered=True)
    bench.broker.go.set()
    await bench.settled()
    assert len(bench.runner.jobs) == 1
    assert [item.attempt for item in bench.broker.published] == [2]
    assert bench.broker.acked == [Tag(2, 2)]


async def test_draining_waits_for_the_next_attempt_to_be_published(bench: Bench) -> None:
    bench.attempts.settlements = [PublishNext(2, PAST)]
    bench.broker.go.clear()
    bench.deliver(1)
    await bench.broker.publishing.wait()
    draining = asyncio.create_task(bench.worker.drain(5))
    await asyncio.sleep(0)
    assert not draining.done()
    bench.broker.go.set()
    await draining
    assert bench.broker.acked == [Tag(1, 1)]
