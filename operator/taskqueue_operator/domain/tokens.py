"""The tokens of a TaskQueue's limits, as queues in RabbitMQ: a handler needs one of each.

A token of `maxRunning` is taken and not acknowledged while its handler runs; RabbitMQ gives it back
when its worker is lost. One of `rateLimit` is rejected when its handler starts, which moves it to a
cooling queue; there it dies after `per`, which moves it back. RabbitMQ drops no message for going
round in circles where a rejection is part of the circle.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskqueue_api.durations import parse_duration
from taskqueue_api.names import WORKER_CONTAINER, cooling_queue, rate_tokens, running_tokens
from taskqueue_api.rabbitmq import Version
from taskqueue_api.taskqueue import WorkersSpec
from taskqueue_operator.domain.topology import Queue, build_patient_arguments

RUNNING_VARIABLE = "TASKQUEUE_RUNNING_TOKENS"
RATE_VARIABLE = "TASKQUEUE_RATE_TOKENS"

COOLING_MARGIN = timedelta(milliseconds=100)
"""A handler's process may begin that much later than its token was spent."""

_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Tokens:
    """A queue with `count` tokens. cooling: where spent ones wait; None: they are not spent."""

    queue: Queue
    count: int
    cooling: Queue | None = None

    @property
    def queues(self) -> tuple[Queue, ...]:
        """All queues of these tokens."""
        return (self.queue,) if self.cooling is None else (self.cooling, self.queue)


def name_tokens(namespace: str, name: str, workers: WorkersSpec) -> dict[str, str]:
    """Return the queue of each limit that is set, by the variable that tells workers of it."""
    queues: dict[str, str] = {}
    if workers.max_running is not None:
        queues[RUNNING_VARIABLE] = running_tokens(namespace, name, workers.max_running)
    limit = workers.rate_limit
    if limit is not None:
        per = parse_duration(limit.per)
        queues[RATE_VARIABLE] = rate_tokens(namespace, name, limit.tasks, per)
    return queues


def build_tokens(
    namespace: str, name: str, workers: WorkersSpec, version: Version
) -> tuple[Tokens, ...]:
    """Return the tokens of each limit that is set.

    version: RabbitMQ's (major, minor); arguments that it does not know are left out.
    """
    names = name_tokens(namespace, name, workers)
    found = []
    if workers.max_running is not None:
        arguments = build_patient_arguments("Quorum", version)
        running = Queue(names[RUNNING_VARIABLE], arguments, ())
        found.append(Tokens(running, workers.max_running))
    limit = workers.rate_limit
    if limit is not None:
        per = parse_duration(limit.per)
        found.append(_build_rate(names[RATE_VARIABLE], limit.tasks, per, version))
    return tuple(found)


def _build_rate(name: str, tasks: int, per: timedelta, version: Version) -> Tokens:
    cooling = cooling_queue(name)
    milliseconds = (per + COOLING_MARGIN) // _MILLISECOND
    arguments = build_patient_arguments("Quorum", version) | _leading_to(cooling)
    back = {"x-queue-type": "quorum", "x-message-ttl": milliseconds} | _leading_to(name)
    return Tokens(Queue(name, arguments, ()), tasks, Queue(cooling, back, ()))


def _leading_to(queue: str) -> dict[str, Any]:
    """Return the arguments that move dead messages to another queue, and lose none on the way."""
    return {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
        # The message leaves only when the other queue has it; RabbitMQ asks for the overflow.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def read_tokens(deployment: Mapping[str, Any]) -> set[str]:
    """Return the queues of tokens that the pods of a Deployment's template take from."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return {
        variable.get("value", "")
        for container in containers
        if container["name"] == WORKER_CONTAINER
        for variable in container.get("env", [])
        if variable["name"] in (RUNNING_VARIABLE, RATE_VARIABLE)
    }
