"""The kinds of the API: what `kubectl get` shows of them and what can be selected."""

from taskqueue_api.crd import Column, Kind
from taskqueue_api.names import GROUP, TASKQUEUES, TASKS, VERSION
from taskqueue_api.task import NEW_STATUS, Task
from taskqueue_api.taskqueue import TaskQueue

_AGE = Column(
    "Age", ".metadata.creationTimestamp", type="date", description="How long ago it was created."
)

TASKQUEUE = Kind(
    model=TaskQueue,
    group=GROUP,
    version=VERSION,
    kind="TaskQueue",
    plural=TASKQUEUES,
    short_names=["tq"],
    columns=[
        Column(
            "Ready",
            '.status.conditions[?(@.type=="Ready")].status',
            description="Whether all is as the spec wants it.",
        ),
        Column(
            "Reason",
            '.status.conditions[?(@.type=="Ready")].reason',
            description="Why, or why not, in a word.",
        ),
        Column(
            "Workers",
            ".status.workers.ready",
            type="integer",
            description="Worker pods that consume.",
        ),
        Column("Pending", ".status.tasks.pending", type="integer", description="Tasks that wait."),
        Column("Running", ".status.tasks.running", type="integer", description="Tasks being run."),
        Column(
            "Retrying",
            ".status.tasks.retrying",
            type="integer",
            description="Tasks that failed and are tried again.",
        ),
        Column(
            "Succeeded",
            ".status.tasks.succeeded",
            type="integer",
            description="Tasks that ended well.",
        ),
        Column(
            "Failed",
            ".status.tasks.failed",
            type="integer",
            description="Tasks that failed for good.",
        ),
        Column(
            "Dead",
            ".status.deadLetters",
            type="integer",
            description="Messages in the queue of dead letters.",
        ),
        _AGE,
        Column(
            "Desired",
            ".status.workers.desired",
            type="integer",
            priority=1,
            description="Worker pods that are wanted.",
        ),
        Column(
            "Backlog",
            ".status.backlog",
            type="integer",
            priority=1,
            description="What the workers have to do now.",
        ),
        Column(
            "Scaling",
            '.status.conditions[?(@.type=="Scaling")].reason',
            priority=1,
            description="Why there are as many workers as there are.",
        ),
        Column(
            "Message",
            '.status.conditions[?(@.type=="Ready")].message',
            priority=1,
            description="Why, or why not, in words.",
        ),
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
        Column("Queue", ".spec.queue", description="Its TaskQueue."),
        Column("Handler", ".spec.handler", description="What runs it."),
        Column("Status", ".status.phase", description="Where it stands."),
        # A word with a sign would have to be a field of its own, written for this alone.
        Column(
            "Progress",
            ".status.progress.percent",
            type="integer",
            description="How far it has come, in percent.",
        ),
        Column(
            "Attempts", ".status.attempts", type="integer", description="How often it was started."
        ),
        Column("Duration", ".status.duration", description="How long the last attempt took."),
        _AGE,
        Column(
            "Worker", ".status.worker.pod", priority=1, description="The pod that ran, or runs, it."
        ),
        Column(
            "Next", ".status.nextAttemptTime", priority=1, description="When it is tried again."
        ),
        # Not of type `date`: of that the API server's table shows the age, and the operator reads
        # the moment there.
        Column("Finished", ".status.completionTime", priority=1, description="When it ended."),
        Column(
            "TTL",
            ".spec.ttlAfterFinished",
            priority=1,
            description="How long after its end it is deleted, if it says so itself.",
        ),
        Column(
            "Run",
            ".status.run",
            type="integer",
            priority=1,
            description="The run that was started last.",
        ),
        # The operator compares the two: a finished Task that is to be run again is not deleted.
        Column(
            "Rerun",
            ".spec.rerun",
            type="integer",
            priority=1,
            description="The run that is wanted.",
        ),
        Column(
            "Dispatch",
            '.status.conditions[?(@.type=="Dispatched")].reason',
            priority=1,
            description="What kept it from its queue, and whether it still does.",
        ),
        Column(
            "Error",
            ".status.error.type",
            priority=1,
            description="Why it failed, or is tried again, in a word.",
        ),
        Column("Message", ".status.error.message", priority=1, description="The same, in words."),
    ],
    selectable=[".spec.queue", ".spec.handler", ".spec.rerun", ".status.phase"],
    status_default=NEW_STATUS,
)

KINDS = (TASKQUEUE, TASK)
