"""What is shown of an attempt while it runs: Running after a second, then its progress."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from taskqueue_api.messages import TaskUid
from taskqueue_worker import showing
from taskqueue_worker.api import Gone, Refused, WriteAnswer, Written
from taskqueue_worker.attempts import Attempts, Claimed
from taskqueue_worker.claim import Path
from taskqueue_worker.showing import AWAY_SECONDS, PAUSE_SECONDS, Reports, shown
from taskqueue_worker.statuses import Attempt, Progress
from tests.worker.api_server import NOW, FakeApi
from tests.worker.test_attempts import ME, attempts_on, message

CLAIMED = Claimed(Attempt(TaskUid("uid-1"), 0, 1, NOW, ME), announced=True, path=Path.CAREFUL)
UNSAID = Claimed(CLAIMED.attempt, announced=False, path=Path.FRESH)


class Follower:
    """Reports that are followed, with pauses that end when they are told to.

    written: what was. answers: of the next writes; then all are taken. pauses: their lengths.
    """

    def __init__(self) -> None:
        self.reports = Reports()
        self.written: list[Progress] = []
        self.answers: list[WriteAnswer | None] = []
        self.pauses: list[float] = []
        self._go = asyncio.Event()
        self.following: asyncio.Task[bool]

    def begin(self, first: Progress | None = None) -> None:
        work = self.reports.follow(self._write, first, self._pause)
        self.following = asyncio.create_task(work)

    async def say(self, percent: int, message: str = "") -> None:
        self.reports.take(Progress(percent, message))
        await self.rest()

    async def go_on(self) -> None:
        self._go.set()
        await self.rest()

    async def rest(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def _write(self, progress: Progress) -> WriteAnswer | None:
        self.written.append(progress)
        return self.answers.pop(0) if self.answers else Written()

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._go.clear()
        await self._go.wait()


@pytest.fixture
async def follower() -> AsyncIterator[Follower]:
    follower = Follower()
    yield follower
    follower.following.cancel()


async def test_the_first_report_is_written_at_once_and_of_many_the_latest(
    follower: Follower,
) -> None:
    follower.begin()
    await follower.say(1)
    for percent in range(2, 90):
        await follower.say(percent)
    assert follower.written == [Progress(1)]
    await follower.go_on()
    assert follower.written == [Progress(1), Progress(89)]
    assert follower.pauses == [PAUSE_SECONDS] * 2


async def test_what_is_shown_already_is_not_written(follower: Follower) -> None:
    follower.begin()
    await follower.say(1)
    await follower.say(2)
    await follower.say(1)
    await follower.go_on()
    assert follower.written == [Progress(1)]
    await follower.say(1, "with other words")
    assert follower.written[1:] == [Progress(1, "with other words")]


async def test_after_what_came_with_running_there_is_a_pause(follower: Follower) -> None:
    follower.reports.take(Progress(1))
    follower.begin(first=Progress(1))
    await follower.say(2)
    assert follower.written == []
    await follower.go_on()
    assert follower.written == [Progress(2)]


async def test_what_nobody_takes_is_dropped_and_the_next_comes_later(follower: Follower) -> None:
    follower.answers = [None]
    follower.begin()
    await follower.say(1)
    await follower.go_on()
    assert follower.written == [Progress(1)]
    assert follower.pauses == [AWAY_SECONDS]
    await follower.say(1)
    assert follower.written == [Progress(1)] * 2


@pytest.mark.parametrize("answer", [Refused("test failed"), Gone()])
async def test_a_refusal_ends_it(follower: Follower, answer: WriteAnswer) -> None:
    follower.answers = [answer]
    follower.begin()
    await follower.say(1)
    assert await follower.following is False
    assert follower.pauses == []


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showing, "ANNOUNCE_SECONDS", 0.01)
    monkeypatch.setattr(showing, "PAUSE_SECONDS", 0.01)


class Watched(FakeApi):
    """Lets one wait for writes."""

    def __init__(self, writes: list[WriteAnswer]) -> None:
        super().__init__([], writes)
        self._changed = asyncio.Event()

    async def patch_status(self, name: str, patch: Any) -> WriteAnswer:
        answer = await super().patch_status(name, patch)
        self._changed.set()
        return answer

    async def offer_status(self, name: str, patch: Any) -> WriteAnswer | None:
        return await self.patch_status(name, patch)

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.patches) < count:
                self._changed.clear()
                await self._changed.wait()

    def progress(self) -> list[int | None]:
        """Return the percent that each write brought."""
        return [patch.get("/status/progress", {}).get("percent") for patch in self.patches]


def never() -> None:
    raise AssertionError("nothing was refused")


async def show(
    api: FakeApi,
    claimed: Claimed,
    body: Callable[[Reports], Awaitable[None]],
    refused: Callable[[], None] = never,
) -> None:
    attempts = attempts_on(api)
    async with shown(attempts, claimed, message(), refused) as reports:
        await body(reports)


@pytest.mark.usefixtures("_quick")
async def test_what_was_said_before_comes_with_running_and_the_rest_after_it() -> None:
    api = Watched([Written(), Written(), Written()])

    async def body(reports: Reports) -> None:
        reports.take(Progress(1))
        await api.wait(1)
        reports.take(Progress(2))
        await api.wait(2)

    await show(api, UNSAID, body)
    assert api.progress() == [1, 2]
    assert [patch["/status/phase"] for patch in api.patches] == ["Running"] * 2
    assert "/status/conditions" not in api.patches[1]


async def test_one_that_is_over_within_a_second_writes_nothing() -> None:
    api = Watched([])

    async def body(reports: Reports) -> None:
        reports.take(Progress(1))
        await asyncio.sleep(0)

    await show(api, UNSAID, body)
    assert api.patches == []


async def test_one_that_is_shown_as_running_writes_its_progress_at_once_and_nothing_later() -> None:
    api = Watched([Written()])
    kept: list[Reports] = []

    async def body(reports: Reports) -> None:
        kept.append(reports)
        reports.take(Progress(7))
        await api.wait(1)

    await show(api, CLAIMED, body)
    kept[0].take(Progress(8))
    await asyncio.sleep(0.01)
    assert api.progress() == [7]


@pytest.mark.parametrize("claimed", [CLAIMED, UNSAID])
@pytest.mark.usefixtures("_quick")
async def test_a_refusal_is_told_once(claimed: Claimed) -> None:
    api = Watched([Refused("another's")])
    told = asyncio.Event()

    async def body(reports: Reports) -> None:
        reports.take(Progress(1))
        await asyncio.wait_for(told.wait(), 5)
        reports.take(Progress(2))
        await asyncio.sleep(0.02)

    await show(api, claimed, body, told.set)
    assert len(api.patches) == 1


async def test_an_api_server_that_is_away_is_no_refusal() -> None:
    class Away(FakeApi):
        async def offer_status(self, _name: str, _patch: Any) -> None:
            return None

    attempts: Attempts = attempts_on(Away([], []))
    assert await attempts.show(message(), CLAIMED.attempt, Progress(1)) is None
