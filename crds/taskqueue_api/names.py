"""Every name that one part of the system derives and another relies on.

A name is built here and nowhere else, so that two parts can never spell it differently.
"""

import re
from typing import NewType

GROUP = "taskqueue.dev"
VERSION = "v1beta1"
API_VERSION = f"{GROUP}/{VERSION}"
TASKQUEUES = "taskqueues"
TASKS = "tasks"

MANAGER = "taskqueue-operator"
"""Field manager of server-side apply, and the `managed-by` label of what we create."""

FINALIZER = f"{GROUP}/broker"
QUEUE_LABEL = f"{GROUP}/queue"
PROGRAM = "/opt/taskqueue"
"""Folder of the images that holds our own code."""

RESERVED_MOUNTS = "/etc/taskqueue"
"""Folder in worker containers that is ours."""

BROKER_VERSION_ANNOTATION = f"{GROUP}/broker-secret-version"
TASKS_PRIORITY_DEFAULT = 4

TASKQUEUE_NAME_MAX = 40
"""Bytes: `tq-` + name + a pod's suffix must fit the 63 of a label value and of a host name."""

EXCHANGE = "taskqueue"
DEAD_LETTER_EXCHANGE = "taskqueue.dlx"
UNROUTED_QUEUE = "taskqueue.unrouted"
"""Messages that belong to nobody here. Its arguments carry the UID of the cluster that owns
the vhost, so that a second cluster on the same vhost is refused by RabbitMQ itself."""

UNROUTED_KEY = "unrouted"
"""Routing key on the dead-letter exchange that leads to UNROUTED_QUEUE."""

QueueName = NewType("QueueName", str)
"""Name of a queue in RabbitMQ (not of a TaskQueue)."""


def work_queue(namespace: str, taskqueue: str) -> QueueName:
    """Return the RabbitMQ queue that holds a TaskQueue's waiting Tasks; also its routing key."""
    return QueueName(f"tq.{namespace}.{taskqueue}")


def dead_letter_queue(namespace: str, taskqueue: str) -> QueueName:
    """Return the RabbitMQ queue that holds a TaskQueue's dead letters; also its routing key."""
    return QueueName(f"tqd.{namespace}.{taskqueue}")


def broker_user(namespace: str, taskqueue: str, uid: str) -> str:
    """Return the RabbitMQ user of a TaskQueue's workers.

    Users belong to the whole broker, not to a vhost, so the TaskQueue's UID keeps apart two
    clusters that share a broker.
    """
    return f"tq.{namespace}.{taskqueue}.{uid[:8]}"


def child(taskqueue: str) -> str:
    """Return the name of a TaskQueue's Deployment, ServiceAccount, Role and RoleBinding."""
    return f"tq-{taskqueue}"


def broker_secret(taskqueue: str) -> str:
    """Return the name of the Secret that holds the workers' own broker credentials."""
    return f"tq-{taskqueue}-broker"


def worker_labels(taskqueue: str) -> dict[str, str]:
    """Return the labels that select a TaskQueue's worker pods."""
    return {
        "app.kubernetes.io/name": "taskqueue-worker",
        "app.kubernetes.io/managed-by": MANAGER,
        QUEUE_LABEL: taskqueue,
    }


def user_permissions(namespace: str, taskqueue: str) -> dict[str, str]:
    """Return the RabbitMQ permissions of a TaskQueue's workers, as the management API takes them.

    Read from their own queue, write to the dead-letter exchange; what they may send there is
    narrowed further by `topic_permission_key`.
    """
    return {
        "configure": "^$",
        "write": f"^{re.escape(DEAD_LETTER_EXCHANGE)}$",
        "read": f"^{_escape(work_queue(namespace, taskqueue))}$",
    }


def topic_permission_key(namespace: str, taskqueue: str) -> str:
    """Return the pattern of routing keys that workers may use on the dead-letter exchange."""
    return f"^({_escape(dead_letter_queue(namespace, taskqueue))}|{UNROUTED_KEY})$"


def _escape(name: str) -> str:
    """Escape the only special character that Kubernetes names can hold.

    re.escape also escapes `-`, which is legal but unreadable in the management UI.
    """
    return name.replace(".", r"\.")
