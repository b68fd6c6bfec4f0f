"""Which dead letters RabbitMQ drops, as an operator policy.

Operator policies are merged with whatever ordinary policy applies to a queue, and the lower number
wins, so that neither hides the other. Only one operator policy applies to a queue; hence the
priority, by which one that a person has made goes before ours.
"""

from datetime import timedelta
from typing import Any, NamedTuple

from taskqueue_api.dead_letters import LENGTH_MOST, DeadLetterSpec
from taskqueue_api.durations import parse_duration
from taskqueue_api.names import dead_letter_pattern, dead_letter_policy
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.domain.readiness import Finding
from taskqueue_operator.errors import ManagementError, ManagementUnavailableError

PRIORITY = -1
"""Below the default of 0."""

QUEUE_DEFAULT = "QueueDefault"
"""The reason where no limits are asked for."""


class LimitPolicy(NamedTuple):
    """An operator policy. definition: None: it is not to be there."""

    name: str
    pattern: str
    definition: dict[str, int] | None

    def to_json(self) -> dict[str, Any]:
        """Return it as the management API takes it."""
        return {
            "pattern": self.pattern,
            "definition": self.definition,
            "priority": PRIORITY,
            "apply-to": "queues",
        }


def build_limits(key: QueueKey, spec: DeadLetterSpec | None) -> LimitPolicy:
    """Return the policy that a TaskQueue's `spec.deadLetter` asks for."""
    definition = {}
    if spec and spec.max_length is not None:
        definition["max-length"] = spec.max_length
    if spec and spec.ttl is not None:
        definition["message-ttl"] = parse_duration(spec.ttl) // timedelta(milliseconds=1)
    return LimitPolicy(dead_letter_policy(*key), dead_letter_pattern(*key), definition or None)


def describe_limits(policy: LimitPolicy, applied: str | None) -> Finding:
    """Return what is true once the policy is there, or gone.

    applied: name of the operator policy that RabbitMQ applies to the queue; None: it does not say.
    """
    if policy.definition is None:
        return Finding("True", QUEUE_DEFAULT, f"the newest {LENGTH_MOST} are kept, of any age")
    if applied and applied != policy.name:
        return Finding(
            "False",
            "OtherPolicy",
            f"RabbitMQ applies operator policy '{applied}' to the queue, and one only: give that "
            f"one these limits, or a pattern that does not match '{policy.name}'",
        )
    limits = ", ".join(f"{name} {value}" for name, value in policy.definition.items())
    return Finding("True", "LimitsSet", f"operator policy '{policy.name}' has {limits}")


def describe_unlimited(policy: LimitPolicy, error: ManagementError) -> Finding:
    """Return what is true while the management API cannot be used."""
    if policy.definition is None:
        # Without it there were never other limits, or they go as soon as it is back.
        return Finding(
            "True",
            QUEUE_DEFAULT,
            f"the newest {LENGTH_MOST} are kept, of any age; that no limits of before are left "
            f"cannot be checked: {error}",
        )
    if isinstance(error, ManagementUnavailableError):
        return Finding(
            "False", "ManagementUnavailable", f"the limits cannot be set or checked: {error}"
        )
    return Finding(
        "False",
        "ManagementRefused",
        f"the limits cannot be set: {error}; the broker's user needs the tag 'administrator', and "
        "the broker must allow changes of operator policies",
    )
