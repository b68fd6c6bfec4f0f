"""What an event about a Task asks of the operator."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from taskqueue_operator.domain.dispatching import WAITING_PHASES


class Course(Enum):
    """What is to be done."""

    PUBLISH = "publish"
    """It waits, and is to be run."""
    CANCEL = "cancel"
    """It waits, and is to be run no more."""
    STOP = "stop"
    """It is run, and to be stopped; as KEEP until then."""
    LOOK = "look"
    """It was seen running and is not seen any more: finished, or to be stopped."""
    KEEP = "keep"
    """It is run, and to be published again should its queue be lost, and its worker too."""
    FORGET = "forget"
    """Nothing can be left to do."""


def decide_course(event_type: str | None, body: Mapping[str, Any]) -> Course:
    """Return what an event asks for. event_type: None for what was there before we watched.

    Tasks are watched by their phase, so one that finishes is seen as deleted, as it was before:
    a short one as if it still waited. Only who runs it knows better.
    """
    phase = body.get("status", {}).get("phase", "Pending")
    gone = event_type == "DELETED" or "deletionTimestamp" in body["metadata"]
    if phase == "Running":
        if gone:
            return Course.LOOK
        return Course.STOP if body["spec"].get("cancel") else Course.KEEP
    if gone or phase not in WAITING_PHASES:
        return Course.FORGET
    return Course.CANCEL if body["spec"].get("cancel") else Course.PUBLISH
