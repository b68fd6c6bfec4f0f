"""Slots: long-lived processes that run Python handlers, one after the other."""

import asyncio
import contextlib
import os
import signal
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

from taskqueue_worker.frames import FrameBuffer
from taskqueue_worker.outcomes import Failure, Outcome, Success, failure
from taskqueue_worker.packets import Packets
from taskqueue_worker.printed import Printed
from taskqueue_worker.processes import Launcher, Process, StartError
from taskqueue_worker.runners import Ended, Job, LogSink, PutBack, timed_out, with_log
from taskqueue_worker.statuses import Progress

_EXIT_SECONDS = 2.0
_AHEAD = 15
_AHEAD_BYTES = 64 * 1024
"""Of all payloads that a slot is sent at once, if they are several: they fit into its socket."""
LONG_SECONDS = 0.02
"""Behind a job that takes longer nothing waits in a slot: another may be free for it."""


class _Slot(asyncio.Protocol):
    """The worker's end of a slot's sockets.

    jobs: what it is at, and has before it, by the place in what it was asked, in this order.
    outcomes: with the place of each, as they came. gone: there will be no more.
    since: when the job that it is at began, as the loop counts time.
    """

    def __init__(self, process: Process, packets: Packets, printed: Printed, log: LogSink) -> None:
        self.process = process
        self.printed = printed
        self.jobs: dict[int, Job] = {}
        self.outcomes: deque[tuple[int, Outcome]] = deque()
        self.gone = False
        self.since = 0.0
        self._packets = packets
        self._log = log
        self._buffer = FrameBuffer()
        self._transport: asyncio.BaseTransport | None = None
        self._last: Job | None = None
        self._asked = 0  # jobs before those of now
        self._sent = 0
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Future[None] | None = None
        # The end of the socket tells it first, unless a copy of the process holds the socket.
        process.exited.add_done_callback(lambda _: self._loop.call_later(_EXIT_SECONDS, self._end))

    @property
    def head(self) -> int:
        """The place of the job that it is at."""
        return next(iter(self.jobs))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for head, body in self._buffer.feed(data):
            if head["kind"] == "log":
                # A thread that a handler has left behind may log, after its end.
                job = self.jobs[self.head] if self.jobs else self._last
                if job is not None:
                    self._log(job, head)
                    self.printed.add(head["message"])
                continue
            place = head["number"] - self._asked
            if place not in self.jobs:
                continue  # such a thread's again
            if head["kind"] == "progress":
                self.jobs[place].report(Progress(head["percent"], head["message"]))
            elif head["kind"] == "success":
                self._ended(place, Success(None if head["empty"] else body))
            else:
                self._ended(place, with_log(Failure(**head["failure"]), self.printed))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._end()

    def ask(self, jobs: Sequence[Job]) -> None:
        """Send jobs, which it runs in this order: the first, and those behind it that fit."""
        self.printed.forget()
        self.since = self._loop.time()
        self._asked = self._sent
        size = 0
        for place, job in enumerate(jobs):
            size += len(job.payload)
            if place and size > _AHEAD_BYTES:
                return
            try:
                self._packets.send(self._asked + place, _head(job), job.payload)
            except BlockingIOError:
                return
            except OSError:  # it has gone
                self._end()
            self.jobs[place] = job
            self._sent += 1
            if self.gone:
                return

    def take_back(self) -> list[int]:
        """Have it run none of those that it has not begun; return their places."""
        unread = [number - self._asked for number in self._packets.take_back()]
        return [place for place in unread if self.jobs.pop(place, None) is not None]

    async def hear(self, until: float) -> None:
        """Wait until it ended a job or is gone, or until then at the latest."""
        if self.outcomes or self.gone:
            return
        self._news = self._loop.create_future()
        timer = self._loop.call_at(until, self._tell)
        try:
            await self._news
        finally:
            timer.cancel()
            self._news = None

    def close(self) -> None:
        self._packets.close()
        if self._transport is not None:
            self._transport.close()

    def _ended(self, place: int, outcome: Outcome) -> None:
        self._last = self.jobs.pop(place)
        self.since = self._loop.time()
        self.outcomes.append((place, outcome))
        self._tell()

    def _end(self) -> None:
        self.gone = True
        self._tell()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


def _head(job: Job) -> dict[str, Any]:
    context = {
        "uid": job.uid,
        "attempt": job.attempt,
        "namespace": job.namespace,
        "name": job.name,
        "queue": job.queue,
    }
    return {"handler": job.handler, "context": context}


class PythonRunner:
    """The slots of a worker."""

    ahead = _AHEAD

    def __init__(self, launcher: Launcher, slots: int, log: LogSink) -> None:
        self._launcher = launcher
        self._count = slots
        self._log = log
        self._idle: list[_Slot] = []

    async def prepare(self) -> None:
        """Start every slot."""
        self._idle = [await self._new_slot() for _ in range(self._count)]

    async def run(self, job: Job) -> Outcome:
        """Run a job in an idle slot; a slot that was killed or died is replaced."""
        outcomes: list[Outcome] = []
        await self.run_some([job], lambda _, outcome: outcomes.append(outcome), lambda _: None)
        return outcomes[0]

    async def run_some(self, jobs: Sequence[Job], ended: Ended, put_back: PutBack) -> None:
        """Run jobs in an idle slot, in their order: the first, and others while they are quick."""
        try:
            slot = await self._take()
        except StartError as error:
            for place in range(1, len(jobs)):
                put_back(place)
            ended(0, failure("SlotNotStarted", f"no process could be started: {error}"))
            return
        slot.ask(jobs)
        try:
            for place in range(len(slot.jobs), len(jobs)):
                put_back(place)
            await self._follow(slot, ended, put_back)
        except BaseException:
            await self._discard(slot)
            raise
        if slot.gone or slot.process.exited.done():
            await self._discard(slot)
        else:
            self._idle.append(slot)

    def close(self) -> None:
        """Close the idle slots, which end by that."""
        while self._idle:
            self._idle.pop().close()

    async def _follow(self, slot: _Slot, ended: Ended, put_back: PutBack) -> None:
        """Hear of a slot until it has nothing to do."""
        shared = True
        while True:
            while slot.outcomes:
                ended(*slot.outcomes.popleft())
            if not slot.jobs:
                return
            timeout = slot.jobs[slot.head].timeout
            shared = shared and len(slot.jobs) > 1
            limit = slot.since + (min(LONG_SECONDS, timeout) if shared else timeout)
            if slot.gone:
                place = _leave(slot, put_back)
                end = self._launcher.explain_end(await _end_of(slot.process))
                ended(place, with_log(end, slot.printed))
                return
            if asyncio.get_running_loop().time() < limit:
                await slot.hear(limit)
            elif shared:
                for place in slot.take_back():
                    put_back(place)
                shared = False
            else:
                job = slot.jobs[slot.head]
                place = _leave(slot, put_back)
                await slot.process.stop()
                ended(place, with_log(timed_out(job), slot.printed))
                return

    async def _discard(self, slot: _Slot) -> None:
        """Have a slot end, if it has not, and let go of it."""
        slot.take_back()  # or it would go on until it is killed
        try:
            await slot.process.stop()
        finally:
            slot.close()

    async def _take(self) -> _Slot:
        while self._idle:
            slot = self._idle.pop()
            if not (slot.gone or slot.process.exited.done()):
                return slot
            await self._discard(slot)  # died while it had nothing to do
        return await self._new_slot()

    async def _new_slot(self) -> _Slot:
        packets = Packets()
        ours, theirs = socket.socketpair()
        printed, output = os.pipe()
        try:
            sockets = [packets.theirs.fileno(), theirs.fileno()]
            process = await self._launcher.launch([*sockets, output])
        except BaseException:
            packets.close()
            ours.close()
            os.close(printed)
            raise
        finally:
            theirs.close()
            os.close(output)
        slot = _Slot(process, packets, Printed(printed), self._log)
        try:
            await asyncio.get_running_loop().create_connection(lambda: slot, sock=ours)
        except BaseException:
            await self._discard(slot)
            raise
        return slot


def _leave(slot: _Slot, put_back: PutBack) -> int:
    """Put all jobs of a slot back but the one that it is at; return the place of that."""
    head, *others = slot.jobs
    slot.take_back()
    for place in others:
        put_back(place)
    return head


async def _end_of(process: Process) -> int:
    """Return the exit code of a process that closed its socket, and so is about to end."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_EXIT_SECONDS):
            return await asyncio.shield(process.exited)
    process.kill(signal.SIGKILL)
    return await process.exited
