"""Several messages of one Task in one process: each slot claims for itself."""

import asyncio
from dataclasses import replace

import pytest

from taskqueue_worker.api import Refused, WriteAnswer, Written
from taskqueue_worker.attempts import Claimed, Held, Settled
from taskqueue_worker.outcomes import Success
from taskqueue_worker.settle import Acknowledge
from taskqueue_worker.statuses import Patch, TaskView
from tests.worker.api_server import FakeApi
from tests.worker.test_attempts import (
    MINE,
    POLICY,
    RETRYING,
    THEIRS,
    attempts_on,
    message,
    number,
)
from tests.worker.views import PENDING

SECOND_RUNS = replace(MINE, attempts=2)
SUCCEEDED = replace(SECOND_RUNS, phase="Succeeded")


class SlowApi(FakeApi):
    """Does what it is told at once, and says so when `go` is set.

    slow_read: the number of the read that waits, from 1; None: all writes do. asked: it waits.
    """

    def __init__(
        self,
        reads: list[TaskView | None],
        writes: list[WriteAnswer],
        slow_read: int | None = None,
    ) -> None:
        super().__init__(reads, writes)
        self.slow_read = slow_read
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self._reads = 0

    async def get_task(self, name: str) -> TaskView | None:
        self._reads += 1
        if self._reads == self.slow_read:
            await self._wait()
        return await super().get_task(name)

    async def patch_status(self, name: str, patch: Patch) -> WriteAnswer:
        answer = await super().patch_status(name, patch)
        if self.slow_read is None:
            await self._wait()
        return answer

    async def _wait(self) -> None:
        self.asked.set()
        async with asyncio.timeout(5):
            await self.go.wait()


@pytest.mark.parametrize(
    ("before", "first", "second"),
    [
        pytest.param(RETRYING, 2, 1, id="the one before"),
        pytest.param(THEIRS, 1, 2, id="the one after a lost worker's"),
    ],
)
async def test_a_message_of_another_attempt_is_held_while_its_task_runs_here(
    before: TaskView, first: int, second: int
) -> None:
    api = FakeApi([before, SECOND_RUNS, SECOND_RUNS, SUCCEEDED], [Written(), Written()])
    attempts = attempts_on(api, POLICY)
    claimed = await attempts.claim(message(attempt=first))
    assert number(claimed) == (2, True)
    assert isinstance(claimed, Claimed)
    other = message(attempt=second)
    assert await attempts.claim(other) == Held()
    assert await attempts.claim(other) == Held()
    await attempts.finish(message(attempt=first), claimed.attempt, Success(None), 0.5)
    assert await attempts.claim(other) == Settled(Acknowledge())
    assert [patch["/status/attempts"] for patch in api.patches] == [2, 2]


async def test_an_attempt_that_is_over_here_holds_nothing_even_if_its_outcome_is_not_stored() -> (
    None
):
    # Two refusals: it stays Running, by an instance that no longer runs it.
    reads: list[TaskView | None] = [RETRYING, *[SECOND_RUNS] * 3]
    api = FakeApi(reads, [Written(), Refused("no"), Refused("never"), Written()])
    attempts = attempts_on(api, POLICY)
    claimed = await attempts.claim(message(attempt=2))
    assert isinstance(claimed, Claimed)
    await attempts.finish(message(attempt=2), claimed.attempt, Success(None), 0.5)
    assert number(await attempts.claim(message(attempt=2))) == (3, True)


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(RETRYING, id="the write is on its way"),
        pytest.param(SECOND_RUNS, id="the answer is on its way"),
    ],
)
async def test_of_two_claims_of_one_attempt_the_second_is_held_before_the_first_is_answered(
    read: TaskView,
) -> None:
    api = SlowApi([RETRYING, read], [Written(), Written()])
    attempts = attempts_on(api, POLICY)
    first = asyncio.create_task(attempts.claim(message(attempt=2)))
    await api.asked.wait()
    assert await attempts.claim(message(attempt=2)) == Held()
    api.go.set()
    assert number(await first) == (2, True)
    assert len(api.patches) == 1


async def test_another_slots_write_is_not_taken_for_the_own_whose_answer_was_lost() -> None:
    # The first is refused, say by a conflict, and reads again; meanwhile the second claims.
    api = SlowApi([RETRYING, RETRYING, SECOND_RUNS], [Refused("conflict"), Written()], slow_read=2)
    attempts = attempts_on(api, POLICY)
    first = asyncio.create_task(attempts.claim(message(attempt=2)))
    await api.asked.wait()
    assert number(await attempts.claim(message(attempt=2))) == (2, True)
    api.go.set()
    assert await first == Held()


async def test_a_claim_that_is_released_can_be_claimed_again() -> None:
    attempts = attempts_on(FakeApi([PENDING, PENDING, PENDING], []))
    asked = message(redelivered=False)
    claimed = await attempts.claim(asked)
    assert isinstance(claimed, Claimed)
    assert await attempts.claim(asked) == Held()
    attempts.release(claimed)
    assert number(await attempts.claim(asked)) == (1, False)


async def test_a_claim_that_was_written_and_released_is_followed_by_the_next_attempt() -> None:
    attempts = attempts_on(FakeApi([RETRYING, SECOND_RUNS], [Written(), Written()]), POLICY)
    claimed = await attempts.claim(message(attempt=2))
    assert isinstance(claimed, Claimed)
    attempts.release(claimed)
    assert number(await attempts.claim(message(attempt=2))) == (3, True)
