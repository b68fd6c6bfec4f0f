"""How many priorities RabbitMQ tells apart in a TaskQueue's queue, and what to say of it."""

from taskqueue_api.rabbitmq import Version, priority_levels
from taskqueue_operator.domain.readiness import Finding

_WAY_OUT = "use spec.queue.type Classic in a new TaskQueue, or RabbitMQ 4.3 or later"


def describe_priorities(queue_type: str, version: Version) -> Finding:
    """Return whether `spec.priority` of Tasks does all that it promises.

    version: RabbitMQ's; (0, 0): unknown.
    """
    if version == (0, 0):
        return Finding("Unknown", "VersionUnknown", "RabbitMQ does not say its version")
    levels = priority_levels(queue_type, version)
    broker = f"RabbitMQ {version[0]}.{version[1]}"
    if levels == 1:
        return Finding(
            "False",
            "NotSupported",
            f"{broker} ignores priorities in quorum queues: Tasks run in the order of their "
            f"messages; {_WAY_OUT}",
        )
    if levels == 2:
        return Finding(
            "False",
            "TwoLevels",
            f"{broker} tells two priorities apart in quorum queues, 0 to 4 and 5 to 9, and takes "
            f"two of the higher for each of the lower; {_WAY_OUT}",
        )
    return Finding("True", "AllLevels", f"{broker} tells priorities 0 to 9 apart")
