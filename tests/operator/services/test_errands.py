"""Errands are done one after the other; one that fails is tried again, and holds up no other."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from taskqueue_api.messages import TaskUid
from taskqueue_operator.domain.dispatching import WaitingTask
from taskqueue_operator.services.errands import BACKOFF_MAX, PARALLEL, Errand, Errands
from tests.operator.builders import build_rng, build_waiting
from tests.operator.clock import settle


@pytest.fixture
async def errands() -> AsyncIterator[Errands]:
    errands = Errands(build_rng())
    yield errands
    errands.stop()


class Work:
    """What is done for a Task, that fails at first; and when it was tried.

    faults, faults_after: how often the action fails, and what comes after it.
    """

    def __init__(self, name: str, faults: int = 0, faults_after: int = 0) -> None:
        self.task = build_waiting(uid=TaskUid(name), name=name)
        self.faults = faults
        self.faults_after = faults_after
        self.tries: list[float] = []
        self.done: list[WaitingTask | None] = []

    def errand(self, wait: float = 0.0) -> Errand:
        return Errand(self.task, self.act, wait, self.go_on)

    async def act(self, task: WaitingTask) -> WaitingTask:
        self.tries.append(asyncio.get_running_loop().time())
        if len(self.tries) <= self.faults:
            raise KeyError("status")
        return task

    def go_on(self, task: WaitingTask | None) -> None:
        if len(self.tries) <= self.faults_after:
            raise KeyError("lane")
        self.done.append(task)


async def test_an_error_of_our_own_is_logged_and_tried_again_ever_more_seldom(
    errands: Errands, caplog: pytest.LogCaptureFixture
) -> None:
    work = Work("a", faults=10)
    errands.add(work.errand())
    await asyncio.sleep(300)
    assert work.done == [work.task]
    pauses = [later - sooner for sooner, later in zip(work.tries, work.tries[1:], strict=False)]
    assert len(pauses) == 10
    assert 0.25 <= pauses[0] <= 0.51
    assert BACKOFF_MAX / 2 <= pauses[-1] <= BACKOFF_MAX + 0.01
    assert "KeyError: 'status'" in caplog.text


async def test_errors_of_our_own_hold_up_no_others(errands: Errands) -> None:
    broken = [Work(f"broken-{number}", faults=1000) for number in range(PARALLEL * 2)]
    for work in broken:
        errands.add(work.errand())
    last = Work("last")
    errands.add(last.errand())
    await settle()
    assert last.done == [last.task]


@pytest.mark.parametrize("wait", [0.0, 10.0])
async def test_so_it_is_when_the_task_cannot_go_on(
    errands: Errands, caplog: pytest.LogCaptureFixture, wait: float
) -> None:
    work, other = Work("a", faults_after=2), Work("b")
    errands.add(work.errand(wait))
    await asyncio.sleep(wait + 0.01)
    errands.add(other.errand())
    await asyncio.sleep(100)
    assert other.done == [other.task]
    assert work.done == [work.task]
    assert len(work.tries) == 3
    assert "KeyError: 'lane'" in caplog.text
