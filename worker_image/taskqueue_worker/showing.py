"""An attempt at work, as its Task shows it: Running after a second, and how far it has come."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from taskqueue_worker.api import WriteAnswer, Written
from taskqueue_worker.attempts import Attempts, Claimed
from taskqueue_worker.deliveries import TaskMessage
from taskqueue_worker.statuses import Progress

ANNOUNCE_SECONDS = 1.0
"""A handler that runs longer is shown as Running."""
PAUSE_SECONDS = 2.0
"""From one write of a Task's progress to the next."""
AWAY_SECONDS = 15.0
"""The same, when the API server did not take the last one."""

Write = Callable[[Progress], Awaitable[WriteAnswer | None]]


class Reports:
    """What a handler says of its progress: of many reports the latest counts.

    latest: None: it has said nothing.
    """

    def __init__(self) -> None:
        self.latest: Progress | None = None
        self._shown: Progress | None = None
        self._changed = asyncio.Event()

    def take(self, progress: Progress) -> None:
        """Take a report."""
        self.latest = progress
        self._changed.set()

    async def follow(
        self,
        write: Write,
        shown: Progress | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> bool:
        """Write what changes, until cancelled; False: it is refused, so the Task is another's.

        shown: what the Task shows already. A write that nobody answers is not made again: the next
        report brings the next one.
        """
        self._shown = shown
        if shown is not None:
            await sleep(PAUSE_SECONDS)
        while True:
            await self._changed.wait()
            self._changed.clear()
            latest = self.latest
            if latest is None or latest == self._shown:
                continue
            answer = await write(latest)
            if isinstance(answer, Written):
                self._shown = latest
            elif answer is not None:
                return False
            await sleep(AWAY_SECONDS if answer is None else PAUSE_SECONDS)


@contextlib.asynccontextmanager
async def shown(
    attempts: Attempts,
    claimed: Claimed,
    message: TaskMessage,
    refused: Callable[[], None],
) -> AsyncIterator[Reports]:
    """Show the body in its Task: as Running when it still runs after a second, and its reports.

    Nothing of that goes on after its end. refused: called when the API server does not take it.
    """
    loop = asyncio.get_running_loop()
    reports = Reports()
    writing: list[asyncio.Task[None]] = []

    def write(progress: Progress) -> Coroutine[Any, Any, WriteAnswer | None]:
        return attempts.show(message, claimed.attempt, progress)

    async def announce() -> None:
        first = reports.latest
        if not (
            await attempts.announce(claimed, message, first) and await reports.follow(write, first)
        ):
            refused()

    async def follow() -> None:
        if not await reports.follow(write):
            refused()

    def begin() -> None:
        writing.append(loop.create_task(follow() if claimed.announced else announce()))

    timer = loop.call_later(0.0 if claimed.announced else ANNOUNCE_SECONDS, begin)
    try:
        yield reports
    finally:
        timer.cancel()
        for task in writing:
            # Should the API server still store it after the outcome, its rules refuse it.
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # the write of the outcome meets the same
