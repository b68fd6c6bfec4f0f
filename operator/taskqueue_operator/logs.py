"""Logs on standard output: JSON for machines, text for a terminal."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter


def _plain_fields(record: logging.LogRecord) -> bool:
    """Leave of Kopf's own fields what is text: its settings object cannot be written as JSON."""
    reference = record.__dict__.pop("k8s_ref", None) or {}
    for key in ("settings", "k8s_skip"):
        record.__dict__.pop(key, None)
    for key in ("namespace", "name"):
        if key in reference:
            record.__dict__["object" if key == "name" else key] = reference[key]
    return True


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out that a handler asks to be called again: Kopf calls it an error, each time anew.

    Ours say themselves what they wait for.
    """
    return not (record.name == "kopf.objects" and " failed temporarily: " in record.getMessage())


def configure_logging(log_format: str, level: str) -> None:
    """Send every log record to standard output in one format."""
    handler = logging.StreamHandler(sys.stdout)
    if log_format == "json":
        handler.setFormatter(
            JsonFormatter(
                "%(asctime)s %(levelname)s %(name)s %(message)s",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            )
        )
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    handler.addFilter(_plain_fields)
    handler.addFilter(_is_news)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # One line per frame or per event is theirs; what matters of it comes back as our own.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    logging.getLogger("kopf").setLevel(logging.WARNING)
