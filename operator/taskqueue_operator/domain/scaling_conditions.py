"""The condition that says why a TaskQueue has as many workers as it has."""

from taskqueue_api.conditions import MESSAGE_MAX, Condition, ConditionStatus
from taskqueue_operator.domain.scaling import Decision

SCALING = "Scaling"

_STATUSES: dict[str, ConditionStatus] = {
    "Blocked": "False",
    "CapReached": "False",
    "Paused": "False",
    "BacklogUnknown": "Unknown",
}


def describe_decision(decision: Decision, trouble: str, generation: int) -> Condition:
    """Return the condition for a decision: True while the workers follow the backlog.

    trouble: why RabbitMQ tells less than it should; empty: it does not.
    """
    more = f"; of the messages, those at work are not known: {trouble}" if trouble else ""
    return Condition(
        type=SCALING,
        status=_STATUSES.get(decision.reason, "True"),
        reason=decision.reason,
        message=f"{decision.message}{more}"[:MESSAGE_MAX],
        observed_generation=generation,
    )
