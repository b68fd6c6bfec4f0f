"""What a soak does and when, as data: the same for the same seed."""

import random
from dataclasses import dataclass
from typing import Any

QUEUES = ("quorum", "classic", "always")
"""TaskQueues: the last one has `claim: Always`."""

TASKS_PER_SECOND = 6.0
FAULT_PAUSE_SECONDS = (12.0, 22.0)
_CANCEL_SECONDS = 4.0
_LATER_SECONDS = (5, 20)

FAULTS = (
    "worker killed",
    "worker deleted",
    "worker drained",
    "workers replaced",
    "operator killed",
    "operator deleted",
    "API server killed",
    "etcd killed",
    "RabbitMQ killed",
    "RabbitMQ wiped",
    "queue deleted",
    "API server unreachable",
    "RabbitMQ unreachable",
)


@dataclass(frozen=True)
class NewTask:
    """A Task to create.

    at: seconds from the start. intended: the phase that it has to end in.
    later: seconds from its creation before it may start. cancel: seconds after which it is
        cancelled.
    """

    at: float
    name: str
    queue: str
    handler: str
    payload: dict[str, Any]
    intended: str = "Succeeded"
    later: int | None = None
    cancel: float | None = None


@dataclass(frozen=True)
class Fault:
    """Something to break. draw: a number from 0 to 1, to choose what by."""

    at: float
    kind: str
    queue: str
    draw: float


@dataclass(frozen=True)
class Plan:
    """What is done, each list in order of time."""

    tasks: list[NewTask]
    faults: list[Fault]


def make_plan(seed: int, seconds: float) -> Plan:
    """Return what a soak of so many seconds does."""
    rng = random.Random(seed)  # noqa: S311 - nothing secret
    tasks: list[NewTask] = []
    at = 0.0
    while at < seconds:
        tasks.append(_new_task(rng, at, f"task-{len(tasks):05}"))
        at += rng.expovariate(TASKS_PER_SECOND)
    faults: list[Fault] = []
    at = rng.uniform(*FAULT_PAUSE_SECONDS)
    while at < seconds:
        if len(faults) % len(FAULTS) == 0:
            # Each comes before any comes again.
            order = rng.sample(FAULTS, len(FAULTS))
        kind = order[len(faults) % len(FAULTS)]
        faults.append(Fault(at, kind, rng.choice(QUEUES), rng.random()))
        at += rng.uniform(*FAULT_PAUSE_SECONDS)
    return Plan(tasks, faults)


def _new_task(rng: random.Random, at: float, name: str) -> NewTask:
    queue, kind = rng.choice(QUEUES), rng.random()
    if kind < 0.55:
        return NewTask(at, name, queue, "slow", {"seconds": round(rng.uniform(0, 0.4), 2)})
    if kind < 0.65:
        return NewTask(at, name, queue, "slow", {"seconds": round(rng.uniform(2, 6), 2)})
    if kind < 0.80:
        return NewTask(at, name, queue, "flaky", {"failures": rng.choice((1, 2))})
    if kind < 0.88:
        return NewTask(at, name, queue, "reject", {}, "Failed")
    if kind < 0.96:
        after = round(rng.uniform(0, _CANCEL_SECONDS), 2)
        return NewTask(at, name, queue, "slow", {"seconds": 60}, "Cancelled", cancel=after)
    later = rng.randint(*_LATER_SECONDS)
    return NewTask(at, name, queue, "slow", {"seconds": 0.1}, later=later)
