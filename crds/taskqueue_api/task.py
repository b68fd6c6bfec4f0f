"""The Task resource: one piece of work, its state and its outcome."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from taskqueue_api import moments
from taskqueue_api.conditions import Conditions
from taskqueue_api.history import Ttl
from taskqueue_api.names import NOT_BEFORE_MAX, TASKS_PRIORITY_DEFAULT
from taskqueue_api.payload_from import PayloadFrom
from taskqueue_api.retries import ATTEMPTS_MOST
from taskqueue_api.retry import RetrySpec
from taskqueue_api.schema import (
    JsonValue,
    Model,
    Moment,
    QueueRef,
    Rule,
    duration_rules,
    joined,
    rules,
)
from taskqueue_api.status_rules import DEADLINE_EXCEEDED, FINISHED, STATUS_RULES

Phase = Literal["Pending", "Running", "Retrying", "Succeeded", "Failed", "Cancelled"]
FINISHED_PHASES: tuple[Phase, ...] = ("Succeeded", "Failed", "Cancelled")

PAYLOAD_MAX_BYTES = 32 * 1024
RESULT_MAX_BYTES = 8 * 1024
RERUN_MAX = 1000
DISPATCHES_MOST = 2**31 - 1
"""Beyond reach: one publication in 10 s for 680 years."""
ERROR_MESSAGE_MAX = 4096
ERROR_TYPE_MAX = 256
ERROR_LOG_MAX_BYTES = 2 * 1024
PROGRESS_MESSAGE_MAX = 1024

NEW_STATUS: dict[str, Any] = {
    "phase": "Pending",
    "run": 0,
    "attempts": 0,
    "dispatches": 1,
    "conditions": [
        {"type": "Reconciling", "status": "True", "reason": "Pending", "message": ""},
        {"type": "Succeeded", "status": "Unknown", "reason": "Pending", "message": ""},
    ],
}
"""The status of a new Task; but for `run`, also of one that is started all over."""

RERUN_RULE = Rule("self >= oldSelf", "rerun must not go down: it counts what was asked for")
_CANCELLED = "(has({0}.cancel) && {0}.cancel)"


def _same(field: str) -> str:
    """Return the CEL expression that an optional field is as it was."""
    both = f"has(self.{field}) && has(oldSelf.{field})"
    neither = f"!has(self.{field}) && !has(oldSelf.{field})"
    return f"(({both} && self.{field} == oldSelf.{field}) || ({neither}))"


# CEL cannot see the payload by itself, so a change of nothing else shows in the whole alone; one
# that comes with a change of what may change is refused by the chart's admission policy.
_MAY_DIFFER = f"!{_same('cancel')} || !{_same('ttlAfterFinished')} || self.rerun != oldSelf.rerun"
_UNCHANGED = "self == oldSelf || " + " && ".join(
    [
        f"({_MAY_DIFFER})",
        "self.queue == oldSelf.queue",
        "self.handler == oldSelf.handler",
        "self.priority == oldSelf.priority",
        *(_same(field) for field in ("payloadFrom", "timeout", "retry", "notBefore", "deadline")),
    ]
)


class TaskSpec(Model):
    """What is to be done.

    Only `cancel`, `rerun` and `ttlAfterFinished` can be changed; create another Task for anything
    else.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                _UNCHANGED,
                "must not be changed, but for cancel, rerun and ttlAfterFinished: a Task's spec "
                "is immutable, create another Task instead",
            ),
            Rule(
                f"!{_CANCELLED.format('oldSelf')} || {_CANCELLED.format('self')}",
                "cancel must stay true: a Task that was cancelled cannot be revived, create "
                "another Task instead",
            ),
            Rule(
                f"!{_CANCELLED.format('self')} || self.rerun == oldSelf.rerun",
                "rerun must not be raised when cancel is true: a Task that was cancelled cannot "
                "be revived, create another Task instead",
            ),
            Rule(
                f"!has(self.notBefore) || !self.notBefore.matches(r'{moments.PATTERN}') || "
                f"!has(self.deadline) || !self.deadline.matches(r'{moments.PATTERN}') || "
                "timestamp(self.notBefore) < timestamp(self.deadline)",
                '"deadline must be later than notBefore, \'" + self.notBefore + "\', not \'" + '
                'self.deadline + "\'"',
                shows_value=True,
            ),
        )
    )

    queue: QueueRef = Field(description="Name of the TaskQueue, in the Task's own namespace.")
    handler: Annotated[
        str,
        Field(
            min_length=1,
            max_length=128,
            json_schema_extra=rules(
                Rule(
                    "self.matches(r'^[A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_])?$')",
                    "\"must be a handler's name: letters, digits, '_', '-' and '.', "
                    'not \'" + self + "\'"',
                    shows_value=True,
                )
            ),
        ),
    ] = Field(description="Name of the handler that runs it, as the worker's code registers it.")
    payload: JsonValue = Field(
        default=None,
        description="Any JSON value, at most 32 KiB and 100 levels deep, given to the handler.",
    )
    payload_from: PayloadFrom | None = Field(
        default=None,
        description="Where the payload is, instead of `payload`: in a key of a ConfigMap or "
        "Secret of the namespace, which the worker reads at each start. The TaskQueue must list "
        "it in `workers.payloadSources`.",
    )
    priority: Annotated[int, Field(ge=0, le=9)] = Field(
        default=TASKS_PRIORITY_DEFAULT,
        description="0 to 9, higher first. Quorum queues of RabbitMQ 4.0 to 4.2 tell two levels "
        "apart: up to 4, and above.",
    )
    timeout: (
        Annotated[str, Field(max_length=32, json_schema_extra=duration_rules("100ms", "24h"))]
        | None
    ) = Field(
        default=None,
        description="After this the handler is killed and the Task has failed. Default, and "
        "ceiling: the timeout of the TaskQueue.",
    )
    not_before: Moment | None = Field(
        default=None,
        description="It is not started before this time; RabbitMQ keeps it until then. At most "
        f"{NOT_BEFORE_MAX.days} days ahead.",
    )
    deadline: Moment | None = Field(
        default=None,
        description="No attempt is started after this time: a Task that still waits then has "
        f"failed, as `{DEADLINE_EXCEEDED}`. One that runs may go on.",
    )
    cancel: bool | None = Field(
        default=None,
        description="`true` ends it as `Cancelled`, whether it waits or runs; a handler at work "
        "is stopped. It cannot be taken back. Leave it out of what a GitOps tool keeps in Git.",
    )
    rerun: Annotated[
        int,
        Field(
            ge=0,
            le=RERUN_MAX,
            json_schema_extra=rules(RERUN_RULE),
        ),
    ] = Field(
        default=0,
        description="Raised on a finished Task, it starts the Task all over: as a new one, with "
        "all its attempts. By how much does not matter, it is one more run. Leave it out of what a "
        "GitOps tool keeps in Git.",
    )
    retry: RetrySpec | None = Field(
        default=None,
        description="How it is tried again when it fails, instead of what the TaskQueue says.",
    )
    ttl_after_finished: Ttl | None = Field(
        default=None,
        description="It is deleted so long after its end, well or not, instead of what the "
        "TaskQueue's history says of its age; also where that has none. The history's limit and "
        "`gitOps` hold for it all the same.",
    )


class TaskError(Model):
    """Why a Task, or its last attempt, failed."""

    type: Annotated[str, Field(max_length=ERROR_TYPE_MAX)] = Field(
        description="The exception's class, or one of our own words, such as `Timeout`."
    )
    message: Annotated[str, Field(max_length=ERROR_MESSAGE_MAX)] = Field(
        default="", description="What went wrong, in words."
    )
    log: Annotated[str, Field(max_length=ERROR_LOG_MAX_BYTES)] | None = Field(
        default=None,
        description="The last lines of what the handler printed and logged in that attempt, at "
        "most 2 KiB; of programs what they wrote to standard error.",
    )


class TaskWorker(Model):
    """Who ran, or runs, the current attempt."""

    pod: Annotated[str, Field(max_length=253)] = Field(description="Name of the worker's pod.")
    pod_uid: Annotated[str, Field(max_length=64)] = Field(
        default="", description="UID of that pod; a later pod of the same name is another."
    )
    node: Annotated[str, Field(max_length=253)] = Field(default="", description="Its node.")
    instance: Annotated[str, Field(max_length=64)] = Field(
        description="One life of one worker process."
    )


class TaskProgress(Model):
    """How far its handler says that it has come. Of the last attempt, also after its end."""

    percent: Annotated[int, Field(ge=0, le=100)] = Field(description="0 to 100.")
    message: Annotated[str, Field(max_length=PROGRESS_MESSAGE_MAX)] = Field(
        default="", description="The handler's own words."
    )


class TaskStatus(Model):
    """What has become of it. Written by the worker that runs it, and by the operator."""

    model_config = ConfigDict(json_schema_extra=rules(*STATUS_RULES))

    phase: Phase = Field(default="Pending", description="Where it stands, in a word.")
    run: Annotated[int, Field(ge=0, le=RERUN_MAX)] = Field(
        default=0, description="The `spec.rerun` that it was started with last; 0: as created."
    )
    attempts: Annotated[int, Field(ge=0, le=ATTEMPTS_MOST)] = Field(
        default=0, description="Attempts started in this run."
    )
    dispatches: Annotated[int, Field(ge=1, le=DISPATCHES_MOST)] = Field(
        default=1, description="Which publication of the Task is the newest one."
    )
    start_time: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="When the last attempt started."
    )
    completion_time: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="When it finished."
    )
    next_attempt_time: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="When it is tried again, while phase is `Retrying`."
    )
    duration: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="How long the last attempt took."
    )
    worker: TaskWorker | None = Field(default=None, description="Who ran, or runs, it.")
    result: JsonValue = Field(
        default=None, description="What the handler returned; at most 8 KiB as JSON."
    )
    error: TaskError | None = Field(
        default=None, description="Why it failed, or why it has to be tried again."
    )
    progress: TaskProgress | None = Field(
        default=None, description="How far its last attempt has come."
    )
    conditions: Conditions = Field(
        default=[],
        description="`Succeeded` (Unknown until finished), `Finished`, `Reconciling`, `Stalled`, "
        "and `Dispatched=False` while something keeps it from the queue.",
    )


# A new Task has no status yet.
_PHASE = "(has(self.status) ? self.status.phase : 'Pending')"
_RUN = "(has(self.status) ? self.status.run : 0)"

WHOLE = (
    Rule(
        f"{_PHASE} != 'Cancelled' || {_CANCELLED.format('self.spec')}",
        "status.phase must not be 'Cancelled' unless spec.cancel is true",
    ),
    Rule(
        f"{_RUN} <= self.spec.rerun",
        "status.run must not be higher than spec.rerun: nobody has asked for that run",
    ),
    Rule(
        f"{_PHASE} in {FINISHED} || self.spec.rerun <= {_RUN}",
        "rerun of an unfinished Task: spec.rerun must be 0 in a new Task, and is raised when the "
        "Task has finished",
    ),
)
"""What a Task must be as a whole."""


class Task(Model):
    """One piece of work, run by a worker of its TaskQueue.

    Its progress, result or error appear in `.status`.
    """

    model_config = ConfigDict(
        title="Task",
        json_schema_extra=rules(
            joined(WHOLE, {"known": "has(self.status)", "phase": _PHASE, "run": _RUN})
        ),
    )

    spec: TaskSpec
    status: TaskStatus = TaskStatus()
