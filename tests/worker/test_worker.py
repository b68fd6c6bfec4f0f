"""The wiring: from deliveries to acknowledgements, with a fake at each edge."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any, cast

import pytest

from taskqueue_api.messages import TaskHeaders, TaskUid, encode_hint
from taskqueue_worker.attempts import Claimed, Held, Settled
from taskqueue_worker.claim import Path
from taskqueue_worker.deliveries import Tag
from taskqueue_worker.outcomes import Cancelled, Success, failure, final
from taskqueue_worker.settle import Acknowledge, DeadLetter
from taskqueue_worker.statuses import Attempt, Progress
from tests.worker.bench import ME, NOW, Bench


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    running = asyncio.create_task(made.worker.run())
    await asyncio.sleep(0)
    yield made
    running.cancel()
    await asyncio.wait([running])


async def test_a_task_is_run_finished_and_acknowledged(bench: Bench) -> None:
    bench.runner.go.set()
    bench.deliver(1)
    await bench.settled()
    assert bench.broker.acked == [Tag(1, 1)]
    assert bench.attempts.finished == [Success(None)]
    assert bench.runner.jobs[0].timeout == 5


async def test_a_timeout_that_was_lowered_counts_for_messages_of_before(bench: Bench) -> None:
    headers = TaskHeaders("c", "ns", "t", NOW, 0, 1, 1, timedelta(hours=1)).to_amqp()
    bench.deliver(1, headers=headers)
    await bench.runner.started.wait()
    assert bench.runner.jobs[0].timeout == 9


async def test_a_job_knows_the_run_that_its_message_is_of(bench: Bench) -> None:
    headers = TaskHeaders("c", "ns", "t", NOW, 2, 1, 1, timedelta(seconds=5)).to_amqp()
    bench.deliver(1, headers=headers)
    await bench.runner.started.wait()
    assert bench.runner.jobs[0].run == 2


async def test_a_failure_is_dead_lettered_before_it_is_acknowledged(bench: Bench) -> None:
    bench.runner.outcome = failure("Boom", "why")
    bench.runner.go.set()
    bench.deliver(1)
    await bench.settled()
    assert bench.published == [("taskqueue.dlx", "tqd.ns.q", "uid-1", "Boom")]
    assert bench.broker.acked == [Tag(1, 1)]


async def test_an_unknown_handler_is_not_started(bench: Bench) -> None:
    bench.deliver(1, type="nope")
    await bench.settled()
    assert bench.runner.jobs == []
    assert bench.attempts.finished == [
        final("UnknownHandler", "no handler 'nope'; there are: echo")
    ]


async def test_a_bad_payload_fails_its_task(bench: Bench) -> None:
    bench.deliver(1, body=b"{")
    await bench.settled()
    assert bench.runner.jobs == []
    assert bench.published == [("taskqueue.dlx", "tqd.ns.q", "uid-1", "BadMessage")]


async def test_a_running_task_survives_its_connection_and_runs_once(bench: Bench) -> None:
    bench.deliver(1)
    await bench.runner.started.wait()
    bench.connect_again()
    bench.deliver(1, session=2, redelivered=True)
    bench.runner.go.set()
    await bench.settled()
    assert len(bench.runner.jobs) == 1
    assert bench.broker.acked == [Tag(2, 1)]


async def test_one_that_finished_without_connection_is_acknowledged_later(bench: Bench) -> None:
    bench.deliver(1)
    await bench.runner.started.wait()
    bench.connect_again()
    bench.runner.go.set()
    bench.deliver(7, session=2, message_id="another")
    await bench.settled()
    bench.deliver(8, session=2, redelivered=True)
    assert [job.uid for job in bench.runner.jobs] == ["uid-1", "another"]
    assert bench.broker.acked == [Tag(2, 7), Tag(2, 8)]


async def test_a_claim_without_a_write_is_not_started_once_its_message_is_lost(
    bench: Bench,
) -> None:
    attempt = Attempt(cast(Any, "uid-1"), 0, 1, NOW, ME)
    bench.attempts.claims = [Claimed(attempt, announced=False, path=Path.PLAIN)]
    bench.deliver(1)
    bench.broker.session = 2
    bench.deliver(2, session=2, message_id="another")
    # The first is lost while it waits for the slot; only the second is started.
    bench.worker.lost(1)
    bench.attempts.claims = []
    await bench.runner.started.wait()
    assert [job.uid for job in bench.runner.jobs] == ["another"]


async def test_nor_is_it_when_the_message_comes_back_meanwhile(bench: Bench) -> None:
    # Another worker may have had it in between, run its Task and been lost too.
    claimed = Claimed(Attempt(TaskUid("uid-1"), 0, 1, NOW, ME), announced=False, path=Path.PLAIN)
    bench.attempts.claims = [claimed]
    bench.attempts.answers.clear()
    bench.deliver(1)
    await asyncio.sleep(0)
    bench.connect_again()
    bench.deliver(1, session=2, redelivered=True)
    bench.attempts.answers.set()
    await bench.settled()
    assert bench.runner.jobs == []
    assert bench.attempts.released == [claimed]
    assert bench.broker.returned == [Tag(2, 1)]


async def test_a_concluded_task_is_only_settled(bench: Bench) -> None:
    bench.attempts.claims = [Settled(DeadLetter(failure("E", "m")))]
    bench.deliver(1)
    await bench.settled()
    assert bench.runner.jobs == []
    assert bench.published == [("taskqueue.dlx", "tqd.ns.q", "uid-1", "E")]
    assert bench.broker.acked == [Tag(1, 1)]


async def test_a_held_task_is_kept_and_leaves_the_slot_free(bench: Bench) -> None:
    bench.attempts.claims = [Held()]
    bench.runner.go.set()
    bench.deliver(1)
    bench.deliver(2, message_id="another")
    await bench.settled()
    assert bench.broker.acked == [Tag(1, 2)]
    assert bench.broker.returned == []


async def test_a_message_that_may_be_needed_again_is_given_back(bench: Bench) -> None:
    # The broker lost us, another worker took the Task over and was lost in its turn: so the
    # message came back while we ran it. Our outcome is refused, since the Task is the other's.
    bench.attempts.settlements = [Acknowledge(ended=False)]
    bench.deliver(1)
    await bench.runner.started.wait()
    bench.connect_again()
    bench.deliver(1, session=2, redelivered=True)
    bench.runner.go.set()
    await bench.settled()
    assert (bench.broker.acked, bench.broker.returned) == ([], [Tag(2, 1)])
    bench.deliver(2, session=2, redelivered=True)
    await bench.settled()
    assert len(bench.runner.jobs) == 2
    assert bench.broker.acked == [Tag(2, 2)]
    bench.deliver(3, session=2, redelivered=True)  # that one had ended
    assert len(bench.runner.jobs) == 2
    assert bench.broker.acked[1:] == [Tag(2, 3)]


async def test_a_foreign_message_is_set_aside(bench: Bench) -> None:
    headers = TaskHeaders("other", "ns", "t", NOW, 0, 1, 1, timedelta(seconds=5)).to_amqp()
    bench.deliver(1, headers=headers)
    await bench.settled()
    assert bench.published == [("taskqueue.dlx", "unrouted", "uid-1", "")]
    assert bench.broker.acked == [Tag(1, 1)]


async def test_an_outside_message_runs_without_the_api(bench: Bench) -> None:
    bench.runner.outcome = failure("Boom", "why")
    bench.runner.go.set()
    bench.deliver(1, headers={}, message_id="m")
    await bench.settled()
    assert bench.attempts.finished == []
    assert (bench.runner.jobs[0].name, bench.runner.jobs[0].timeout) == ("", 9)
    assert bench.published == [("taskqueue.dlx", "tqd.ns.q", "m", "Boom")]


async def test_draining_gives_back_what_waits_and_finishes_what_runs(bench: Bench) -> None:
    bench.deliver(1)
    bench.deliver(2, message_id="waiting")
    await bench.runner.started.wait()
    draining = asyncio.create_task(bench.worker.drain(5))
    await bench.settled()
    assert bench.broker.returned == [Tag(1, 2)]
    bench.deliver(3, message_id="late")
    bench.runner.go.set()
    await draining
    assert bench.broker.acked == [Tag(1, 1)]
    assert bench.broker.returned == [Tag(1, 2), Tag(1, 3)]


async def test_what_turns_out_to_be_held_while_draining_is_given_back(bench: Bench) -> None:
    bench.attempts.answers.clear()
    bench.attempts.claims = [Held()]
    bench.deliver(1)
    await asyncio.sleep(0)
    draining = asyncio.create_task(bench.worker.drain(5))
    await asyncio.sleep(0)
    bench.attempts.answers.set()
    await draining
    assert bench.broker.returned == [Tag(1, 1)]
    assert bench.runner.jobs == []


async def test_draining_does_not_wait_long_for_a_claim_that_gets_no_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskqueue_worker.worker._CLAIM_SECONDS", 0.2)
    bench.attempts.answers.clear()
    bench.deliver(1)
    await asyncio.sleep(0)
    draining = asyncio.create_task(bench.worker.drain(60))
    await asyncio.sleep(0.05)
    assert bench.broker.returned == []
    await draining
    assert bench.broker.returned == [Tag(1, 1)]
    bench.attempts.answers.set()
    await asyncio.sleep(0)
    assert bench.runner.jobs == []
    # Or no slot of this process could ever claim it again.
    assert [claimed.attempt.uid for claimed in bench.attempts.released] == ["uid-1"]


async def test_draining_runs_what_a_claim_on_its_way_gets_in_time(bench: Bench) -> None:
    bench.attempts.answers.clear()
    bench.runner.go.set()
    bench.deliver(1)
    await asyncio.sleep(0)
    draining = asyncio.create_task(bench.worker.drain(5))
    await asyncio.sleep(0)
    bench.attempts.answers.set()
    await draining
    assert len(bench.runner.jobs) == 1
    assert (bench.broker.acked, bench.broker.returned) == ([Tag(1, 1)], [])
    assert bench.attempts.released == []


async def test_draining_gives_back_and_releases_a_claim_that_nobody_knows_of(
    bench: Bench,
) -> None:
    claimed = Claimed(Attempt(TaskUid("uid-1"), 0, 1, NOW, ME), announced=False, path=Path.PLAIN)
    bench.attempts.claims = [claimed]
    bench.attempts.answers.clear()
    bench.deliver(1)
    await asyncio.sleep(0)
    draining = asyncio.create_task(bench.worker.drain(5))
    await asyncio.sleep(0)
    bench.attempts.answers.set()
    await draining
    assert bench.runner.jobs == []
    assert bench.broker.returned == [Tag(1, 1)]
    assert bench.attempts.released == [claimed]


async def test_draining_ends_in_time_and_acknowledges_nothing_unfinished(bench: Bench) -> None:
    bench.deliver(1)
    await bench.runner.started.wait()
    await bench.worker.drain(0.1)
    assert bench.broker.acked == []


async def test_progress_is_shown_and_the_last_of_it_comes_with_the_outcome(bench: Bench) -> None:
    bench.deliver(1)
    await bench.runner.started.wait()
    await asyncio.sleep(0.01)
    bench.runner.jobs[0].report(Progress(40, "halfway"))
    await asyncio.sleep(0.01)
    bench.runner.jobs[0].report(Progress(90))
    bench.runner.go.set()
    await bench.settled()
    assert bench.attempts.shown == [Progress(40, "halfway")]
    assert bench.attempts.progress == [Progress(90)]


async def test_an_outside_message_has_nowhere_to_show_progress(bench: Bench) -> None:
    bench.deliver(1, headers={}, message_id="m")
    await bench.runner.started.wait()
    bench.runner.jobs[0].report(Progress(40))
    bench.runner.go.set()
    await bench.settled()
    assert bench.attempts.shown == []


def hint_at_it(bench: Bench) -> None:
    bench.worker.hint(encode_hint(TaskUid("uid-1")))


def connect_again(bench: Bench) -> None:
    bench.worker.lost(1)
    bench.worker.opened()


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(hint_at_it, id="a hint comes"),
        pytest.param(connect_again, id="a hint may have been lost"),
    ],
)
async def test_what_is_cancelled_while_its_claim_is_answered_is_stopped_at_once(
    bench: Bench, event: Callable[[Bench], None]
) -> None:
    bench.attempts.answers.clear()
    bench.deliver(1)
    await asyncio.sleep(0)
    bench.attempts.wanted = False  # the answer on its way does not know of it
    event(bench)
    await asyncio.sleep(0)
    bench.attempts.answers.set()
    await bench.settled()
    assert bench.attempts.finished == [Cancelled()]


async def test_what_was_hinted_at_before_its_claim_is_looked_at_by_that_alone(
    bench: Bench,
) -> None:
    hint_at_it(bench)
    await asyncio.sleep(0.001)
    bench.deliver(1)
    await bench.runner.started.wait()
    await asyncio.sleep(0.01)
    assert (bench.attempts.suspected, bench.attempts.asked) == ([True], 0)


async def test_what_hints_may_have_been_about_is_read_before_it_starts(bench: Bench) -> None:
    bench.attempts.now = (NOW - timedelta(seconds=10)).timestamp()  # the Task comes after it
    bench.worker.opened()
    bench.runner.go.set()
    for number, hears in enumerate((True, False), 1):
        bench.broker.hears = hears
        bench.deliver(number, message_id=f"uid-{number}")
        await bench.settled()
    assert bench.attempts.unheard == [False, True]
