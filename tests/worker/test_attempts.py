"""Claiming and finishing, against an API server that is a list of answers."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from taskqueue_api.messages import TaskHeaders, TaskUid
from taskqueue_worker.api import ApiServer, Gone, Refused, WriteAnswer, Written
from taskqueue_worker.attempts import Attempts, Claim, Claimed, Held, Settled
from taskqueue_worker.claim import MAX_ATTEMPTS
from taskqueue_worker.clock import ServerClock
from taskqueue_worker.deliveries import Delivery, Tag, TaskMessage
from taskqueue_worker.outcomes import Success, failure
from taskqueue_worker.settle import Acknowledge, DeadLetter
from taskqueue_worker.statuses import Attempt, Identity, Patch, TaskView

UID = TaskUid("uid-1")
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
ME = Identity(pod="p", pod_uid="pu", node="n", instance="mine")
PENDING = TaskView(
    uid=UID,
    resource_version="7",
    phase="Pending",
    run=0,
    attempts=0,
    dispatches=1,
    start_time=None,
    worker={},
    error_type="",
    error_message="",
)
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


class FakeApi:
    """Answers from lists, in order; keeps the patches."""

    def __init__(
        self,
        reads: list[TaskView | None],
        writes: list[WriteAnswer],
        pod: Mapping[str, Any] | None = None,
    ) -> None:
        self.clock = ServerClock(lambda: NOW.timestamp())
        self.reads = reads
        self.writes = writes
        self.pod = pod
        self.patches: list[dict[str, Any]] = []

    async def get_task(self, _name: str) -> TaskView | None:
        return self.reads.pop(0)

    async def get_pod(self, _name: str) -> Mapping[str, Any] | None:
        return self.pod

    async def patch_status(self, _name: str, patch: Patch) -> WriteAnswer:
        self.patches.append({entry["path"]: entry["value"] for entry in patch})
        return self.writes.pop(0)


async def no_sleep(seconds: float) -> None:
    """Wait for nothing."""


def attempts_on(api: FakeApi) -> Attempts:
    return Attempts(cast(ApiServer, api), ME, now=lambda: NOW, sleep=no_sleep)


def message(*, redelivered: bool = True) -> TaskMessage:
    delivery = Delivery(
        tag=Tag(1, 1),
        redelivered=redelivered,
        message_id=UID,
        type="echo",
        headers={},
        body=b"",
        properties=None,
    )
    headers = TaskHeaders("c", "ns", "t", NOW, 0, 1, 1, timedelta(seconds=5))
    return TaskMessage(delivery, headers, UID, b"null", None)


async def claim(api: FakeApi, *, redelivered: bool = True) -> Claim:
    claimed = await attempts_on(api).claim(message(redelivered=redelivered))
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


async def test_without_a_clock_a_new_task_is_read_first() -> None:
    assert number(await claim(FakeApi([PENDING], []), redelivered=False)) == (1, False)


async def test_a_redelivered_task_is_claimed_by_a_write() -> None:
    api = FakeApi([PENDING], [Written()])
    assert number(await claim(api)) == (1, True)
    assert api.patches[0]["/metadata/resourceVersion"] == "7"
    assert api.patches[0]["/status/phase"] == "Running"


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


async def finish(api: FakeApi, outcome: Any) -> object:
    attempt = Attempt(UID, 0, 1, NOW, ME)
    settlement = await attempts_on(api).finish(message(), attempt, outcome, 0.5)
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
    assert await finish(FakeApi([taken], [Refused("CEL")]), failure("E", "m")) == Acknowledge()


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
    assert settlement == DeadLetter(failure("StatusRefused", "never"))
