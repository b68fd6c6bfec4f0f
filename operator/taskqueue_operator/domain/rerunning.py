"""Whether a finished Task is to be started all over."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskqueue_api.messages import TaskUid
from taskqueue_api.task import FINISHED_PHASES
from taskqueue_operator.domain.dispatching import QueueKey

SELECTOR = ",".join(
    ["spec.rerun!=0", *(f"status.phase!={phase}" for phase in ("Pending", "Running", "Retrying"))]
)
"""Finished Tasks that were to be started all over at some time; the last wish may be fulfilled."""


@dataclass(frozen=True)
class Rerun:
    """A finished Task that is to be started all over. run: the one that begins.

    resource_version: as it was read; the start is refused when anything has changed since.
    """

    uid: TaskUid
    queue: QueueKey
    name: str
    resource_version: str
    run: int


def decide_rerun(body: Mapping[str, Any]) -> Rerun | None:
    """Return how a Task is to be started all over; None: it is not.

    It is one more run, however far `spec.rerun` is ahead. A Task that was cancelled meanwhile is
    started too, and cancelled as any that waits: so it is in its place in every list.
    """
    metadata, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    wanted = spec.get("rerun", 0)
    if status.get("phase") not in FINISHED_PHASES or wanted <= status.get("run", 0):
        return None
    if "deletionTimestamp" in metadata:
        return None
    return Rerun(
        uid=TaskUid(metadata["uid"]),
        queue=QueueKey(metadata["namespace"], spec["queue"]),
        name=metadata["name"],
        resource_version=metadata["resourceVersion"],
        run=wanted,
    )
