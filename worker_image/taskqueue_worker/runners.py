"""Running one job in a process: a slot of Python, or a program per Task."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

from taskqueue_worker.frames import FrameBuffer, pack
from taskqueue_worker.outcomes import (
    Failure,
    Outcome,
    Success,
    decode_output,
    failure,
    final,
)
from taskqueue_worker.printed import Printed
from taskqueue_worker.processes import Launcher, Process, StartError
from taskqueue_worker.statuses import Progress

STDOUT_MAX_BYTES = 1024 * 1024
STDERR_KEPT_BYTES = 1024
REJECTED_EXIT_CODE = 65
"""EX_DATAERR of sysexits.h: the payload is wrong, and stays so. Any other failure may pass; the
customary code for that is 75, EX_TEMPFAIL."""

_EXIT_SECONDS = 2.0


def _to_nobody(progress: Progress) -> None:
    """Drop it: a message of an outside producer has no Task to show it in."""


@dataclass(frozen=True)
class Job:
    """What a runner needs to know of an attempt.

    payload: JSON. timeout: seconds. report: takes what the handler says of its progress.
    """

    handler: str
    payload: bytes = field(repr=False)
    timeout: float
    uid: str
    attempt: int
    namespace: str
    name: str
    queue: str
    run: int = 0
    report: Callable[[Progress], None] = field(default=_to_nobody, repr=False, compare=False)


def describe_job(job: Job) -> dict[str, str]:
    """Return what a handler of any language is told besides the payload, by name."""
    return {
        "handler": job.handler,
        "uid": job.uid,
        "name": job.name,
        "namespace": job.namespace,
        "attempt": str(job.attempt),
        "queue": job.queue,
    }


LogSink = Callable[[Job, dict[str, Any]], None]
"""Takes what a handler logged: level, logger, message."""


class Runner(Protocol):
    """Runs jobs, each to its outcome. Never raises for what a handler does."""

    async def run(self, job: Job) -> Outcome:
        """Run one job; at most `slots` at a time."""

    async def prepare(self) -> None:
        """Start what can be started before there is a job."""

    def close(self) -> None:
        """Let go of what is idle."""


def build_runner(launcher: Launcher, slots: int, log: LogSink) -> Runner:
    """Return the runner for the launcher's kind of handlers, Python or exec."""
    return ExecRunner(launcher) if launcher.handlers is None else PythonRunner(launcher, slots, log)


def with_log(outcome: Outcome, printed: Printed) -> Outcome:
    """Return an outcome; a failure with the last lines of what was printed."""
    if not isinstance(outcome, Failure):
        return outcome
    return replace(outcome, log=printed.last_lines())


def timed_out(job: Job) -> Outcome:
    """Return the outcome of an attempt that ran too long."""
    return failure("Timeout", f"the handler ran longer than its timeout of {job.timeout:g} s")


class _Slot(asyncio.Protocol):
    """The worker's end of a slot's socket."""

    def __init__(self, process: Process, printed: Printed, log: LogSink) -> None:
        self.process = process
        self.printed = printed
        self._log = log
        self._buffer = FrameBuffer()
        self._transport: asyncio.WriteTransport | None = None
        self._job: Job | None = None
        self._number = 0
        self._answer: asyncio.Future[Outcome | None] | None = None
        # The end of the socket tells it first, unless a copy of the process holds the socket.
        loop = asyncio.get_running_loop()
        process.exited.add_done_callback(
            lambda _: loop.call_later(_EXIT_SECONDS, self._settle, None)
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # a socket's can do what one can

    def data_received(self, data: bytes) -> None:
        for head, body in self._buffer.feed(data):
            if head["kind"] == "log":
                if self._job is not None:
                    self._log(self._job, head)
                    self.printed.add(head["message"])
            elif head["kind"] == "progress":
                if self._job is not None and head["number"] == self._number:
                    self._job.report(Progress(head["percent"], head["message"]))
            elif head["kind"] == "success":
                self._settle(Success(None if head["empty"] else body))
            else:
                self._settle(Failure(**head["failure"]))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._settle(None)

    def ask(self, job: Job) -> asyncio.Future[Outcome | None]:
        """Send a job; the answer is None when the slot has gone."""
        self._job = job
        self._number += 1
        self.printed.forget()
        self._answer = asyncio.get_running_loop().create_future()
        context = {
            "uid": job.uid,
            "attempt": job.attempt,
            "namespace": job.namespace,
            "name": job.name,
            "queue": job.queue,
        }
        if self._transport is None or self._transport.is_closing():
            self._settle(None)
        else:
            head = {"handler": job.handler, "number": self._number, "context": context}
            self._transport.write(pack(head, job.payload))
        return self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _settle(self, answer: Outcome | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)


class PythonRunner:
    """Long-lived slots that run Python handlers."""

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
        try:
            slot = await self._take()
        except StartError as error:
            return failure("SlotNotStarted", f"no process could be started: {error}")
        answer = slot.ask(job)
        outcome: Outcome | None = None
        try:
            async with asyncio.timeout(job.timeout):
                outcome = await answer
        except TimeoutError:
            outcome = timed_out(job)
            await self._stop(slot)
        except asyncio.CancelledError:
            await self._stop(slot)
            slot.close()
            raise
        if outcome is None:
            outcome = self._launcher.explain_end(await _end_of(slot.process))
        if slot.process.exited.done():
            slot.close()
        else:
            self._idle.append(slot)
        return with_log(outcome, slot.printed)

    def close(self) -> None:
        """Close the idle slots, which end by that."""
        while self._idle:
            self._idle.pop().close()

    async def _stop(self, slot: _Slot) -> None:
        try:
            await slot.process.stop()
        except asyncio.CancelledError:
            slot.close()
            raise

    async def _take(self) -> _Slot:
        while self._idle:
            slot = self._idle.pop()
            if not slot.process.exited.done():
                return slot
            slot.close()  # died while it had nothing to do
        return await self._new_slot()

    async def _new_slot(self) -> _Slot:
        ours, theirs = socket.socketpair()
        printed, output = os.pipe()
        try:
            process = await self._launcher.launch([theirs.fileno(), output])
        except BaseException:
            ours.close()
            os.close(printed)
            raise
        finally:
            theirs.close()
            os.close(output)
        slot = _Slot(process, Printed(printed), self._log)
        await asyncio.get_running_loop().create_connection(lambda: slot, sock=ours)
        return slot


async def _end_of(process: Process) -> int:
    """Return the exit code of a process that closed its socket, and so is about to end."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_EXIT_SECONDS):
            return await asyncio.shield(process.exited)
    process.kill(signal.SIGKILL)
    return await process.exited


class _Output(asyncio.Protocol):
    """What a program writes to standard output, or a call when it is too much."""

    def __init__(self, limit: int, overflow: Callable[[], None]) -> None:
        self.data = bytearray()
        self.overflowed = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._limit = limit
        self._overflow = overflow

    def data_received(self, data: bytes) -> None:
        if len(self.data) + len(data) > self._limit:
            if not self.overflowed:
                self.overflowed = True
                self._overflow()
        else:
            self.data += data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self.ended.done():
            self.ended.set_result(None)


class ExecRunner:
    """A program per job: the payload on standard input, the result on standard output."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    async def prepare(self) -> None:
        """Nothing: a program is started when there is a job for it."""

    def close(self) -> None:
        """Nothing: nothing is idle."""

    async def run(self, job: Job) -> Outcome:
        """Run the program to its end."""
        environment = {f"TASK_{name.upper()}": value for name, value in describe_job(job).items()}
        pipes = [os.pipe() for _ in range(3)]
        theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
        ours = [pipes[0][1], pipes[1][0], pipes[2][0]]
        try:
            process = await self._launcher.launch(theirs, environment)
        except asyncio.CancelledError:
            for descriptor in ours:
                os.close(descriptor)
            raise
        except StartError as error:
            for descriptor in ours:
                os.close(descriptor)
            words = f"the command cannot be started: {error}"
            kind = "CommandNotFound" if error.permanent else "CommandNotStarted"
            return failure(kind, words, permanent=error.permanent)
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        try:
            return await self._follow(job, process, ours)
        except asyncio.CancelledError:
            await process.stop()
            raise

    async def _follow(self, job: Job, process: Process, descriptors: list[int]) -> Outcome:
        loop = asyncio.get_running_loop()
        stdin, stdout, stderr = descriptors
        output = _Output(STDOUT_MAX_BYTES, overflow=lambda: process.kill(signal.SIGKILL))
        errors = Printed(stderr)
        entrance = os.fdopen(stdin, "wb", 0)
        try:
            await loop.connect_read_pipe(lambda: output, os.fdopen(stdout, "rb", 0))
        except BaseException:
            entrance.close()
            raise
        feed, _ = await loop.connect_write_pipe(asyncio.Protocol, entrance)
        feed.write(job.payload)
        feed.write_eof()
        try:
            async with asyncio.timeout(job.timeout):
                await asyncio.shield(process.exited)
        except TimeoutError:
            await process.stop()
            return with_log(timed_out(job), errors)
        finally:
            feed.close()
        # The group was killed with its leader, so nothing holds the pipes open any more.
        await asyncio.wait([output.ended], timeout=_EXIT_SECONDS)
        return with_log(self._outcome(process.exited.result(), output, errors), errors)

    def _outcome(self, code: int, output: _Output, errors: Printed) -> Outcome:
        if output.overflowed:
            return final(
                "ResultTooLarge",
                f"the program wrote more than {STDOUT_MAX_BYTES} bytes to standard output",
            )
        if code == 0:
            return decode_output(bytes(output.data))
        if code < 0:
            return self._launcher.explain_end(code)
        tail = errors.last_lines(STDERR_KEPT_BYTES).strip()
        message = f"exit code {code}: {tail}" if tail else f"exit code {code}"
        if code == REJECTED_EXIT_CODE:
            return final("Rejected", message)
        return failure("ExitCode", message)


def log_from_handler(logger: logging.Logger, job: Job, head: dict[str, Any]) -> None:
    """Log what a handler logged, with the Task's fields."""
    fields = {"namespace": job.namespace, "task": job.name, "uid": job.uid, "attempt": job.attempt}
    logger.log(head["level"], head["message"], extra={**fields, "handler_logger": head["logger"]})
