"""Messages that wait here for a slot: few, and not for long, since here they run nowhere else."""

import asyncio
from collections import deque
from collections.abc import Callable

from taskqueue_worker import metrics
from taskqueue_worker.deliveries import TaskMessage
from taskqueue_worker.inflight import Entry, State

_SPARE_MAX = 8
_PARK_FIRST_SECONDS = 2.0
_PARK_MAX_SECONDS = 60.0
FIRST_SECONDS = 1.0
MAX_SECONDS = 8.0


def spare_messages(slots: int) -> int:
    """Return how many messages beyond its slots a worker asks for.

    The next message is at hand when a slot becomes free, and outcomes are written while the slot
    goes on.
    """
    return min(slots, _SPARE_MAX)


def park_seconds(parkings: int) -> float:
    """Return how long to wait before judging a held Task again, by how often it was parked."""
    return min(_PARK_MAX_SECONDS, _PARK_FIRST_SECONDS * 2.0 ** min(parkings - 1, 10))


class _Line(asyncio.Queue[Entry]):
    """A queue whose first entry can be looked at."""

    def first(self) -> Entry:
        entries: deque[Entry] = self._queue  # type: ignore[attr-defined] # there for subclasses
        return entries[0]


class WaitingRoom:
    """Keeps entries until a slot takes them, or until they have waited for too long.

    give_back: returns an entry's message to the queue. The slots are at long work then, and a
        worker that is free gets it first. Where nobody is, it comes back: hence ever more seldom.
    """

    def __init__(self, give_back: Callable[[Entry], None]) -> None:
        self._give_back = give_back
        self._queue = _Line()
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._seconds = FIRST_SECONDS

    def put(self, entry: Entry) -> None:
        """Let an entry wait."""
        self._queue.put_nowait(entry)
        if not entry.parkings:  # its Task is run by another worker, wherever its message is
            timer = asyncio.get_running_loop().call_later(self._seconds, self._stop, entry)
            self._timers[id(entry)] = timer

    def __len__(self) -> int:
        """How many wait, and perhaps some that were given back meanwhile."""
        return self._queue.qsize()

    async def take(self) -> Entry:
        """Return the entry whose turn it is, once there is one."""
        while True:
            entry = await self._queue.get()
            if self._admits(entry):
                self._seconds = FIRST_SECONDS
                return entry

    def take_more(self, count: int) -> list[Entry]:
        """Return at most so many entries without a Task, whose turn it is next."""
        taken: list[Entry] = []
        while len(taken) < count and not self._queue.empty():
            if isinstance(self._queue.first().message, TaskMessage):
                break
            entry = self._queue.get_nowait()
            if self._admits(entry):
                taken.append(entry)
        return taken

    def _admits(self, entry: Entry) -> bool:
        timer = self._timers.pop(id(entry), None)
        if timer is not None:
            timer.cancel()  # or it would keep the message for as long as it had to wait
        return entry.state is State.WAITING

    def _stop(self, entry: Entry) -> None:
        if entry.state is State.WAITING and not entry.parkings:
            self._seconds = min(2 * self._seconds, MAX_SECONDS)
            metrics.GIVEN_BACK.inc()
            self._give_back(entry)
