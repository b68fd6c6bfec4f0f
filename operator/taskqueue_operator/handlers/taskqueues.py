"""TaskQueues and the objects that they own."""

import asyncio
import logging
from typing import Any

import kopf

from taskqueue_api.names import GROUP, TASKQUEUES, VERSION
from taskqueue_operator.domain.dispatching import QueueKey, key_of
from taskqueue_operator.domain.lean import lean_taskqueue
from taskqueue_operator.services.taskqueues import TaskQueues
from taskqueue_operator.services.teardown import DrainingError, NotYetError, Teardown

TEARDOWN_SECONDS = 2.0

CHILDREN = (
    ("apps", "v1", "deployments"),
    ("", "v1", "serviceaccounts"),
    ("rbac.authorization.k8s.io", "v1", "roles"),
    ("rbac.authorization.k8s.io", "v1", "rolebindings"),
    ("policy", "v1", "poddisruptionbudgets"),
)

logger = logging.getLogger(__name__)


def register(registry: kopf.OperatorRegistry, queues: TaskQueues, teardown: Teardown) -> None:
    """Register the handlers of TaskQueues."""
    resource = (GROUP, VERSION, TASKQUEUES)

    @kopf.on.event(*resource, registry=registry)
    async def observe(event: kopf.RawEvent, **_: Any) -> None:
        body = lean_taskqueue(event["object"])
        if event["type"] == "DELETED":
            queues.gone(body)
        else:
            queues.seen(body)

    @kopf.on.create(*resource, registry=registry)
    @kopf.on.update(*resource, registry=registry)
    @kopf.on.resume(*resource, registry=registry)
    async def reconcile(body: kopf.Body, **_: Any) -> None:
        # Not here: Kopf would keep the object and a worker of its own until that is done.
        queues.changed(key_of(body))

    @kopf.on.delete(*resource, registry=registry, id="delete")
    async def delete(body: kopf.Body, memo: kopf.Memo, **_: Any) -> None:
        clock = asyncio.get_running_loop().time
        key = key_of(body)
        try:
            async with queues.lock(key):
                # Not since the deletionTimestamp: that is of another machine's clock.
                begun = memo.setdefault("teardown_begun", clock())
                await teardown.run(dict(body), clock() - begun)
        except NotYetError as error:
            _note_wait(key, error, memo)
            raise kopf.TemporaryError(str(error), delay=TEARDOWN_SECONDS) from error

    async def observe_child(event: kopf.RawEvent, **_: Any) -> None:
        queues.child_seen(dict(event["object"]), deleted=event["type"] == "DELETED")

    for group, version, plural in CHILDREN:
        kopf.on.event(group, version, plural, registry=registry)(observe_child)


def _note_wait(key: QueueKey, error: NotYetError, memo: kopf.Memo) -> None:
    """Log what a deletion waits for, once."""
    if isinstance(error, DrainingError):
        del memo["teardown_begun"]
    if memo.get("teardown_told") != str(error):
        memo["teardown_told"] = str(error)
        fields = {"namespace": key.namespace, "queue": key.name}
        logger.info("not deleted yet: %s", error, extra=fields)
