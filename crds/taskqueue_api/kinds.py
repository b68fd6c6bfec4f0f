"""The kinds of the API: what `kubectl get` shows of them and what can be selected."""

from taskqueue_api.crd import Column, Kind
from taskqueue_api.names import GROUP, TASKQUEUES, TASKS, VERSION
from taskqueue_api.task import NEW_STATUS, Task
from taskqueue_api.taskqueue import TaskQueue

_AGE = Column("Age", ".metadata.creationTimestamp", type="date")

TASKQUEUE = Kind(
    model=TaskQueue,
    group=GROUP,
    version=VERSION,
    kind="TaskQueue",
    plural=TASKQUEUES,
    short_names=["tq"],
    columns=[
        Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        Column("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
        Column("Workers", ".status.workers.ready", type="integer"),
        Column("Pending", ".status.tasks.pending", type="integer"),
        Column("Running", ".status.tasks.running", type="integer"),
        Column("Retrying", ".status.tasks.retrying", type="integer"),
        Column("Succeeded", ".status.tasks.succeeded", type="integer"),
        Column("Failed", ".status.tasks.failed", type="integer"),
        Column("Dead", ".status.deadLetters", type="integer"),
        _AGE,
        Column("Desired", ".status.workers.desired", type="integer", priority=1),
        Column("Message", '.status.conditions[?(@.type=="Ready")].message', priority=1),
    ],
    scale={
        "specReplicasPath": ".spec.workers.replicas",
        "statusReplicasPath": ".status.workers.replicas",
        "labelSelectorPath": ".status.workers.selector",
    },
)

TASK = Kind(
    model=Task,
    group=GROUP,
    version=VERSION,
    kind="Task",
    plural=TASKS,
    short_names=["tqt"],
    columns=[
        Column("Queue", ".spec.queue"),
        Column("Handler", ".spec.handler"),
        Column("Status", ".status.phase"),
        Column("Attempts", ".status.attempts", type="integer"),
        Column("Duration", ".status.duration"),
        _AGE,
        Column("Worker", ".status.worker.pod", priority=1),
        Column("Next", ".status.nextAttemptTime", priority=1),
        # Not of type `date`: of that the API server's table shows the age, and the operator reads
        # the moment there.
        Column("Finished", ".status.completionTime", priority=1),
        Column("TTL", ".spec.ttlAfterFinished", priority=1),
        # The operator compares the two: a finished Task that is to be run again is not deleted.
        Column(
            "Run",
            ".status.run",
            type="integer",
            priority=1,
            description="The run that was started last.",
        ),
        Column(
            "Rerun",
            ".spec.rerun",
            type="integer",
            priority=1,
            description="The run that is wanted.",
        ),
        Column("Reason", '.status.conditions[?(@.type=="Dispatched")].reason', priority=1),
        Column("Error", ".status.error.message", priority=1),
    ],
    selectable=[".spec.queue", ".spec.handler", ".spec.rerun", ".status.phase"],
    status_default=NEW_STATUS,
)

KINDS = (TASKQUEUE, TASK)
