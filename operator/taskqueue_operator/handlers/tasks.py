"""Tasks: one event handler and nothing else, because every write per Task counts."""

from typing import Any

import kopf

from taskqueue_api.messages import TaskUid
from taskqueue_api.names import GROUP, TASKS, VERSION
from taskqueue_operator.domain.dispatching import WAITING_PHASES
from taskqueue_operator.services.counts import Counts
from taskqueue_operator.services.dispatcher import Dispatcher


def register(registry: kopf.OperatorRegistry, dispatcher: Dispatcher, counts: Counts) -> None:
    """Register the handler of Tasks."""

    @kopf.on.event(GROUP, VERSION, TASKS, registry=registry)
    async def observe(event: kopf.RawEvent, **_: Any) -> None:
        body: dict[str, Any] = dict(event["object"])
        metadata = body["metadata"]
        counts.changed(metadata["namespace"])
        waits = body.get("status", {}).get("phase", "Pending") in WAITING_PHASES
        if event["type"] == "DELETED" or not waits or metadata.get("deletionTimestamp"):
            dispatcher.task_left(TaskUid(metadata["uid"]))
        else:
            # Kopf lists first: events of that list have no type.
            dispatcher.task_waiting(body, listed=event["type"] is None)
