"""The TaskQueue resource: a queue in RabbitMQ and the workers that serve it."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from taskqueue_api.conditions import Conditions
from taskqueue_api.dead_letters import DeadLetterSpec
from taskqueue_api.history import HistorySpec
from taskqueue_api.limits import MaxRunning, RateLimitSpec
from taskqueue_api.names import TASKQUEUE_NAME_MAX
from taskqueue_api.payload_from import PayloadSourcesSpec
from taskqueue_api.pod_template import WorkerTemplate
from taskqueue_api.retry import RetrySpec
from taskqueue_api.scaling import PODS_MOST, ScalingSpec
from taskqueue_api.schema import DNS_LABEL, Model, Name, Rule, duration_rules, rules
from taskqueue_api.urls import HTTP_URL, URL_MAX, URL_WITH_CREDENTIALS

TIMEOUT_DEFAULT = "5m"

# No messageExpression: the API server cannot bound the length of metadata.name, so it refuses one.
METADATA_RULES = rules(
    Rule(
        f"self.metadata.name.size() <= {TASKQUEUE_NAME_MAX}",
        f"metadata.name must be at most {TASKQUEUE_NAME_MAX} characters, because names of pods "
        "and labels are derived from it",
    ),
    Rule(
        f"self.metadata.name.matches('{DNS_LABEL}')",
        "metadata.name must hold only lower case letters, digits and '-'",
    ),
)


class SecretRef(Model):
    """A Secret in the TaskQueue's own namespace."""

    name: Name = Field(description="Name of the Secret.")


class BrokerSpec(Model):
    """Which RabbitMQ the queue lives on."""

    secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret with the broker's address and credentials: of the RabbitMQ cluster "
        "operator (`host`, `port`, `username`, `password`), of the topology operator (`uri` of "
        "the management API, `username`, `password`) or one `uri` of amqp:// or amqps://. A "
        "`ca.crt` in it is trusted for TLS. Default: the operator's own broker.",
    )
    vhost: Annotated[
        str,
        Field(
            min_length=1,
            max_length=128,
            json_schema_extra=rules(
                Rule(
                    "self == oldSelf",
                    "must not be changed: create another TaskQueue for another vhost",
                )
            ),
        ),
    ] = Field(default="/", description="RabbitMQ's virtual host; it must exist.")


class QueueSpec(Model):
    """How RabbitMQ keeps the queue."""

    type: Annotated[
        Literal["Quorum", "Classic"],
        Field(
            json_schema_extra=rules(
                Rule(
                    "self == oldSelf",
                    "must not be changed: create another TaskQueue for another type of queue",
                )
            )
        ),
    ] = Field(
        default="Quorum",
        description="`Quorum` is replicated; `Classic` lives on one node. It cannot be changed, "
        "since RabbitMQ cannot change it either.",
    )


class PythonHandlers(Model):
    """Handlers registered with `@task` in a Python module."""

    module: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            json_schema_extra=rules(
                Rule(
                    "self.matches(r'^[A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_]*)*$')",
                    "\"must be a Python module such as 'shop.tasks', not '\" + self + \"'\"",
                    shows_value=True,
                )
            ),
        ),
    ] = Field(description="Module that is imported, such as `shop.tasks`.")


class ExecHandlers(Model):
    """A program that gets the payload on standard input and prints a JSON result."""

    command: Annotated[
        list[Annotated[str, Field(max_length=4096)]], Field(min_length=1, max_length=64)
    ] = Field(
        description="Program and arguments. The handler's name is in $TASK_HANDLER. Exit code 0 "
        "means success, 65 that trying again is of no use, anything else a failure."
    )


class HttpHandlers(Model):
    """A server that gets the payload by POST and answers with a JSON result."""

    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=URL_MAX,
            json_schema_extra=rules(
                Rule(
                    f"!self.matches(r'{URL_WITH_CREDENTIALS}')",
                    "must hold no user and no password: whoever can read the TaskQueue reads them",
                ),
                Rule(
                    f"self.matches(r'{URL_WITH_CREDENTIALS}') || self.matches(r'{HTTP_URL}')",
                    "\"must be an address such as 'http://localhost:8080/task', with http or "
                    'https, a host and no fragment, not \'" + self + "\'"',
                    shows_value=True,
                ),
            ),
        ),
    ] = Field(
        description="Where to POST, such as `http://localhost:8080/task`: mostly to a sidecar of "
        "`template.sidecars`, in any language. Any other host will do too; then its network and "
        "its load are part of each Task, and nothing says to it who asks."
    )


class HandlersSpec(Model):
    """What runs the Tasks; exactly one kind."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "[has(self.python), has(self.exec), has(self.http)].filter(x, x).size() == 1",
                "exactly one of python, exec and http must be set",
            )
        )
    )

    python: PythonHandlers | None = Field(default=None, description="Python functions.")
    exec: ExecHandlers | None = Field(default=None, description="A program per Task.")
    http: HttpHandlers | None = Field(
        default=None, description="A request per Task, to a sidecar or another server."
    )


class WorkersSpec(Model):
    """The pods that run the Tasks."""

    # `replicas` has a default, since the scale subresource reads it, so nothing tells a 1 that is
    # meant from one that was left out. `kubectl scale` is refused by the same rule.
    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "!has(self.scaling) || self.replicas == 1",
                "replicas must be 1 or left out beside scaling, which decides the number of pods",
            )
        )
    )

    replicas: Annotated[int, Field(ge=0, le=PODS_MOST)] = Field(
        default=1, description="How many worker pods. Beside `scaling` it must be left out, or 1."
    )
    scaling: ScalingSpec | None = Field(
        default=None,
        description="How the number of worker pods follows the backlog. Default: it does not; "
        "there are `replicas`.",
    )
    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="Tasks that one pod runs at once."
    )
    rate_limit: RateLimitSpec | None = Field(
        default=None,
        description="How many handlers may start within some time, in all pods together. Default: "
        "no limit.",
    )
    max_running: MaxRunning | None = Field(
        default=None,
        description="How many handlers may run at once, in all pods together. Default: no limit "
        "but the slots.",
    )
    claim: Literal["Adaptive", "Always"] = Field(
        default="Adaptive",
        description="When a Task is shown as Running. `Adaptive`: a new one after a second, so "
        "that a short Task is written but once; if its worker is lost before, that attempt is "
        "started a second time. `Always`: before every start; one more read and one more write "
        "per Task.",
    )
    handlers: HandlersSpec = Field(description="What runs the Tasks.")
    payload_sources: PayloadSourcesSpec | None = Field(
        default=None,
        description="What the workers may read for Tasks with `payloadFrom`, each by its name. "
        "Default: nothing. Whoever may create Tasks can have what is listed given to any handler "
        "of the queue.",
    )
    template: WorkerTemplate = Field(
        default=WorkerTemplate(), description="Changes to the worker pods."
    )


class TaskQueueSpec(Model):
    """The wanted queue and workers."""

    broker: BrokerSpec = Field(default=BrokerSpec(), description="Which RabbitMQ.")
    queue: QueueSpec = Field(default=QueueSpec(), description="How RabbitMQ keeps the queue.")
    timeout: Annotated[
        str, Field(max_length=32, json_schema_extra=duration_rules("100ms", "24h"))
    ] = Field(
        default=TIMEOUT_DEFAULT,
        description="How long a Task may run, unless it says less itself.",
    )
    retry: RetrySpec | None = Field(
        default=None,
        description="How failed Tasks are tried again. Default: not at all; a failure is final.",
    )
    dead_letter: DeadLetterSpec | None = Field(
        default=None,
        description="Which dead letters RabbitMQ drops. Default: the oldest beyond 100000, none "
        "for its age. Needs the broker's management API.",
    )
    workers: WorkersSpec = Field(description="The pods that run the Tasks.")
    paused: bool = Field(
        default=False,
        description="Let the workers finish what they run, and have none until this is false "
        "again. Tasks are taken, and wait in the queue.",
    )
    history: HistorySpec | None = Field(
        default=None,
        description="Which finished Tasks are deleted, and when. Default: none; they stay until "
        "somebody deletes them, or for their own `ttlAfterFinished`.",
    )
    deletion_policy: Literal["DeleteIfEmpty", "Retain", "Delete"] = Field(
        default="DeleteIfEmpty",
        description="What happens to the queues in RabbitMQ when the TaskQueue is deleted: "
        "deleted if empty and kept otherwise, always kept, or deleted with their messages.",
    )


Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class TaskCounts(Model):
    """Tasks of the queue that exist now, by phase."""

    pending: Count = Field(default=0, description="Waiting.")
    running: Count = Field(default=0, description="Being run.")
    retrying: Count = Field(default=0, description="Failed, and waiting to be tried again.")
    succeeded: Count = Field(default=0, description="Ended well.")
    failed: Count = Field(default=0, description="Failed for good.")
    cancelled: Count = Field(default=0, description="Ended by `cancel`.")


class WorkerCounts(Model):
    """Worker pods."""

    desired: Count = Field(default=0, description="Wanted pods.")
    replicas: Count = Field(default=0, description="Pods that exist.")
    ready: Count = Field(default=0, description="Pods that consume.")
    busy: Count | None = Field(
        default=None,
        description="Slots that run a Task, of `concurrency` in each pod; absent: not known yet.",
    )
    selector: Annotated[str, Field(max_length=512)] = Field(
        default="", description="Label selector of the pods, for `kubectl scale` and the HPA."
    )


TokenQueueState = Literal["Filling", "Whole"]


class TaskQueueStatus(Model):
    """The observed queue and workers."""

    observed_generation: Annotated[int, Field(ge=-1)] = Field(
        default=-1, description="The `metadata.generation` that was last reconciled."
    )
    tasks: TaskCounts = Field(default=TaskCounts(), description="Tasks by phase.")
    dead_letters: Count | None = Field(
        default=None,
        description="Messages in the dead-letter queue, as last counted; absent: not counted yet.",
    )
    backlog: Count | None = Field(
        default=None,
        description="What the workers have to do now, and what scaling goes by: the Tasks that "
        "are due, waiting or running, or the messages in the work queue, waiting or running, "
        "whichever are more. Delayed Tasks count once they are due, dead letters never. Absent: "
        "not known yet.",
    )
    workers: WorkerCounts = Field(default=WorkerCounts(), description="Worker pods.")
    dispatched_through: Annotated[str, Field(max_length=32)] | None = Field(
        default=None,
        description="Every waiting Task created before this has been published for certain; a "
        "restarted operator does not publish it again.",
    )
    token_queues: Annotated[dict[str, TokenQueueState], Field(max_length=1000)] | None = Field(
        default=None,
        description="By name, the queues in RabbitMQ that hold the tokens of `workers.rateLimit` "
        "and `workers.maxRunning`. `Filling`: begun, and made anew if the operator ends before it "
        "is `Whole`.",
    )
    conditions: Conditions = Field(
        default=[],
        description="`Ready`, and what it is made of: `BrokerReady`, `WorkersReady`, "
        "`WorkerCredentials`. Beside it: `DeadLetterLimits`, `Priorities`, and, where the number "
        "of workers is not fixed, `Scaling` with the last decision on it.",
    )


class TaskQueue(Model):
    """A queue of Tasks in RabbitMQ, with the workers that run them."""

    model_config = ConfigDict(title="TaskQueue", json_schema_extra=METADATA_RULES)

    spec: TaskQueueSpec
    status: TaskQueueStatus = TaskQueueStatus()
