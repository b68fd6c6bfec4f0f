"""Which of several operators serves a TaskQueue, and all that belongs to it.

By the namespace and the name of the queue alone: so the shard of a Task is known from its
`spec.queue`, before there is such a TaskQueue. The numbers that come out must never change, or
operators of two versions would both serve a queue, or neither.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

from taskqueue_api.names import QUEUE_LABEL, TASKQUEUES, TASKS
from taskqueue_operator.domain.dispatching import QueueKey

SHARDS_MOST = 99

_REMEMBERED = 16_384
"""Shards of TaskQueues, so that an event of a Task costs no hash."""


class Shard(NamedTuple):
    """One operator's part of the TaskQueues. number: from 1 to `of`."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def is_whole(self) -> bool:
        """Whether it is all of them."""
        return self.of == 1

    def serves(self, queue: QueueKey) -> bool:
        """Return whether a TaskQueue belongs to this shard, be it there or not."""
        return self.is_whole or find_shard(queue.namespace, queue.name, self.of) == self.number

    def concerns(self, plural: str, body: Mapping[str, Any]) -> bool:
        """Return whether an object of a kind is this shard's business, or nobody's of ours."""
        queue = find_queue(plural, body)
        return queue is None or self.serves(queue)

    def lease_name(self, base: str) -> str:
        """Return the name of the Lease by which the operators of this shard alone agree."""
        return base if self.is_whole else f"{base}-shard-{self.number}-of-{self.of}"


WHOLE = Shard(1, 1)


def parse_shard(text: str) -> Shard:
    """Return the shard that `i/n` names. Raises ValueError, which says what is expected."""
    found = re.fullmatch(r"([1-9][0-9]?)/([1-9][0-9]?)", text)
    shard = Shard(int(found[1]), int(found[2])) if found else None
    if shard is None or shard.number > shard.of:
        raise ValueError(
            f"must be i/n with i from 1 to n, and n at most {SHARDS_MOST}, "
            f"such as 2/4 for the second of four shards, not '{text}'"
        )
    return shard


@lru_cache(_REMEMBERED)
def find_shard(namespace: str, name: str, shards: int) -> int:
    """Return the number, from 1, of a TaskQueue's shard.

    A jump consistent hash (Lamping and Veach, 2014): with more shards a TaskQueue stays where it
    is or goes to one of the new ones, never from one of the old ones to another.
    """
    key = int.from_bytes(sha256(f"{namespace}/{name}".encode()).digest()[:8], "big")
    found, jump = 0, 0
    while jump < shards:
        found = jump
        key = (key * 2862933555777941757 + 1) % 2**64
        jump = ((found + 1) << 31) // ((key >> 33) + 1)
    return found + 1


def find_queue(plural: str, body: Mapping[str, Any]) -> QueueKey | None:
    """Return the TaskQueue that a TaskQueue, a Task or an owned object is about.

    plural: of the object's kind. None: the object tells of none.
    """
    metadata = body.get("metadata") or {}
    if plural == TASKQUEUES:
        name = metadata.get("name")
    elif plural == TASKS:
        name = (body.get("spec") or {}).get("queue")
    else:
        name = (metadata.get("labels") or {}).get(QUEUE_LABEL)
    namespace = metadata.get("namespace")
    return QueueKey(namespace, name) if namespace and name else None
