"""Tasks: one event handler and nothing else, because every write per Task counts."""

from typing import Any

import kopf

from taskqueue_api.messages import TaskUid
from taskqueue_api.names import GROUP, TASKS, VERSION
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.domain.observing import Course, decide_course
from taskqueue_operator.services.cancels import Cancels
from taskqueue_operator.services.counts import Counts
from taskqueue_operator.services.dispatcher import Dispatcher
from taskqueue_operator.services.hints import Hints
from taskqueue_operator.services.scaler import Scaler


def register(
    registry: kopf.OperatorRegistry,
    dispatcher: Dispatcher,
    hints: Hints,
    cancels: Cancels,
    counts: Counts,
    scaler: Scaler,
) -> None:
    """Register the handler of Tasks."""

    @kopf.on.event(GROUP, VERSION, TASKS, registry=registry)
    async def observe(event: kopf.RawEvent, **_: Any) -> None:
        body: dict[str, Any] = dict(event["object"])
        metadata = body["metadata"]
        uid = TaskUid(metadata["uid"])
        queue = QueueKey(metadata["namespace"], body["spec"]["queue"])
        counts.changed(metadata["namespace"])
        # Kopf lists first: events of that list have no type.
        course = decide_course(event["type"], body)
        if course in (Course.PUBLISH, Course.KEEP, Course.STOP):
            dispatcher.task_seen(body, listed=event["type"] is None)
            scaler.work_came(queue)
        elif course is Course.CANCEL:
            dispatcher.cancel(body)
        else:
            dispatcher.task_left(uid, ran="startTime" in (body.get("status") or {}))
        if course in (Course.CANCEL, Course.STOP, Course.LOOK):
            hints.send(queue, uid)
        if course is Course.STOP:
            cancels.seen(body)
