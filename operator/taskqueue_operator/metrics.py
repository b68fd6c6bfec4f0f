"""The operator's metrics. Labels are bounded: queues and outcomes, never Tasks."""

from prometheus_client import Counter, Gauge, Histogram

from taskqueue_operator.gauges import Gauges

LEADER = Gauge(
    "taskqueue_leader",
    "1 while this operator leads: it holds the Lease, and has renewed it in time.",
)
DISPATCHES = Counter(
    "taskqueue_dispatches_total",
    "Publications of Tasks, by what became of them.",
    ["namespace", "queue", "verdict"],
)
DISPATCH_SECONDS = Histogram(
    "taskqueue_dispatch_duration_seconds",
    "From the moment the operator saw a Task, or its queue opened, to RabbitMQ's confirm.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
RECONCILES = Counter(
    "taskqueue_reconciles_total",
    "Reconciles of TaskQueues, by the reason of their Ready condition.",
    ["result"],
)
RECONCILE_SECONDS = Histogram(
    "taskqueue_reconcile_duration_seconds",
    "How long a reconcile of a TaskQueue took.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
BROKER_CONNECTED = Gauge(
    "taskqueue_broker_connected",
    "1 while the operator is connected to a broker and vhost.",
    ["host", "vhost"],
)
TASKS = Gauges(
    "taskqueue_tasks",
    "Tasks that exist, by phase.",
    ["namespace", "queue", "phase"],
)
DEAD_LETTERS = Gauges(
    "taskqueue_dead_letters",
    "Messages in the dead-letter queue, as last counted.",
    ["namespace", "queue"],
)
TASKS_HELD = Gauges(
    "taskqueue_tasks_held",
    "Tasks that wait for their queue to open.",
    ["namespace", "queue"],
)
TASKS_DELETED = Counter(
    "taskqueue_tasks_deleted_total",
    "Finished Tasks deleted, by reason: age or limit. Without a TaskQueue, `queue` is empty.",
    ["namespace", "queue", "reason"],
)
STATUS_WRITES = Counter(
    "taskqueue_status_writes_total",
    "Writes of status by the operator.",
    ["kind", "result"],
)
_SCALING_LABELS = ["namespace", "queue"]
WORKERS_DESIRED = Gauges(
    "taskqueue_workers_desired", "Worker pods that are wanted.", _SCALING_LABELS
)
WORKERS_READY = Gauges("taskqueue_workers_ready", "Worker pods that consume.", _SCALING_LABELS)
SLOTS = Gauges("taskqueue_slots", "Slots of the worker pods that consume.", _SCALING_LABELS)
SLOTS_BUSY = Gauges(
    "taskqueue_slots_busy",
    "Slots that run a Task, or hold a message; by taskqueue_slots: the utilisation.",
    _SCALING_LABELS,
)
BACKLOG = Gauges(
    "taskqueue_backlog",
    "Tasks that are due, or messages in the work queue, waiting or at work: whichever are more.",
    _SCALING_LABELS,
)
OLDEST_WAITING = Gauges(
    "taskqueue_oldest_waiting_seconds",
    "How long the Task has been due that has waited longest.",
    _SCALING_LABELS,
)
SCALING_GAUGES = (
    WORKERS_DESIRED,
    WORKERS_READY,
    SLOTS,
    SLOTS_BUSY,
    BACKLOG,
    OLDEST_WAITING,
)
"""Those of each TaskQueue, in one order."""

SCALING_DECISIONS = Counter(
    "taskqueue_scaling_decisions_total",
    "Decisions on the number of workers that differ from the one before, by reason.",
    [*_SCALING_LABELS, "reason"],
)
