"""What must exist in RabbitMQ for a TaskQueue, as data; the broker edge declares it."""

from dataclasses import dataclass, field
from typing import Any

from taskqueue_api.names import (
    DEAD_LETTER_EXCHANGE,
    EXCHANGE,
    UNROUTED_KEY,
    UNROUTED_QUEUE,
    dead_letter_queue,
    work_queue,
)

DEAD_LETTERS_MAX = 100_000
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


@dataclass(frozen=True)
class Queue:
    """A durable queue and the exchange and key it is bound by."""

    name: str
    arguments: dict[str, Any]
    exchange: str
    routing_key: str


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
    *, namespace: str, name: str, queue_type: str, cluster: str, version: tuple[int, int]
) -> Topology:
    """Return the topology of a TaskQueue.

    cluster: UID of the cluster, which marks the vhost as its own.
    version: RabbitMQ's (major, minor); arguments that it does not know are left out.
    """
    return Topology(
        exchanges=(Exchange(EXCHANGE, "direct"), Exchange(DEAD_LETTER_EXCHANGE, "topic")),
        shared=(_unrouted(cluster),),
        work=Queue(
            name=work_queue(namespace, name),
            arguments=_work_arguments(queue_type, version),
            exchange=EXCHANGE,
            routing_key=work_queue(namespace, name),
        ),
        dead_letters=Queue(
            name=dead_letter_queue(namespace, name),
            arguments={
                "x-queue-type": queue_type.lower(),
                "x-max-length": DEAD_LETTERS_MAX,
                "x-overflow": "drop-head",
            },
            exchange=DEAD_LETTER_EXCHANGE,
            routing_key=dead_letter_queue(namespace, name),
        ),
    )


def _work_arguments(queue_type: str, version: tuple[int, int]) -> dict[str, Any]:
    arguments: dict[str, Any] = {"x-queue-type": queue_type.lower()}
    if version >= (3, 12):
        arguments["x-consumer-timeout"] = CONSUMER_TIMEOUT_MS
    if queue_type == "Classic":
        arguments["x-max-priority"] = PRIORITY_MAX
    elif version >= (4, 0):
        # The default of 20 deliveries would drop a Task behind our back; earlier versions
        # have no limit by default and refuse a negative one.
        arguments["x-delivery-limit"] = -1
    return arguments


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
        exchange=DEAD_LETTER_EXCHANGE,
        routing_key=UNROUTED_KEY,
    )
