"""The inside of a slot: a process that runs one handler after the other.

It gets its jobs as packets and answers over another socket. What handlers print goes to the worker
by a pipe, which copies it to its own standard error as it is; what they log goes there as frames,
and the worker logs it with the Task's fields.
"""

import contextlib
import inspect
import logging
import os
import socket
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from taskqueue_worker.frames import pack
from taskqueue_worker.outcomes import (
    PROGRESS_MESSAGE_MAX,
    Outcome,
    Success,
    bounded,
    encode_result,
    failure,
    final,
    parse_json,
    shown,
)
from taskqueue_worker.packets import PacketReader
from taskqueue_worker.sdk import Context, Handler, Reject, Retry, to_nobody

_LOG_MAX = 16 * 1024
_FRAMES_SHOWN = 8
"""Frames of a handler's traceback that reach the log: the innermost ones."""


class _Link(logging.Handler):
    """The slot's end of the socket for answers; also where log records of handlers go."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self._sending = threading.Lock()  # handlers may log from threads
        self._format = logging.Formatter()

    def send(self, head: dict[str, Any], body: bytes = b"") -> None:
        with self._sending:
            self._connection.sendall(pack(head, body))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self._format.format(record)
        except (TypeError, ValueError) as error:  # wrong arguments for the format string
            text = f"{record.msg!r} {record.args!r} ({error})"
        self.send(
            {
                "kind": "log",
                "level": record.levelno,
                "logger": record.name,
                "message": bounded(text, _LOG_MAX),
            }
        )


def _reporter_elsewhere() -> Callable[[int, str], None]:
    return to_nobody


class _Reporter:
    """Sends what a handler says of its progress, unless it has just said the same.

    number: the worker's, of the job; a thread that the handler left behind may speak later.
    """

    def __init__(self, link: _Link, number: int) -> None:
        self._link = link
        self._number = number
        self._last: tuple[int, str] | None = None

    def __reduce__(self) -> tuple[Callable[[], Callable[[int, str], None]], tuple[()]]:
        """A handler may give its context to a process of its own; the socket stays here."""
        return _reporter_elsewhere, ()

    def __call__(self, percent: int, message: str) -> None:
        said = (percent, message)
        if said == self._last:
            return
        self._last = said
        self._link.send(
            {
                "kind": "progress",
                "number": self._number,
                "percent": percent,
                "message": bounded(shown(message), PROGRESS_MESSAGE_MAX),
            }
        )


def serve(jobs: socket.socket, answers: socket.socket, handlers: dict[str, Handler]) -> None:
    """Run jobs until the worker closes their socket."""
    link = _Link(answers)
    logging.root.handlers = [link]
    logging.root.setLevel(logging.INFO)
    _print_by_lines()
    process = os.getpid()
    reader = PacketReader(jobs)
    finish = _Loop().finish
    while (job := reader.read()) is not None:
        number, head, body = job
        reporter = _Reporter(link, number)
        outcome = _run(head, body, handlers, finish, reporter)
        if os.getpid() != process:
            os._exit(0)  # the handler forked, and the copy came back here as well
        flush_printed()
        _reply(link, number, outcome)


def _print_by_lines() -> None:
    """Let nothing but an unfinished line be lost with this process."""
    with contextlib.suppress(AttributeError):  # the user's module may have put another in place
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def flush_printed() -> None:
    """Write what was printed and is still in this process."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # replaced, or closed
            stream.flush()


class _Loop:
    """The loop that coroutines of this slot run on, one for all, so that clients can pool.

    Made by the first of them: asyncio costs 10 MB, and most handlers are plain functions.
    """

    def __init__(self) -> None:
        self._run: Callable[[Any], Any] | None = None

    def finish(self, awaitable: Awaitable[Any]) -> Any:
        """Return what an awaitable returns."""
        if self._run is None:
            import asyncio

            self._run = asyncio.Runner().run
        return self._run(_await(awaitable))


def _reply(link: _Link, number: int, outcome: Outcome) -> None:
    if isinstance(outcome, Success):
        head = {"kind": "success", "number": number, "empty": outcome.result is None}
        link.send(head, outcome.result or b"")
    else:
        link.send({"kind": "failure", "number": number, "failure": asdict(outcome)})


def _run(
    head: dict[str, Any],
    body: bytes,
    handlers: dict[str, Handler],
    finish: Callable[[Awaitable[Any]], Any],
    reporter: Callable[[int, str], None],
) -> Outcome:
    handler = handlers[head["handler"]]
    try:
        payload = _payload(handler, body)
    except ValueError as error:  # pydantic's ValidationError is one
        return final("InvalidPayload", _explain(error))
    arguments = [payload]
    if handler.takes_context:
        logger = logging.getLogger(f"handler.{head['handler']}")
        arguments.append(Context(**head["context"], logger=logger, reporter=reporter))
    try:
        result = handler.function(*arguments)
        if inspect.isawaitable(result):
            result = finish(result)
    except Retry as error:
        return failure("Retry", _words(error), after=_seconds(error))
    except Reject as error:
        return final("Rejected", _words(error))
    except SystemExit as error:
        return _exited(error)
    except BaseException as error:  # noqa: BLE001 - whatever a handler raises is its outcome
        return failure(type(error).__name__, _words(error), _innermost(error))
    return encode_result(result)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _payload(handler: Handler, body: bytes) -> Any:
    if handler.model is not None:
        return handler.model.model_validate_json(body)
    return parse_json(body)


def _explain(error: ValueError) -> str:
    """Return pydantic's words without the values, which may be secret."""
    details = getattr(error, "errors", None)
    if details is None:
        return str(error)
    entries = details(include_url=False, include_input=False, include_context=False)
    lines = [
        f"{'.'.join(str(part) for part in entry['loc']) or 'payload'}: {entry['msg']}"
        for entry in entries
    ]
    return "; ".join(lines)


def _seconds(error: Retry) -> float | None:
    """Return how long a handler asks to wait; None: by the policy, as for what cannot be meant."""
    try:
        return Retry(after=error.after).after  # a subclass may have set anything
    except (TypeError, ValueError):
        return None


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"its message cannot be shown: {type(broken).__name__}"


def _exited(error: SystemExit) -> Outcome:
    """Return the outcome of a handler that called sys.exit: the slot lives on."""
    if error.code is None or isinstance(error.code, int):
        return failure("Exited", f"the handler called sys.exit: exit code {error.code or 0}")
    return failure("Exited", f"the handler called sys.exit: {error.code}")


def _innermost(error: BaseException) -> str:
    lines = traceback.format_exception(type(error), error, error.__traceback__, -_FRAMES_SHOWN)
    return bounded("".join(lines), _LOG_MAX)
