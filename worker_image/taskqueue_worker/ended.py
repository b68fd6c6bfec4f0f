"""What the worker's log and metrics say of an attempt that is over."""

import logging
from typing import Any

from taskqueue_worker import metrics
from taskqueue_worker.outcomes import Cancelled, Failure, Outcome, Success
from taskqueue_worker.runners import Job
from taskqueue_worker.statuses import format_duration

_log = logging.getLogger("taskqueue_worker.worker")

_ENDED = {Success: "succeeded", Failure: "failed", Cancelled: "cancelled"}


def report_end(job: Job, outcome: Outcome, seconds: float, label: str) -> None:
    """Count an attempt and log one line. label: the handler's, for metrics."""
    ended = _ENDED[type(outcome)]
    metrics.FINISHED.labels(label, ended).inc()
    metrics.DURATION.labels(label).observe(seconds)
    fields: dict[str, Any] = {
        "namespace": job.namespace,
        "task": job.name,
        "uid": job.uid,
        "attempt": job.attempt,
        "handler": job.handler,
        "queue": job.queue,
        "duration": format_duration(seconds),
    }
    if isinstance(outcome, Failure):
        if outcome.traceback:
            fields["traceback"] = outcome.traceback
        _log.warning("failed: %s: %s", outcome.type, outcome.message, extra=fields)
    else:
        _log.info("%s", ended, extra=fields)
