"""Claiming and finishing, against an API server that is a list of answers."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from taskqueue_api.messages import TaskHeaders
from taskqueue_api.retries import ONCE, RetryPolicy, parse_policy
from taskqueue_worker.api import ApiServer, Gone, Refused, Written
from taskqueue_worker.attempts import Attempts, Claim, Claimed, Held, Settled
from taskqueue_worker.claim import MAX_ATTEMPTS
from taskqueue_worker.deliveries import Delivery, Tag, TaskMessage
from taskqueue_worker.outcomes import Failure, Success, failure, final
from taskqueue_worker.settle import Acknowledge, DeadLetter, PublishNext
from taskqueue_worker.statuses import Attempt, Identity, TaskView
from tests.worker.api_server import NOW, FakeApi
from tests.worker.views import PENDING, UID

ME = Identity(pod="p", pod_uid="pu", node="n", instance="mine")
MINE = replace(PENDING, phase="Running", attempts=1, worker=ME.to_status())
THEIRS = replace(
    MINE, worker={"pod": "other", "podUid": "x", "instance": "o"}, start_time="2026-01-01T11:59:00Z"
)
POD = {
    "metadata": {"uid": "x"},
    "status": {
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [
            {
                "name": "worker",
                "ready": True,
                "state": {"running": {"startedAt": "2026-01-01T11:00:00Z"}},
            }
        ],
    },
}


async def no_sleep(seconds: float) -> None:
    """Wait for nothing."""


def attempts_on(api: FakeApi, policy: RetryPolicy = ONCE, *, always: bool = False) -> Attempts:
    return Attempts(
        cast(ApiServer, api),
        ME,
        policy,
        now=lambda: NOW,
        jitter=lambda: 0.5,
        sleep=no_sleep,
        always=always,
    )


def message(
    *, redelivered: bool = True, table: dict[str, Any] | None = None, **changes: Any
) -> TaskMessage:
    delivery = Delivery(
        tag=Tag(1, 1),
        redelivered=redelivered,
        message_id=UID,
        type="echo",
        headers=table or {},
        body=b"",
        properties=None,
    )
    headers = TaskHeaders("c", "ns", "t", NOW, 0, 1, 1, timedelta(seconds=5))
    headers = replace(headers, **changes)
    return TaskMessage(delivery, headers, UID, b"null", None)


async def claim(
    api: FakeApi, policy: RetryPolicy = ONCE, *, redelivered: bool = True, **changes: Any
) -> Claim:
    asked = message(redelivered=redelivered, **changes)
    claimed = await attempts_on(api, policy).claim(asked)
    assert not api.reads, "everything was read"
    assert not api.writes, "everything was written"
    return claimed


def number(claimed: Claim) -> tuple[int, bool]:
    assert isinstance(claimed, Claimed)
    return claimed.attempt.number, claimed.announced


async def test_a_fresh_task_starts_without_a_word() -> None:
    api = FakeApi([], [])
    api.clock.observe("Thu, 01 Jan 2026 12:00:00 GMT")
    assert number(await claim(api, redelivered=False)) == (1, False)


async def test_a_fresh_task_is_written_first_where_the_queue_wants_it_always() -> None:
    api = FakeApi([PENDING], [Written()])
    api.clock.observe("Thu, 01 Jan 2026 12:00:00 GMT")
    asked = message(redelivered=False)
    assert number(await attempts_on(api, always=True).claim(asked)) == (1, True)
    assert api.patches[0]["/metadata/resourceVersion"] == "7"
    assert api.patches[0]["/status/phase"] == "Running"


async def test_one_that_is_gone_is_not_started_where_the_queue_wants_it_always() -> None:
    api = FakeApi([None], [])
    asked = message(redelivered=False)
    assert await attempts_on(api, always=True).claim(asked) == Settled(Acknowledge())


async def test_without_a_clock_a_new_task_is_read_first() -> None:
    assert number(await claim(FakeApi([PENDING], []), redelivered=False)) == (1, False)


async def test_a_redelivered_task_is_claimed_by_a_write() -> None:
    api = FakeApi([PENDING], [Written()])
    assert number(await claim(api)) == (1, True)
    assert api.patches[0]["/metadata/resourceVersion"] == "7"
    assert api.patches[0]["/status/phase"] == "Running"


DEAD = {"x-tq-failed-at": "2026-01-01T11:59:59Z"}
"""Of a dead letter that somebody put back into the queue."""


async def test_a_dead_letter_put_back_never_starts_without_a_question() -> None:
    api = FakeApi([replace(PENDING, phase="Failed", attempts=1)], [])
    api.clock.observe("Thu, 01 Jan 2026 12:00:00 GMT")
    claimed = await claim(api, redelivered=False, table=DEAD)
    assert claimed == Settled(Acknowledge())


async def test_a_dead_letter_whose_task_has_not_finished_is_run() -> None:
    # So it is when the API server took no outcome of it.
    api = FakeApi([PENDING], [Written()])
    assert number(await claim(api, redelivered=False, table=DEAD)) == (1, True)


async def test_a_dead_letter_put_back_whose_task_is_given_up_is_one_again() -> None:
    lost = replace(THEIRS, attempts=MAX_ATTEMPTS)
    api = FakeApi([lost], [Written()])
    claimed = await claim(api, table=DEAD, attempt=MAX_ATTEMPTS)
    assert isinstance(claimed, Settled)
    assert isinstance(claimed.settlement, DeadLetter)


async def test_a_conflict_is_read_again() -> None:
    changed = replace(PENDING, resource_version="8")
    api = FakeApi([PENDING, changed], [Refused("conflict"), Written()])
    assert number(await claim(api)) == (1, True)
    assert api.patches[1]["/metadata/resourceVersion"] == "8"


async def test_a_write_whose_answer_was_lost_is_recognised() -> None:
    # The repeated write is refused because the first one was stored.
    assert number(await claim(FakeApi([PENDING, MINE], [Refused("test failed")]))) == (1, True)


async def test_a_claim_lost_to_another_worker_is_held() -> None:
    api = FakeApi([PENDING, THEIRS], [Refused("conflict")], POD)
    assert isinstance(await claim(api), Held)


async def test_a_lost_worker_is_followed_by_the_next_attempt() -> None:
    assert number(await claim(FakeApi([THEIRS], [Written()]))) == (2, True)


async def test_the_last_attempt_lost_fails_the_task() -> None:
    api = FakeApi([replace(THEIRS, attempts=MAX_ATTEMPTS)], [Written()])
    settled = await claim(api)
    assert isinstance(settled, Settled)
    assert isinstance(settled.settlement, DeadLetter)
    assert settled.settlement.error.type == "WorkerLost"
    assert api.patches[0]["/status/error"]["type"] == "WorkerLost"


@pytest.mark.parametrize(
    ("view", "settlement"),
    [
        (None, Acknowledge()),
        (replace(PENDING, phase="Succeeded"), Acknowledge()),
        (
            replace(PENDING, phase="Failed", error_type="E", error_message="m"),
            DeadLetter(failure("E", "m")),
        ),
    ],
    ids=["gone", "succeeded", "failed"],
)
async def test_a_concluded_task_is_only_settled(view: TaskView | None, settlement: object) -> None:
    assert await claim(FakeApi([view], [])) == Settled(cast(Any, settlement))


async def finish(
    api: FakeApi, outcome: Any, policy: RetryPolicy = ONCE, number: int = 1, **changes: Any
) -> object:
    attempt = Attempt(UID, 0, number, NOW, ME)
    settlement = await attempts_on(api, policy).finish(message(**changes), attempt, outcome, 0.5)
    assert not api.reads
    assert not api.writes
    return settlement


async def test_an_outcome_is_one_write() -> None:
    api = FakeApi([], [Written()])
    assert await finish(api, Success(b"1")) == Acknowledge()
    assert api.patches[0]["/status/result"] == 1


async def test_a_failure_becomes_a_dead_letter_once_written() -> None:
    assert await finish(FakeApi([], [Written()]), failure("E", "m")) == DeadLetter(
        failure("E", "m")
    )


async def test_the_outcome_of_a_deleted_task_is_dropped() -> None:
    assert await finish(FakeApi([], [Gone()]), failure("E", "m")) == Acknowledge()


async def test_a_late_worker_is_refused_and_leaves_it_to_the_other() -> None:
    taken = replace(THEIRS, attempts=2)
    settlement = await finish(FakeApi([taken], [Refused("CEL")]), failure("E", "m"))
    assert settlement == Acknowledge(ended=False)


async def test_a_result_that_the_server_cannot_take_fails_the_task() -> None:
    api = FakeApi([MINE], [Refused("number too big"), Written()])
    settlement = await finish(api, Success(b"1e400"))
    assert isinstance(settlement, DeadLetter)
    assert settlement.error.type == "StatusRefused"
    assert "number too big" in settlement.error.message
    assert "/status/result" not in api.patches[1]


async def test_an_outcome_that_can_never_be_written_is_not_tried_for_ever() -> None:
    api = FakeApi([MINE, MINE], [Refused("no"), Refused("never")])
    settlement = await finish(api, Success(None))
    assert settlement == DeadLetter(final("StatusRefused", "never"))


POLICY = parse_policy({"maxAttempts": 3, "backoff": {"type": "Fixed", "initial": "1m"}})
MINUTE = timedelta(minutes=1)
RETRYING = replace(
    PENDING,
    phase="Retrying",
    attempts=1,
    worker=ME.to_status(),
    error_type="E",
    error_message="m",
    next_attempt_time="2026-01-01T12:01:00.000Z",
)


async def test_a_failure_with_attempts_left_is_written_as_retrying_and_published_next() -> None:
    api = FakeApi([], [Written()])
    assert await finish(api, failure("E", "m"), POLICY) == PublishNext(2, NOW + MINUTE)
    assert api.patches[0]["/status/phase"] == "Retrying"
    assert api.patches[0]["/status/nextAttemptTime"] == "2026-01-01T12:01:00.000Z"
    assert api.patches[0]["/status/error"] == {"type": "E", "message": "m"}


@pytest.mark.parametrize(
    ("outcome", "number", "own", "expected"),
    [
        pytest.param(failure("E", "m"), 2, None, PublishNext(3, NOW + MINUTE), id="one left"),
        pytest.param(failure("E", "m"), 3, None, DeadLetter(failure("E", "m")), id="the last"),
        pytest.param(final("E", "m"), 1, None, DeadLetter(failure("E", "m")), id="permanent"),
        pytest.param(
            failure("E", "m", after=5),
            1,
            None,
            PublishNext(2, NOW + timedelta(seconds=5)),
            id="the handler says when",
        ),
        pytest.param(Success(None), 1, None, Acknowledge(), id="success"),
        pytest.param(
            failure("E", "m"),
            1,
            '{"maxAttempts":1}',
            DeadLetter(failure("E", "m")),
            id="the Task's own policy says once",
        ),
        pytest.param(
            failure("E", "m"),
            7,
            '{"maxAttempts":8,"backoff":{"type":"Immediate"}}',
            PublishNext(8, NOW),
            id="the Task's own policy says more",
        ),
    ],
)
async def test_the_policy_decides_what_follows_an_outcome(
    outcome: Success | Failure, number: int, own: str | None, expected: object
) -> None:
    api = FakeApi([], [Written()])
    assert await finish(api, outcome, POLICY, number, retry=own) == expected


async def test_without_a_policy_a_task_may_bring_its_own() -> None:
    own = '{"maxAttempts":2,"backoff":{"type":"Immediate"}}'
    assert await finish(FakeApi([], [Written()]), failure("E", "m"), retry=own) == PublishNext(
        2, NOW
    )


async def test_the_retry_of_a_deleted_task_is_dropped() -> None:
    assert await finish(FakeApi([], [Gone()]), failure("E", "m"), POLICY) == Acknowledge()


async def test_a_retry_whose_answer_was_lost_is_settled_from_the_status() -> None:
    api = FakeApi([RETRYING], [Refused("already")])
    assert await finish(api, failure("E", "m"), POLICY) == PublishNext(2, NOW + MINUTE)


async def test_a_retry_of_a_task_that_another_worker_has_is_left_to_it() -> None:
    taken = replace(THEIRS, attempts=2)
    settlement = await finish(FakeApi([taken], [Refused("CEL")]), failure("E", "m"), POLICY)
    assert settlement == Acknowledge(ended=False)


async def test_a_retry_that_the_server_cannot_take_fails_the_task() -> None:
    api = FakeApi([MINE], [Refused("no"), Written()])
    settlement = await finish(api, failure("E", "m"), POLICY)
    assert isinstance(settlement, DeadLetter)
    assert settlement.error.type == "StatusRefused"
    assert api.patches[1]["/status/phase"] == "Failed"
    assert "/status/nextAttemptTime" not in api.patches[1]


async def test_the_next_attempt_is_claimed_by_a_write_that_ends_the_waiting() -> None:
    api = FakeApi([RETRYING], [Written()])
    claimed = await claim(api, POLICY, redelivered=False, attempt=2)
    assert number(claimed) == (2, True)
    assert api.patches[0]["/status/phase"] == "Running"
    assert api.patches[0]["/metadata/resourceVersion"] == "7"
    assert api.removed == [{"/status/nextAttemptTime"}]


async def test_a_redelivered_message_of_a_failed_attempt_publishes_the_next_again() -> None:
    assert await claim(FakeApi([RETRYING], []), POLICY) == Settled(PublishNext(2, NOW + MINUTE))


async def test_the_second_of_two_messages_for_one_attempt_is_held_while_it_runs() -> None:
    running = replace(THEIRS, attempts=2)
    assert isinstance(await claim(FakeApi([running], [], POD), POLICY, attempt=2), Held)


async def test_two_workers_claim_one_attempt_and_one_of_them_gets_it() -> None:
    running = replace(THEIRS, attempts=2)
    api = FakeApi([RETRYING, running], [Refused("conflict")], POD)
    assert isinstance(await claim(api, POLICY, attempt=2), Held)


@pytest.mark.parametrize(
    ("most", "attempts", "lost"),
    [
        pytest.param(1, MAX_ATTEMPTS - 1, False, id="no retries, but a lost worker is no failure"),
        pytest.param(1, MAX_ATTEMPTS, True, id="no retries, lost too often"),
        pytest.param(3, MAX_ATTEMPTS - 1, False, id="fewer than that"),
        pytest.param(8, 7, False, id="more than that"),
        pytest.param(8, 8, True, id="the last of more"),
    ],
)
async def test_a_lost_worker_uses_up_an_attempt_of_the_policy(
    most: int, attempts: int, lost: bool
) -> None:
    policy = parse_policy({"maxAttempts": most})
    api = FakeApi([replace(THEIRS, attempts=attempts)], [Written()])
    assert isinstance(await claim(api, policy), Settled if lost else Claimed)


async def test_a_tasks_own_policy_says_how_many_lost_workers_are_too_many() -> None:
    api = FakeApi([replace(THEIRS, attempts=7)], [Written()])
    assert number(await claim(api, retry='{"maxAttempts":8}')) == (8, True)
