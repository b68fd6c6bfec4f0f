"""What no slot takes is given back, so that a worker that is free can have it."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from taskqueue_worker import waiting
from taskqueue_worker.deliveries import OutsideMessage, TaskMessage
from taskqueue_worker.inflight import Entry, State
from taskqueue_worker.waiting import WaitingRoom


class Timer:
    """One of them."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self.cancel = cancel


class Timers:
    """Takes the place of the loop's: keeps what is to be called, and after how many seconds."""

    def __init__(self) -> None:
        self.planned: list[tuple[float, Any, Entry]] = []

    def call_later(self, seconds: float, call: Any, entry: Entry) -> Timer:
        planned = (seconds, call, entry)
        self.planned.append(planned)
        return Timer(lambda: self._forget(planned))

    def _forget(self, planned: tuple[float, Any, Entry]) -> None:
        if planned in self.planned:
            self.planned.remove(planned)

    def fire(self) -> None:
        """Let the time of all of them come."""
        planned, self.planned = self.planned, []
        for _, call, entry in planned:
            call(entry)


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Timers]:
    timers = Timers()
    monkeypatch.setattr("taskqueue_worker.waiting.asyncio.get_running_loop", lambda: timers)
    yield timers
    monkeypatch.undo()


class Room(WaitingRoom):
    """One that keeps what was given back."""

    def __init__(self) -> None:
        super().__init__(self._keep)
        self.given_back: list[Entry] = []

    def _keep(self, entry: Entry) -> None:
        entry.state = State.FORGOTTEN
        self.given_back.append(entry)


def entry(parkings: int = 0) -> Entry:
    return Entry(cast(TaskMessage, None), parkings=parkings)


async def test_what_waits_for_too_long_is_given_back_and_not_taken(timers: Timers) -> None:
    room, one = Room(), entry()
    room.put(one)
    assert timers.planned[0][0] == waiting.FIRST_SECONDS
    timers.fire()
    assert room.given_back == [one]
    assert room._queue.qsize() == 1
    two = entry()
    room.put(two)
    assert await room.take() is two


async def test_what_a_slot_has_taken_stays_and_is_kept_by_nothing_here(timers: Timers) -> None:
    room, one = Room(), entry()
    room.put(one)
    ((_, call, _),) = timers.planned
    (await room.take()).state = State.CLAIMING
    assert timers.planned == []
    call(one)  # it was due in that very moment
    assert room.given_back == []


async def test_it_is_given_back_ever_more_seldom_until_a_slot_is_free(timers: Timers) -> None:
    room = Room()
    seconds = []
    for _ in range(5):
        room.put(entry())
        seconds.append(timers.planned[0][0])
        timers.fire()
    assert seconds == [1, 2, 4, 8, 8]
    room.put(entry())
    await room.take()
    room.put(entry())
    assert timers.planned[-1][0] == waiting.FIRST_SECONDS


async def test_what_another_worker_runs_is_not_given_back(timers: Timers) -> None:
    """It waits for that worker's end, wherever its message is."""
    room = Room()
    room.put(entry(parkings=1))
    assert timers.planned == []


async def test_a_slot_waits_until_there_is_something() -> None:
    room = Room()
    taking = asyncio.create_task(room.take())
    await asyncio.sleep(0)
    assert not taking.done()
    one = entry()
    room.put(one)
    assert await taking is one


async def test_a_slot_may_take_those_without_a_task_that_are_next(timers: Timers) -> None:
    room = Room()
    outside = [Entry(cast(OutsideMessage, None)) for _ in range(4)]
    task = Entry(TaskMessage(*[cast(Any, None)] * 5))
    for one in (*outside[:3], task, outside[3]):
        room.put(one)
    outside[1].state = State.FORGOTTEN  # given back meanwhile
    assert room.take_more(1) == [outside[0]]
    assert room.take_more(9) == [outside[2]]
    assert len(timers.planned) == 2  # those of what is left
    assert [await room.take(), await room.take()] == [task, outside[3]]
    assert room.take_more(9) == []
    assert len(room) == 0
