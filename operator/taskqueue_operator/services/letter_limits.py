"""Keeps the limits of each TaskQueue's dead letters as its spec has them."""

from taskqueue_api.dead_letters import DeadLetterSpec
from taskqueue_operator.domain.broker_address import BrokerAddress
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.domain.letter_limits import (
    build_limits,
    describe_limits,
    describe_unlimited,
)
from taskqueue_operator.domain.readiness import Finding
from taskqueue_operator.errors import ManagementError
from taskqueue_operator.services.brokers import Brokers


class LetterLimits:
    """Operator policies over the management API; without one there are no limits, and no fault."""

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers

    async def ensure(
        self, key: QueueKey, address: BrokerAddress, spec: DeadLetterSpec | None
    ) -> Finding:
        """Set or take away the limits; return how that went."""
        policy = build_limits(key, spec)
        applied = None
        try:
            management = await self._brokers.management(address)
            if policy.definition is None:
                await management.delete_operator_policy(policy.name)
            elif not await management.ensure_operator_policy(policy.name, policy.to_json()):
                # It was there already: RabbitMQ shows what applies some seconds late.
                applied = await management.operator_policy_of(policy.name)
        except ManagementError as error:
            self._brokers.forget_management(address, error)
            return describe_unlimited(policy, error)
        return describe_limits(policy, applied)

    async def remove(self, key: QueueKey, address: BrokerAddress) -> None:
        """Take the limits away. Raises ManagementError."""
        management = await self._brokers.management(address)
        await management.delete_operator_policy(build_limits(key, None).name)
