"""A handler at work is stopped when its Task is to be run no longer, and only then."""

import asyncio
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskqueue_api.messages import TaskUid, encode_hint
from taskqueue_worker import metrics
from taskqueue_worker.outcomes import Cancelled, Outcome, Success
from taskqueue_worker.stopping import LOOK_SECONDS, SUSPECT_SECONDS, Running

UID = TaskUid("uid-1")


class World:
    """One Task that runs until it is let go.

    wanted: what the API server says of it, as of when it is asked. asked: how often.
    answers: what its answers wait for. now: in seconds.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.running = Running(lambda: self.now)
        self.go = asyncio.Event()
        self.wanted = True
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.killed = False
        self.pauses: deque[asyncio.Event] = deque()

    async def work(self) -> Outcome:
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # as long as it takes to end a process
            self.killed = True
            raise
        return Success(b"1")

    async def is_wanted(self) -> bool:
        self.asked += 1
        wanted = self.wanted
        await self.answers.wait()
        return wanted

    def start(self) -> asyncio.Task[Outcome]:
        """Run the Task."""
        return asyncio.create_task(self.running.run(UID, self.work(), self.is_wanted))

    async def sleep(self, _seconds: float) -> None:
        """Pause until told."""
        pause = asyncio.Event()
        self.pauses.append(pause)
        await pause.wait()

    async def tick(self, seconds: float) -> None:
        """Let time pass, and the watch wake once."""
        self.now += seconds
        self.pauses.popleft().set()
        await turns()


async def turns() -> None:
    """Let everything that can go on go on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_nobody_stops_ends_as_it_does() -> None:
    world = World()
    run = world.start()
    world.go.set()
    assert await run == Success(b"1")
    assert world.asked == 0


async def test_a_hint_stops_a_task_that_is_wanted_no_longer() -> None:
    world = World()
    run = world.start()
    await turns()
    world.wanted = False
    await world.running.hint(encode_hint(UID))
    assert await run == Cancelled()
    assert world.killed


async def test_a_hint_alone_stops_nothing() -> None:
    world = World()
    run = world.start()
    await turns()
    await world.running.hint(encode_hint(UID))
    await turns()
    assert (world.asked, world.killed) == (1, False)
    world.go.set()
    assert await run == Success(b"1")


async def test_many_hints_at_once_ask_twice_and_the_last_of_them_counts() -> None:
    world = World()
    run = world.start()
    await turns()
    world.answers.clear()
    hints = [asyncio.create_task(world.running.hint(encode_hint(UID))) for _ in range(50)]
    await turns()
    assert world.asked == 1
    world.wanted = False
    hints += [asyncio.create_task(world.running.hint(encode_hint(UID))) for _ in range(50)]
    await turns()
    world.answers.set()
    await asyncio.gather(*hints)
    assert await run == Cancelled()
    assert world.asked == 2


async def test_one_that_ended_meanwhile_is_not_asked_about_again() -> None:
    world = World()
    run = world.start()
    await turns()
    world.answers.clear()
    hints = [asyncio.create_task(world.running.hint(encode_hint(UID))) for _ in range(2)]
    await turns()
    world.go.set()
    assert await run == Success(b"1")
    world.answers.set()
    await asyncio.gather(*hints)
    assert world.asked == 1


async def test_a_hint_at_another_task_asks_nothing() -> None:
    world = World()
    run = world.start()
    await turns()
    await world.running.hint(encode_hint(TaskUid("uid-2")))
    assert world.asked == 0
    assert world.running.is_suspect(TaskUid("uid-2"))
    assert not world.running.is_suspect(UID)
    world.go.set()
    await run


async def test_one_that_ends_while_it_is_asked_about_ends_well() -> None:
    world = World()
    asking = asyncio.Event()

    async def is_wanted() -> bool:
        await asking.wait()
        return False

    run = asyncio.create_task(world.running.run(UID, world.work(), is_wanted))
    await turns()
    hint = asyncio.create_task(world.running.hint(encode_hint(UID)))
    await turns()
    world.go.set()
    await turns()
    asking.set()
    await hint
    assert await run == Success(b"1")


async def test_a_long_run_is_looked_at_without_a_hint() -> None:
    world = World()
    run = world.start()
    watch = asyncio.create_task(world.running.watch(world.sleep))
    await turns()
    await world.tick(LOOK_SECONDS - 1)
    assert world.asked == 0
    await world.tick(1)
    assert world.asked == 1
    await world.tick(1)
    assert world.asked == 1
    world.wanted = False
    await world.tick(LOOK_SECONDS)
    assert await run == Cancelled()
    watch.cancel()


async def test_all_are_looked_at_when_hints_may_have_been_lost() -> None:
    world = World()
    run = world.start()
    await turns()
    world.wanted = False
    await world.running.look_at_all()
    assert await run == Cancelled()


async def test_a_suspect_is_forgotten_after_a_while() -> None:
    world = World()
    watch = asyncio.create_task(world.running.watch(world.sleep))
    await turns()
    await world.running.hint(encode_hint(UID))
    await world.tick(SUSPECT_SECONDS)
    assert world.running.is_suspect(UID)
    await world.tick(1)
    assert not world.running.is_suspect(UID)
    watch.cancel()


async def test_the_end_of_the_worker_is_no_cancellation_of_the_task() -> None:
    world = World()
    run = world.start()
    await turns()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    # Not before the handler has ended.
    assert world.killed


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff", id="no text"),
        pytest.param(b"[" * 100_000, id="nested too deeply"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b"{}", id="says nothing"),
        pytest.param(b'{"cancel": 1}', id="no UID"),
        pytest.param(b'{"cancel": ""}', id="an empty UID"),
        pytest.param(b'{"cancel": "' + b"x" * 65 + b'"}', id="too long"),
    ],
)
async def test_a_hint_that_cannot_be_read_is_ignored_and_counted(body: bytes) -> None:
    counter: Any = metrics.BAD_HINTS
    before = counter._value.get()
    world = World()
    run = world.start()
    await turns()
    await world.running.hint(body)
    assert (counter._value.get(), world.asked) == (before + 1, 0)
    world.go.set()
    await run


async def test_two_runs_of_one_task_are_both_looked_at() -> None:
    """A partition heals: its next attempt comes to the worker that still runs the one before."""
    world = World()
    first, second = world.start(), world.start()
    await turns()
    world.wanted = False
    await world.running.hint(encode_hint(UID))
    assert await first == await second == Cancelled()
    assert world.asked == 2


async def test_one_that_is_being_stopped_is_left_its_time_to_end() -> None:
    world = World()
    ending = asyncio.Event()

    async def work() -> Outcome:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await ending.wait()  # a second cancellation would end this, before the handler has
            world.killed = True
            raise
        raise AssertionError

    run = asyncio.create_task(world.running.run(UID, work(), world.is_wanted))
    await turns()
    world.wanted = False
    for _ in range(3):
        await world.running.hint(encode_hint(UID))
        await turns()
    assert (world.asked, run.done()) == (1, False)
    ending.set()
    assert await run == Cancelled()
    assert world.killed


def test_what_was_created_before_hints_were_heard_may_have_been_cancelled() -> None:
    clock = [100.0]
    running = Running(lambda: clock[0])
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def heard(created: float, now: float) -> bool:
        """Ask by seconds after the start."""
        clock[0] = 100.0 + now
        return running.has_heard_all(start + timedelta(seconds=created), start.timestamp() + now)

    assert not heard(5, 5)
    running.hear(hearing=True)  # at second 5
    # Two seconds are left to what is not known of the API server's clock.
    assert [heard(created, 60) for created in (1, 5, 7, 8, 60)] == [False, False, False, True, True]
    assert not running.has_heard_all(start + timedelta(seconds=60), None)
    running.hear(hearing=False)
    assert not heard(60, 60)
    running.hear(hearing=True)  # at second 60
    assert [heard(created, 70) for created in (8, 60, 63)] == [False, False, True]
