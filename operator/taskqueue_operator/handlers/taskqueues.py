"""TaskQueues and the objects that they own."""

import asyncio
from typing import Any

import kopf

from taskqueue_api.names import GROUP, TASKQUEUES, VERSION
from taskqueue_operator.services.taskqueues import TaskQueues, key_of
from taskqueue_operator.services.teardown import NotYetError, Teardown

RESYNC_SECONDS = 30.0
VERIFY_SECONDS = 300.0
TEARDOWN_SECONDS = 2.0

CHILDREN = (
    ("apps", "v1", "deployments"),
    ("", "v1", "serviceaccounts"),
    ("rbac.authorization.k8s.io", "v1", "roles"),
    ("rbac.authorization.k8s.io", "v1", "rolebindings"),
)


def register(registry: kopf.OperatorRegistry, queues: TaskQueues, teardown: Teardown) -> None:
    """Register the handlers of TaskQueues."""
    resource = (GROUP, VERSION, TASKQUEUES)

    @kopf.on.event(*resource, registry=registry)
    async def observe(event: kopf.RawEvent, **_: Any) -> None:
        body = dict(event["object"])
        if event["type"] == "DELETED":
            queues.gone(body)
        else:
            queues.seen(body)

    @kopf.on.create(*resource, registry=registry)
    @kopf.on.update(*resource, registry=registry)
    @kopf.on.resume(*resource, registry=registry)
    @kopf.timer(*resource, registry=registry, interval=RESYNC_SECONDS, initial_delay=RESYNC_SECONDS)
    async def reconcile(body: kopf.Body, **_: Any) -> None:
        await queues.reconcile(key_of(body))

    @kopf.timer(*resource, registry=registry, interval=VERIFY_SECONDS, initial_delay=VERIFY_SECONDS)
    async def verify(body: kopf.Body, **_: Any) -> None:
        await queues.verify(key_of(body))

    @kopf.on.delete(*resource, registry=registry, id="delete")
    async def delete(body: kopf.Body, memo: kopf.Memo, **_: Any) -> None:
        clock = asyncio.get_running_loop().time
        try:
            async with queues.lock(key_of(body)):
                # Not since the deletionTimestamp: that is of another machine's clock.
                begun = memo.setdefault("teardown_begun", clock())
                await teardown.run(dict(body), clock() - begun)
        except NotYetError as error:
            raise kopf.TemporaryError(str(error), delay=TEARDOWN_SECONDS) from error

    async def observe_child(event: kopf.RawEvent, **_: Any) -> None:
        queues.child_seen(dict(event["object"]), deleted=event["type"] == "DELETED")

    for group, version, plural in CHILDREN:
        kopf.on.event(group, version, plural, registry=registry)(observe_child)
