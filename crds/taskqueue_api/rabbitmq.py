"""What differs between versions of RabbitMQ, as far as both operator and workers care."""

from collections.abc import Mapping
from typing import Any

Version = tuple[int, int]
"""(major, minor)."""

_NORMAL_PRIORITY = 4


def read_version(server_properties: Mapping[str, Any] | None) -> Version:
    """Return RabbitMQ's version as it says itself; (0, 0) when it says nothing readable."""
    value = (server_properties or {}).get("version", "")
    text = value.decode() if isinstance(value, bytes) else str(value)
    major, _, rest = text.partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else (0, 0)


def knows_consumer_timeout(queue_type: str, version: Version) -> bool:
    """Return whether a queue may be declared with `x-consumer-timeout`.

    It is known since 3.12. From 4.3 on classic queues have no such timeout, and since 4.3.2 they
    refuse the argument (rabbitmq-server issues 16983 and 17144).
    """
    return version >= (3, 12) and not (queue_type == "Classic" and version >= (4, 3))


def has_delivery_limit(queue_type: str, version: Version) -> bool:
    """Return whether a queue drops what was given back 20 times, unless told otherwise.

    Before 4.0 quorum queues have no limit by default, and refuse a negative one.
    """
    return queue_type == "Quorum" and version >= (4, 0)


def priority_levels(queue_type: str, version: Version) -> int:
    """Return how many of the priorities 0 to 9 a queue tells apart.

    queue_type: `Quorum` or `Classic`, the latter declared with `x-max-priority` 9.
    Source: RabbitMQ's rabbit_fifo: none before 4.0, then two, and 32 from 4.3 on.
    """
    if queue_type == "Classic" or version >= (4, 3):
        return 10
    return 2 if version >= (4, 0) else 1


def delayed_priority(priority: int | None, version: Version) -> int | None:
    """Return the priority that a message may have while it is delayed.

    Quorum queues of 4.0 to 4.2 keep messages of priority 5 and above apart, and look for expired
    ones only at the head of those while there are any (rabbit_fifo:expire_msgs). With a high
    priority in the ladder, everybody else's delays would end late or never.
    """
    if priority is None or not (4, 0) <= version < (4, 3):
        return priority
    return min(priority, _NORMAL_PRIORITY)
