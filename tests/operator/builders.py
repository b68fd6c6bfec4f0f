"""Objects as the API server shows them, and values of the domain: valid by default."""

import base64
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from taskqueue_api.messages import TaskUid
from taskqueue_api.taskqueue import TaskQueueSpec
from taskqueue_operator.domain.broker_address import BrokerAddress
from taskqueue_operator.domain.dispatching import QueueKey, WaitingTask
from taskqueue_operator.domain.workers import Owner, WorkerDefaults

NAMESPACE = "shop"
QUEUE = "emails"
KEY = QueueKey(NAMESPACE, QUEUE)
QUEUE_UID = "0b9f3c1e-1111-2222-3333-444455556666"
CLUSTER = "c10c0000-aaaa-bbbb-cccc-ddddeeeeffff"
NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)

OWNER = Owner(NAMESPACE, QUEUE, QUEUE_UID)
DEFAULTS = WorkerDefaults(
    image="example.org/worker:1",
    image_pull_policy="IfNotPresent",
    cluster=CLUSTER,
    log_format="json",
)
ADDRESS = BrokerAddress(
    host="rabbit.shop.svc",
    port=5672,
    tls=False,
    username="admin",
    password="top secret",
    vhost="/",
)


def build_task(
    name: str = "welcome",
    *,
    uid: str | None = None,
    created: datetime = NOW,
    spec: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a Task in phase Pending; `spec` and `status` are laid over it."""
    return {
        "apiVersion": "taskqueue.dev/v1beta1",
        "kind": "Task",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": uid or f"uid-{name}",
            "creationTimestamp": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "spec": {
            "queue": QUEUE,
            "handler": "send_welcome",
            "payload": {"to": "a@example.com"},
            "priority": 4,
            **(spec or {}),
        },
        "status": {
            "phase": "Pending",
            "run": 0,
            "attempts": 0,
            "dispatches": 1,
            "conditions": [],
            **(status or {}),
        },
    }


def build_nested(levels: int) -> Any:
    """Return a payload of so many levels."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def build_waiting(**changes: Any) -> WaitingTask:
    """Return a waiting Task of the domain."""
    task = WaitingTask(
        uid=TaskUid("uid-welcome"),
        queue=KEY,
        name="welcome",
        created=NOW,
        run=0,
        dispatches=1,
        handler="send_welcome",
        priority=4,
        timeout=None,
        payload=b"null",
        listed=False,
    )
    return replace(task, **changes)


def build_taskqueue(
    *,
    spec: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a TaskQueue; `spec`, `status` and `metadata` are laid over it."""
    return {
        "apiVersion": "taskqueue.dev/v1beta1",
        "kind": "TaskQueue",
        "metadata": {
            "name": QUEUE,
            "namespace": NAMESPACE,
            "uid": QUEUE_UID,
            "generation": 1,
            **(metadata or {}),
        },
        "spec": {
            "broker": {"secretRef": {"name": "rabbit"}},
            "workers": {"handlers": {"python": {"module": "shop.tasks"}}},
            **(spec or {}),
        },
        **({"status": dict(status)} if status else {}),
    }


def build_spec(**workers: Any) -> TaskQueueSpec:
    """Return a TaskQueue's spec with these changes to its workers."""
    handlers = {"python": {"module": "shop.tasks"}}
    return TaskQueueSpec.model_validate({"workers": {"handlers": handlers, **workers}})


def build_secret(
    name: str = "rabbit",
    data: Mapping[str, str] | None = None,
    *,
    namespace: str = NAMESPACE,
    owner: str | None = None,
) -> dict[str, Any]:
    """Return a Secret with a broker's address; owner: UID in its owner reference."""
    values = data or {"uri": "amqp://admin:top%20secret@rabbit.shop.svc:5672"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            **({"ownerReferences": [{"uid": owner}]} if owner else {}),
        },
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
    }


def build_deployment_status(
    *, desired: int = 2, ready: int = 2, updated: int = 2, generation: int = 3, seen: int = 3
) -> dict[str, Any]:
    """Return a Deployment as its controller reports it."""
    return {
        "metadata": {"generation": generation},
        "spec": {"replicas": desired},
        "status": {
            "observedGeneration": seen,
            "replicas": desired,
            "readyReplicas": ready,
            "updatedReplicas": updated,
        },
    }


def build_rng() -> random.Random:
    """Return randomness that is always the same."""
    return random.Random(0)  # noqa: S311 - jitter needs no secrecy
