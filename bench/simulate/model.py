"""How busy each part is with so many Tasks, which one is too small first, and what to do then."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bench.simulate.costs import Costs

BUSY = 0.7
"""Beyond this share of its room a part is too small: at three quarters Tasks already queue up."""

GIB = 2**30
DEFAULT_QUOTA, ADVISED_QUOTA = 2 * GIB, 8 * GIB
"""etcd's size: by default, and the most that is advised (etcd.io/docs/latest/dev-guide/limit)."""

KEPT_SECONDS = 600
"""The API server compacts etcd every 5 minutes, and spares what is younger than 5 minutes."""

OLD_REVISIONS = 2
"""Of a Task that comes and goes: what its outcome and its deletion have replaced."""


FEWER_OBJECTS = (
    "one Task for many small pieces of work (there is no kind for batches yet), messages "
    "without a Task, or another cluster"
)


class Part(StrEnum):
    """What can be too small. Workers cannot: there are as many pods as are needed."""

    API_SERVER = "API server"
    ETCD = "etcd"
    ETCD_SIZE = "etcd's size"
    RABBITMQ = "RabbitMQ"
    OPERATOR = "operator"
    OPERATOR_MEMORY = "operator's memory"


@dataclass(frozen=True)
class Load:
    """Tasks a second that come and, once some time has passed, go; kept: those that stay."""

    rate: float
    kept: int

    def times(self, factor: int) -> "Load":
        """Return so many times as much."""
        return Load(self.rate * factor, self.kept * factor)


@dataclass(frozen=True)
class Room:
    """What each part has. cores: of API server, etcd and RabbitMQ, each; the rest is bytes."""

    cores: float = 4.0
    etcd_bytes: float = DEFAULT_QUOTA
    operator_bytes: float = 512 * 2**20  # the chart's limit


@dataclass(frozen=True)
class Need:
    """What one part needs, and what one of it has: cores or bytes."""

    part: Part
    amount: float
    room: float

    @property
    def share(self) -> float:
        """How much of its room it fills."""
        return self.amount / self.room

    @property
    def is_met(self) -> bool:
        """Whether one is enough."""
        return self.share <= BUSY

    @property
    def pieces(self) -> int:
        """How many of it are enough."""
        return max(1, math.ceil(self.share / BUSY))


@dataclass(frozen=True)
class Outlook:
    """What a load needs. needs: the tightest first. worker_cores: without the handlers' own."""

    load: Load
    needs: tuple[Need, ...]
    worker_cores: float

    @property
    def by_part(self) -> Mapping[Part, Need]:
        """What each part needs, but for what was never measured."""
        return {need.part: need for need in self.needs}


def find_outlook(costs: Costs, load: Load, room: Room) -> Outlook:
    """Return what a load needs. An operator is one process, so it has one core at most."""
    cores = {name: load.rate * used / 1000 for name, used in costs.cpu_ms.items()}
    needs = [
        Need(Part.API_SERVER, cores["api_server"], room.cores),
        Need(Part.ETCD, cores["etcd"], room.cores),
        Need(Part.ETCD_SIZE, find_etcd_bytes(costs, load), room.etcd_bytes),
        Need(Part.RABBITMQ, cores["rabbitmq"], room.cores),
        Need(Part.OPERATOR, cores["operator"], 1.0),
    ]
    if costs.memory is not None:
        most = costs.memory.base + costs.memory.per_task * load.kept
        needs.append(Need(Part.OPERATOR_MEMORY, most, room.operator_bytes))
    needs.sort(key=lambda need: -need.share)
    return Outlook(load, tuple(needs), cores["worker"])


def find_etcd_bytes(costs: Costs, load: Load) -> float:
    """Return what etcd holds before a compaction: Tasks that stay, and revisions that do not.

    A revision counts as a finished Task does, though that of the creation is smaller.
    """
    return costs.task_bytes * (load.kept + load.rate * OLD_REVISIONS * KEPT_SECONDS)


def decide_advice(need: Need) -> str:
    """Return what to do about a part that is too small."""
    match need.part:
        case Part.API_SERVER:
            return f"{need.pieces} API servers, or larger ones; {FEWER_OBJECTS}"
        case Part.ETCD:
            return f"more processors; {FEWER_OBJECTS}"
        case Part.ETCD_SIZE:
            larger = need.amount <= ADVISED_QUOTA * BUSY
            quota = "a quota of 8 GiB; " if larger else "8 GiB are too little as well: "
            return f"{quota}a shorter `history` or `ttlAfterFinished`; {FEWER_OBJECTS}"
        case Part.RABBITMQ:
            return f"{need.pieces} brokers, each with TaskQueues of its own (`spec.broker`)"
        case Part.OPERATOR:
            return (
                f"{need.pieces} releases that share the work: by namespaces, or by shards, "
                "then rather one more, since each sees every event (docs/sharding.md)"
            )
        case Part.OPERATOR_MEMORY:
            return "a higher `resources.limits.memory`, or a shorter `history`; shards divide it"
