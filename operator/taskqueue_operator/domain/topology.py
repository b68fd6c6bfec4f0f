"""What must exist in RabbitMQ for a TaskQueue, as data; the broker edge declares it."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from taskqueue_api.dead_letters import LENGTH_MOST
from taskqueue_api.names import (
    CONTROL_EXCHANGE,
    DEAD_LETTER_EXCHANGE,
    DELAY_EXCHANGE,
    DUE_EXCHANGE,
    EXCHANGE,
    UNROUTED_EXCHANGE,
    UNROUTED_KEY,
    UNROUTED_QUEUE,
    QueueName,
    dead_letter_queue,
    delay_key,
    work_queue,
)
from taskqueue_api.rabbitmq import Version, has_delivery_limit, knows_consumer_timeout

UNROUTED_MAX = 10_000

CONSUMER_TIMEOUT_MS = int((24 + 0.5) * 3600 * 1000)
"""Longest timeout that a TaskQueue may have, plus 30 minutes. A constant, because queue
arguments are immutable: one that followed spec.timeout would make every edit of it fail."""

PRIORITY_MAX = 9


@dataclass(frozen=True)
class Exchange:
    """A durable exchange."""

    name: str
    type: str
    arguments: dict[str, Any] = field(default_factory=dict)


class Binding(NamedTuple):
    """What a queue or an exchange gets: messages of an exchange by a key."""

    exchange: str
    routing_key: str


@dataclass(frozen=True)
class Queue:
    """A durable queue and what it is bound to."""

    name: str
    arguments: dict[str, Any]
    bindings: tuple[Binding, ...]


@dataclass(frozen=True)
class Topology:
    """Everything that is declared for one TaskQueue, in this order."""

    exchanges: tuple[Exchange, ...]
    shared: tuple[Queue, ...]
    work: Queue
    dead_letters: Queue
    all_queues: tuple[Queue, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "all_queues", (*self.shared, self.dead_letters, self.work))


def build_topology(
    *, namespace: str, name: str, queue_type: str, cluster: str, version: Version
) -> Topology:
    """Return the topology of a TaskQueue.

    cluster: UID of the cluster, which marks the vhost as its own.
    version: RabbitMQ's (major, minor); arguments that it does not know are left out.
    """
    return Topology(
        exchanges=(
            Exchange(EXCHANGE, "direct"),
            Exchange(DEAD_LETTER_EXCHANGE, "topic"),
            Exchange(UNROUTED_EXCHANGE, "fanout"),
            # Without an alternate, 32 delayed messages of one deleted queue hold up everybody's:
            # a level hands on so many at a time, and keeps each until it is taken.
            Exchange(DUE_EXCHANGE, "topic", {"alternate-exchange": UNROUTED_EXCHANGE}),
            Exchange(CONTROL_EXCHANGE, "topic"),
        ),
        shared=(_unrouted(cluster),),
        work=Queue(
            name=work_queue(namespace, name),
            arguments=_work_arguments(queue_type, version),
            bindings=(
                Binding(EXCHANGE, work_queue(namespace, name)),
                Binding(DUE_EXCHANGE, f"#.{work_queue(namespace, name)}"),
            ),
        ),
        dead_letters=Queue(
            name=dead_letter_queue(namespace, name),
            arguments={
                "x-queue-type": queue_type.lower(),
                "x-max-length": LENGTH_MOST,
                "x-overflow": "drop-head",
                **_without_delivery_limit(queue_type, version),
            },
            bindings=(Binding(DEAD_LETTER_EXCHANGE, dead_letter_queue(namespace, name)),),
        ),
    )


def route(queue: QueueName, delay: timedelta) -> Binding:
    """Return where a message for a work queue is published, to be there after a delay."""
    if delay > timedelta():
        return Binding(DELAY_EXCHANGE, delay_key(delay, queue))
    return Binding(EXCHANGE, queue)


def build_patient_arguments(queue_type: str, version: Version) -> dict[str, Any]:
    """Return the arguments of a queue whose messages are held for as long as a Task runs."""
    arguments: dict[str, Any] = {"x-queue-type": queue_type.lower()}
    if knows_consumer_timeout(queue_type, version):
        arguments["x-consumer-timeout"] = CONSUMER_TIMEOUT_MS
    return arguments | _without_delivery_limit(queue_type, version)


def _work_arguments(queue_type: str, version: Version) -> dict[str, Any]:
    priorities = {"x-max-priority": PRIORITY_MAX} if queue_type == "Classic" else {}
    return build_patient_arguments(queue_type, version) | priorities


def _without_delivery_limit(queue_type: str, version: Version) -> dict[str, Any]:
    """Return the argument that keeps a message however often it is given back.

    Where there is a limit, it is 20 times: a Task would go behind our back, and a dead letter that
    people looked at so often.
    """
    return {"x-delivery-limit": -1} if has_delivery_limit(queue_type, version) else {}


def _unrouted(cluster: str) -> Queue:
    """Return the queue that takes what belongs to nobody, and marks whose vhost this is.

    RabbitMQ compares the dead-letter arguments of a declaration with the queue's own, so a
    second cluster is refused with 406 and both UIDs. What overflows goes to a key of the
    default exchange that no queue has, that is, nowhere.
    """
    return Queue(
        name=UNROUTED_QUEUE,
        arguments={
            "x-queue-type": "classic",
            "x-max-length": UNROUTED_MAX,
            "x-overflow": "drop-head",
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": f"cluster-{cluster}",
        },
        bindings=(
            Binding(DEAD_LETTER_EXCHANGE, UNROUTED_KEY),
            Binding(UNROUTED_EXCHANGE, ""),
        ),
    )
