"""What is left of the workers of a TaskQueue that is being deleted."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from taskqueue_api.conditions import Condition, parse_time, rfc3339
from taskqueue_operator.domain.readiness import READY

DELETING = "Deleting"

MARGIN = timedelta(seconds=30)
"""After a pod's grace: a node that is there has removed it by then."""

_ENDED = ("Succeeded", "Failed")


class Drain(NamedTuple):
    """The worker pods that are left.

    stopping: told to stop, and finishing what they run. until: when the last of them ends at the
        latest; None: there is none.
    going_on: not told to stop.
    """

    stopping: int
    until: datetime | None
    going_on: int


def decide_drain(pods: Sequence[Mapping[str, Any]], now: datetime) -> Drain:
    """Return which worker pods are to be waited for. now: the API server's time.

    Not those whose grace is over: their node is lost, and nobody knows for how long.
    """
    left = [pod for pod in pods if pod.get("status", {}).get("phase") not in _ENDED]
    stamps = [pod["metadata"].get("deletionTimestamp") for pod in left]
    ends = [end for stamp in stamps if stamp and (end := parse_time(stamp)) + MARGIN > now]
    return Drain(len(ends), max(ends, default=None), stamps.count(None))


def describe_drain(drain: Drain, generation: int) -> Condition:
    """Return the condition that says what the deletion waits for."""
    workers = "1 worker finishes" if drain.stopping == 1 else f"{drain.stopping} workers finish"
    until = f", until {rfc3339(drain.until)} at the latest" if drain.until else ""
    return Condition(
        type=READY,
        status="False",
        reason=DELETING,
        message=f"{workers} the Tasks at work{until}; cancel them to have it sooner",
        observed_generation=generation,
    )
