"""What a job is, and what runs it: here a program for each."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from taskqueue_worker.outcomes import (
    Failure,
    Outcome,
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


Ended = Callable[[int, Outcome], None]
"""Takes the place of a job among those that a slot was given, and its outcome."""
PutBack = Callable[[int], None]
"""Takes the place of a job that is not begun, and will not be."""


class Runner(Protocol):
    """Runs jobs, each to its outcome. Never raises for what a handler does."""

    @property
    def ahead(self) -> int:
        """How many jobs beside the first `run_some` can use."""

    async def run(self, job: Job) -> Outcome:
        """Run one job; at most `slots` at a time."""

    async def run_some(self, jobs: Sequence[Job], ended: Ended, put_back: PutBack) -> None:
        """Run jobs in one slot, in their order: the first, and others while they are quick.

        For each either is called once, as soon as it is known.
        """

    async def prepare(self) -> None:
        """Start what can be started before there is a job."""

    def close(self) -> None:
        """Let go of what is idle."""


class OneByOne:
    """What is the same for all runners that have no use for more than one job at a time."""

    ahead = 0

    async def run(self, job: Job) -> Outcome:
        """Run one job."""
        raise NotImplementedError

    async def run_some(self, jobs: Sequence[Job], ended: Ended, put_back: PutBack) -> None:
        """Run the first."""
        for place in range(1, len(jobs)):
            put_back(place)
        ended(0, await self.run(jobs[0]))


def with_log(outcome: Outcome, printed: Printed) -> Outcome:
    """Return an outcome; a failure with the last lines of what was printed."""
    if not isinstance(outcome, Failure):
        return outcome
    return replace(outcome, log=printed.last_lines())


def timed_out(job: Job) -> Outcome:
    """Return the outcome of an attempt that ran too long."""
    return failure("Timeout", f"the handler ran longer than its timeout of {job.timeout:g} s")


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


class ExecRunner(OneByOne):
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
