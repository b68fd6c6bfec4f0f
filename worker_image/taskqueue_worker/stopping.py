"""Handlers at work, and how they are stopped when their Task is to be run no longer.

The operator hints at such Tasks; since a hint can be lost, each Task that runs for long is looked
at by itself from time to time. Only what the API server says of the Task stops a handler.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from taskqueue_api.messages import TaskUid, parse_hint
from taskqueue_worker import metrics
from taskqueue_worker.outcomes import Cancelled, Outcome

_log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
SUSPECT_SECONDS = 60.0
"""Longer than a Task counts as fresh: until then its message may come without being looked up."""
_CLOCK_SECONDS = 2.0
"""The estimate of the API server's time may be behind by this: its answers tell whole seconds."""
_SUSPECTS_MAX = 10_000


@dataclass(eq=False)
class _Run:
    """One handler at work. asking: held by who asks; next: somebody waits to ask after that."""

    uid: TaskUid
    work: asyncio.Task[Outcome]
    wanted: Callable[[], Awaitable[bool]]
    looked: float
    stopped: bool = False
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    next: bool = False


class Running:
    """The Tasks that are run here, by UID."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        # One Task may be here twice for a moment: taken over by another, failed there and back.
        self._runs: list[_Run] = []
        self._suspects: OrderedDict[TaskUid, float] = OrderedDict()
        self._hears_since: float | None = None

    async def run(
        self,
        uid: TaskUid,
        work: Coroutine[Any, Any, Outcome],
        wanted: Callable[[], Awaitable[bool]],
    ) -> Outcome:
        """Return what comes of running a Task: Cancelled when it is stopped.

        wanted: asks the API server whether it is still to be run here.
        """
        run = _Run(uid, asyncio.create_task(work), wanted, self._monotonic())
        self._runs.append(run)
        try:
            await asyncio.wait([run.work])
        except asyncio.CancelledError:
            # The handler is at work until its process has ended.
            run.work.cancel()
            await asyncio.wait([run.work])
            raise
        finally:
            self._runs.remove(run)
        if run.work.cancelled() and run.stopped:
            return Cancelled()
        return run.work.result()

    def hear(self, *, hearing: bool) -> None:
        """Take note that hints are heard from now on, or no longer."""
        self._hears_since = self._monotonic() if hearing else None

    def has_heard_all(self, created: datetime, server_now: float | None) -> bool:
        """Return whether hints were heard all the time since a Task was created.

        A Task that is older than that may have been cancelled before we listened.
        server_now: the API server's time in seconds since 1970; None: unknown.
        """
        if self._hears_since is None or server_now is None:
            return False
        since = server_now - (self._monotonic() - self._hears_since)
        return created.timestamp() > since + _CLOCK_SECONDS

    def is_suspect(self, uid: TaskUid) -> bool:
        """Return whether a Task has to be looked up before it is started."""
        return uid in self._suspects

    def moment(self) -> float:
        """Return what tells the present from later, for `may_have_missed`."""
        return self._monotonic()

    def may_have_missed(self, uid: TaskUid, since: float) -> bool:
        """Return whether hints at a Task that is not run yet may have come since a moment."""
        never = float("-inf")
        heard = never if self._hears_since is None else self._hears_since
        return max(self._suspects.get(uid, never), heard) >= since

    async def hint(self, body: bytes) -> None:
        """Take what the operator says. Raises UnauthorizedError."""
        try:
            uid = parse_hint(body)
        except ValueError as error:
            metrics.BAD_HINTS.inc()
            _log.warning("hint ignored: %s", error)
            return
        self._suspects[uid] = self._monotonic()
        self._suspects.move_to_end(uid)
        if len(self._suspects) > _SUSPECTS_MAX:
            self._suspects.popitem(last=False)
        await self.look(uid)

    async def look(self, uid: TaskUid) -> None:
        """Stop a Task that is to be run here no longer. Raises UnauthorizedError."""
        for run in [run for run in self._runs if run.uid == uid]:
            await self._look(run)

    async def _look(self, run: _Run) -> None:
        """Ask about a run, once at a time, and once more for all that come meanwhile."""
        if run.next:
            return  # whoever waits asks later than now
        run.next = True
        try:
            await run.asking.acquire()
        finally:
            run.next = False
        try:
            await self._ask(run)
        finally:
            run.asking.release()

    async def _ask(self, run: _Run) -> None:
        if run.stopped or run.work.done():
            return  # told twice, it would not be given the time to end
        run.looked = self._monotonic()
        if not await run.wanted() and not (run.stopped or run.work.done()):
            _log.info("stopped: it is to be run here no longer", extra={"uid": run.uid})
            run.stopped = True
            run.work.cancel()

    async def look_at_all(self) -> None:
        """Look at every Task: hints may have been lost. Raises UnauthorizedError."""
        for run in list(self._runs):
            await self._look(run)

    async def watch(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Look at each Task from time to time, for ever. Raises UnauthorizedError."""
        while True:
            await sleep(1.0)
            now = self._monotonic()
            while self._suspects and next(iter(self._suspects.values())) + SUSPECT_SECONDS < now:
                self._suspects.popitem(last=False)
            for run in list(self._runs):
                if run.looked + LOOK_SECONDS <= now:
                    await self._look(run)
