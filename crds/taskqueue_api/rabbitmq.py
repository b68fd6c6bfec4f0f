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


def delayed_priority(priority: int | None, version: Version) -> int | None:
    """Return the priority that a message may have while it is delayed.

    Quorum queues of 4.0 to 4.2 keep messages of priority 5 and above apart, and look for expired
    ones only at the head of those while there are any (rabbit_fifo:expire_msgs). With a high
    priority in the ladder, everybody else's delays would end late or never.
    """
    if priority is None or not (4, 0) <= version < (4, 3):
        return priority
    return min(priority, _NORMAL_PRIORITY)
