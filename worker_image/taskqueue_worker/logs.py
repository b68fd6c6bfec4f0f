"""The worker's log: one JSON object a line on standard output, or text for a terminal."""

import contextlib
import logging
import sys
from pathlib import Path
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

_FIELDS = "%(asctime)s %(levelname)s %(name)s %(message)s"
_RENAMED = {"asctime": "time", "levelname": "level", "name": "logger"}
_TEXT_KEYS = ("namespace", "task", "uid", "attempt", "handler", "queue", "duration", "traceback")


class _TextFormatter(logging.Formatter):
    """A line for people, with the bound fields at its end."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        fields = [f"{k}={v}" for k in _TEXT_KEYS if (v := getattr(record, k, None)) is not None]
        return " ".join([line, *fields])


def configure_logging(kind: Literal["json", "text"]) -> None:
    """Send this process's log to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    if kind == "json":
        handler.setFormatter(JsonFormatter(_FIELDS, rename_fields=_RENAMED))
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
