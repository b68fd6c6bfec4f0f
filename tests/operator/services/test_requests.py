"""At most one planned reconcile per TaskQueue, later and later while there is trouble."""

import asyncio
import random

import pytest

from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.services.requests import Requests
from tests.operator.builders import KEY

OTHER = QueueKey("shop", "other")


class Longest(random.Random):
    """Jitter at its upper end."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


class Diary:
    """What was reconciled, and when."""

    def __init__(self) -> None:
        self.requests = Requests(Longest())
        self.requests.serve(self.reconcile)
        self.begun = asyncio.get_running_loop().time()
        self.entries: list[tuple[float, QueueKey]] = []

    async def reconcile(self, key: QueueKey) -> None:
        now = asyncio.get_running_loop().time() - self.begun
        self.entries.append((round(now, 2), key))

    @property
    def times(self) -> list[float]:
        """Seconds from the start."""
        return [moment for moment, _ in self.entries]


@pytest.fixture
async def diary() -> Diary:
    return Diary()


async def test_a_bunch_of_changes_is_reconciled_once(diary: Diary) -> None:
    for _ in range(10):
        diary.requests.soon(KEY)
        await asyncio.sleep(0.005)
    await asyncio.sleep(10)
    assert diary.entries == [(0.1, KEY)]


async def test_each_taskqueue_has_its_own(diary: Diary) -> None:
    diary.requests.soon(KEY)
    diary.requests.soon(OTHER)
    await asyncio.sleep(10)
    assert [key for _, key in diary.entries] == [KEY, OTHER]


async def test_a_change_after_a_reconcile_is_reconciled_again(diary: Diary) -> None:
    diary.requests.soon(KEY)
    await asyncio.sleep(1)
    diary.requests.soon(KEY)
    await asyncio.sleep(10)
    assert diary.times == [0.1, 1.1]


async def test_trouble_is_looked_at_later_and_later(diary: Diary) -> None:
    async def fail(key: QueueKey) -> None:
        await Diary.reconcile(diary, key)
        diary.requests.trouble(key)

    diary.requests.serve(fail)
    diary.requests.trouble(KEY)
    await asyncio.sleep(125)
    gaps = [round(b - a, 1) for a, b in zip([0.0, *diary.times], diary.times, strict=False)]
    assert gaps == [1, 2, 4, 8, 16, 30, 30, 30]


async def test_after_a_calm_while_trouble_is_looked_at_quickly_again(diary: Diary) -> None:
    for _ in range(5):
        diary.requests.trouble(KEY)
        await asyncio.sleep(40)
    await asyncio.sleep(61)
    diary.entries.clear()
    again = asyncio.get_running_loop().time() - diary.begun
    diary.requests.trouble(KEY)
    await asyncio.sleep(40)
    assert diary.times == [pytest.approx(again + 1, abs=0.02)]


async def test_a_change_does_not_wait_for_the_pause_after_trouble(diary: Diary) -> None:
    for _ in range(5):
        diary.requests.trouble(KEY)
        await asyncio.sleep(31)
    diary.entries.clear()
    diary.requests.trouble(KEY)
    diary.requests.soon(KEY)
    await asyncio.sleep(60)
    assert len(diary.entries) == 1
    assert diary.times[0] == pytest.approx(5 * 31 + 0.1, abs=0.02)


async def test_trouble_does_not_put_off_what_is_planned_earlier(diary: Diary) -> None:
    diary.requests.soon(KEY)
    diary.requests.trouble(KEY)
    await asyncio.sleep(10)
    assert diary.times == [0.1]


async def test_a_forgotten_taskqueue_is_not_reconciled(diary: Diary) -> None:
    diary.requests.soon(KEY)
    diary.requests.soon(OTHER)
    diary.requests.forget(KEY)
    diary.requests.forget(QueueKey("never", "seen"))
    await asyncio.sleep(10)
    assert [key for _, key in diary.entries] == [OTHER]


async def test_the_end_cancels_what_is_planned_and_what_runs(diary: Diary) -> None:
    ended = []

    async def hang(key: QueueKey) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(key)

    diary.requests.serve(hang)
    diary.requests.soon(KEY)
    await asyncio.sleep(1)
    diary.requests.soon(OTHER)
    diary.requests.stop()
    await asyncio.sleep(10)
    assert ended == [KEY]


async def test_what_comes_while_one_is_under_way_is_one_more_after_it() -> None:
    gate, begun = asyncio.Event(), 0

    async def reconcile(_: QueueKey) -> None:
        nonlocal begun
        begun += 1
        await gate.wait()

    requests = Requests(Longest())
    requests.serve(reconcile)
    for _ in range(20):
        requests.soon(KEY)
        await asyncio.sleep(0.3)
    assert begun == 1
    gate.set()
    await asyncio.sleep(10)
    assert begun == 2
