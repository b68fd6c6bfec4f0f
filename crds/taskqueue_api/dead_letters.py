"""The part of the API that says how many dead letters are kept, and for how long."""

from typing import Annotated

from pydantic import ConfigDict, Field

from taskqueue_api.schema import Model, Rule, duration_rules, rules

LENGTH_MOST = 100_000
"""The length that the queue is declared with, for good: a policy can only go below it."""

TTL_LEAST = "1s"
TTL_MOST = "1176h"
"""49 days: RabbitMQ takes no TTL above 2**32 - 1 ms."""


class DeadLetterSpec(Model):
    """Which dead letters RabbitMQ drops."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.maxLength) || has(self.ttl)",
                "at least one of maxLength and ttl must be set: without them nothing changes",
            )
        )
    )

    max_length: Annotated[int, Field(ge=1, le=LENGTH_MOST)] | None = Field(
        default=None,
        description="At most so many dead letters are kept; the oldest are dropped first. "
        f"Default: {LENGTH_MOST}, which is also the most.",
    )
    ttl: (
        Annotated[str, Field(max_length=32, json_schema_extra=duration_rules(TTL_LEAST, TTL_MOST))]
        | None
    ) = Field(
        default=None,
        description="A dead letter that comes after this is set is dropped so long after it has "
        "come. Default: its age is no reason to drop it.",
    )
