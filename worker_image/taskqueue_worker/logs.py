"""The worker's log: one JSON object a line on standard output, or text for a terminal."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TextIO

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_TEXT_KEYS = ("namespace", "task", "uid", "attempt", "handler", "queue", "duration", "traceback")


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the bound fields.

    A line is written for each attempt: python-json-logger took longer for it than all else that
    the worker does for a message (docs/performance.md).
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
        if record.exc_info:
            fields["exc_info"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack_info"] = self.formatStack(record.stack_info)
        return json.dumps(fields, default=str)


class _TextFormatter(logging.Formatter):
    """A line for people, with the bound fields at its end."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        fields = [f"{k}={v}" for k in _TEXT_KEYS if (v := getattr(record, k, None)) is not None]
        return " ".join([line, *fields])


_BUNCH_SECONDS = 0.05
_STANDARD_OUTPUT = 1


class BunchingHandler(logging.StreamHandler[TextIO]):
    """Writes a line at once if the last write was a while ago, and else with those that follow.

    Each write wakes the container runtime, which copies it: that took as long as a short Task.
    Errors are written at once.
    """

    def __init__(self, stream: TextIO, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._monotonic = monotonic
        self._written = float("-inf")
        self._later: asyncio.TimerHandle | None = None

    def flush(self) -> None:
        """Write what has gathered; called after each line too."""
        if self._later is None:
            self._write()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line."""
        wait = self._written + _BUNCH_SECONDS - self._monotonic()
        if self._later is None and wait > 0 and record.levelno < logging.ERROR:
            with contextlib.suppress(RuntimeError):  # not within the loop
                self._later = asyncio.get_running_loop().call_later(wait, self._write)
        super().emit(record)
        if record.levelno >= logging.ERROR:
            self._write()

    def close(self) -> None:
        """Write what is left, at the end of the process."""
        self._write()
        super().close()

    def _write(self) -> None:
        self.acquire()
        try:
            if self._later is not None:
                self._later.cancel()
                self._later = None
            self._written = self._monotonic()
            with contextlib.suppress(OSError):  # where nobody takes the log, work goes on
                super().flush()
        finally:
            self.release()


def configure_logging(kind: Literal["json", "text"]) -> None:
    """Send this process's log to standard output."""
    # What no line shows, and each record would look up:
    # https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = logging.logMultiprocessing = logging.logProcesses = False
    logging.logAsyncioTasks = False  # type: ignore[attr-defined, unused-ignore] # since 3.12
    logging._srcfile = None
    # Not sys.stdout: in the image that writes each part of a line by itself.
    stream = open(_STANDARD_OUTPUT, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    handler = BunchingHandler(stream)
    if kind == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(_TextFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.INFO)


def leave_last_words(message: str, path: Path = Path("/dev/termination-log")) -> None:
    """Tell the kubelet why the container ends; the TaskQueue's condition repeats it.

    Outside a container there is nobody to tell.
    """
    with contextlib.suppress(OSError):
        path.write_text(message)
