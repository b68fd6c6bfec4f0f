"""Every name that one part of the system derives and another relies on.

A name is built here and nowhere else, so that two parts can never spell it differently.
"""

from datetime import timedelta
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

WORKER_CONTAINER = "worker"
WORKER_PORT = 19080
"""Where a worker answers probes and shows its metrics. All containers of a pod share its ports, and
8080 and its like are what a sidecar listens on."""

GITOPS_LABELS = (
    "argocd.argoproj.io/instance",
    "app.kubernetes.io/instance",
    "kustomize.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/name",
)
GITOPS_ANNOTATIONS = (
    "argocd.argoproj.io/tracking-id",
    "argocd.argoproj.io/hook",
    "helm.sh/hook",
)
"""What Argo CD, Flux and Helm put on the objects that they keep as Git has them, and on hooks.

Whatever is deleted of these they create again, and a Task that is created again runs again.
By `app.kubernetes.io/instance` Argo CD up to 2 tracks unless told otherwise. Charts and people set
that label too, on objects that nobody would create again; to keep those is the smaller harm.
"""

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

UNROUTED_EXCHANGE = UNROUTED_QUEUE
"""A fanout exchange to UNROUTED_QUEUE: the alternate of exchanges that must not lose a message."""

DUE_EXCHANGE = "taskqueue.due"
"""Topic exchange at the foot of the ladder: from here a message goes to its work queue."""

DELAY_UNIT = timedelta(milliseconds=100)
DELAY_LEVELS = 26
"""Level 25 keeps a message for 39 days. RabbitMQ takes no TTL above 2**32 - 1 ms (49 days), so a
further level is not possible."""

DELAY_MAX = DELAY_UNIT * (2**DELAY_LEVELS - 1)
"""The ladder's reach: 77 days."""

NOT_BEFORE_MAX = timedelta(days=DELAY_MAX.days)
"""How far ahead of its creation a Task may be told not to start."""

CONTROL_EXCHANGE = "taskqueue.control"
"""Topic exchange for hints to the workers of a queue, by the work queue's name."""

QueueName = NewType("QueueName", str)
"""Name of a queue in RabbitMQ (not of a TaskQueue)."""


WORK_PREFIX = "tq."
DEAD_LETTER_PREFIX = "tqd."
LIMIT_PREFIX = "tql."
DELAY_PREFIX = "taskqueue.delay."


def work_queue(namespace: str, taskqueue: str) -> QueueName:
    """Return the RabbitMQ queue that holds a TaskQueue's waiting Tasks; also its routing key."""
    return QueueName(f"{WORK_PREFIX}{namespace}.{taskqueue}")


def dead_letter_queue(namespace: str, taskqueue: str) -> QueueName:
    """Return the RabbitMQ queue that holds a TaskQueue's dead letters; also its routing key."""
    return QueueName(f"{DEAD_LETTER_PREFIX}{namespace}.{taskqueue}")


def control_queue(namespace: str, taskqueue: str, instance: str) -> QueueName:
    """Return the RabbitMQ queue for hints to one life of one worker."""
    return QueueName(f"{_control_prefix(namespace, taskqueue)}{instance}")


def _control_prefix(namespace: str, taskqueue: str) -> str:
    return f"tqc.{namespace}.{taskqueue}."


def running_tokens(namespace: str, taskqueue: str, most: int) -> QueueName:
    """Return the RabbitMQ queue with a token for each handler that may run at once."""
    return QueueName(f"{LIMIT_PREFIX}{namespace}.{taskqueue}.running.{most}")


def rate_tokens(namespace: str, taskqueue: str, tasks: int, per: timedelta) -> QueueName:
    """Return the RabbitMQ queue with a token for each handler that may start within `per`."""
    milliseconds = per // timedelta(milliseconds=1)
    return QueueName(f"{LIMIT_PREFIX}{namespace}.{taskqueue}.rate.{tasks}.{milliseconds}")


def cooling_queue(tokens: str) -> QueueName:
    """Return the RabbitMQ queue that keeps the spent tokens of another until they count again."""
    return QueueName(f"{tokens}.cooling")


def dead_letter_policy(namespace: str, taskqueue: str) -> str:
    """Return the name of the operator policy with the limits of a TaskQueue's dead letters."""
    return dead_letter_queue(namespace, taskqueue)


def dead_letter_pattern(namespace: str, taskqueue: str) -> str:
    """Return the pattern of that policy: it matches the queue of dead letters and no other."""
    return f"^{_escape(dead_letter_queue(namespace, taskqueue))}$"


def delay_level(level: int) -> str:
    """Return the name of one level of the ladder: of its exchange, and of its queue.

    The queue of level n keeps a message for DELAY_UNIT * 2**n, and hands it to level n - 1.
    """
    return f"{DELAY_PREFIX}{level:02}"


DELAY_EXCHANGE = delay_level(DELAY_LEVELS - 1)
"""The top of the ladder, where delayed messages are published."""


def delay_key(delay: timedelta, queue: QueueName) -> str:
    """Return the routing key that takes a message to a work queue after a delay.

    A word per level, `1` where the message stays and `0` where it passes by, then the queue:
    the delay in binary. Rounded up to DELAY_UNIT; at most DELAY_MAX.
    """
    units = max(0, -(-min(delay, DELAY_MAX) // DELAY_UNIT))
    return f"{'.'.join(f'{units:0{DELAY_LEVELS}b}')}.{queue}"


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

    Read from their own queue and its limits' tokens, write to the dead-letter exchange and to the
    ladder, and have queues for hints to them; what they may send and hear is narrowed further by
    `topic_permissions`.
    """
    # To bind a queue takes the right to write to it, and to read from the exchange.
    control = f"{_escape(_control_prefix(namespace, taskqueue))}[0-9a-f]+"
    # Of any value: during a rollout the tokens of the limit before are in use too.
    tokens = _escape(f"{LIMIT_PREFIX}{namespace}.{taskqueue}.") + (
        r"(running\.[0-9]+|rate\.[0-9]+\.[0-9]+)"
    )
    work, exchange = _escape(work_queue(namespace, taskqueue)), _escape(CONTROL_EXCHANGE)
    return {
        "configure": f"^{control}$",
        "write": f"^({_escape(DEAD_LETTER_EXCHANGE)}|{_escape(DELAY_EXCHANGE)}|{control})$",
        "read": f"^({work}|{exchange}|{control}|{tokens})$",
    }


def topic_permissions(namespace: str, taskqueue: str) -> list[dict[str, str]]:
    """Return the routing keys that workers may use, as the management API takes them.

    They send only to their own dead letters, and through the ladder back to their own queue; they
    hear only what is said to the workers of that queue.
    """
    dead_letters = _escape(dead_letter_queue(namespace, taskqueue))
    own = _escape(work_queue(namespace, taskqueue))
    return [
        _topic(DEAD_LETTER_EXCHANGE, write=f"^({dead_letters}|{UNROUTED_KEY})$"),
        _topic(DELAY_EXCHANGE, write=rf"^([01]\.){{{DELAY_LEVELS}}}{own}$"),
        _topic(CONTROL_EXCHANGE, read=f"^{own}$"),
    ]


def _topic(exchange: str, *, write: str = "^$", read: str = "^$") -> dict[str, str]:
    return {"exchange": exchange, "write": write, "read": read}


def _escape(name: str) -> str:
    """Escape the only special character that Kubernetes names can hold.

    re.escape also escapes `-`, which is legal but unreadable in the management UI.
    """
    return name.replace(".", r"\.")
