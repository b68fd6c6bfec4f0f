"""The part of the API that says how the number of worker pods follows the backlog."""

from typing import Annotated

from pydantic import ConfigDict, Field

from taskqueue_api.schema import Model, Rule, duration_rules, rules

PODS_MOST = 1000
"""The most worker pods of one TaskQueue."""

Stabilization = Annotated[str, Field(max_length=32, json_schema_extra=duration_rules("0s", "1h"))]
Period = Annotated[str, Field(max_length=32, json_schema_extra=duration_rules("1s", "1h"))]
Step = Annotated[int, Field(ge=1, le=PODS_MOST)]

_PERIOD = "The time that `maxStep` is counted in."


class ScaleUpSpec(Model):
    """How pods are added."""

    stabilization: Stabilization = Field(
        default="0s",
        description="How long more pods must have been needed before they come; `0s`: at once. "
        "The first one always comes at once.",
    )
    max_step: Step | None = Field(
        default=None, description="At most so many pods more within `period`. Default: no limit."
    )
    period: Period = Field(default="15s", description=_PERIOD)


class ScaleDownSpec(Model):
    """How pods are taken away."""

    stabilization: Stabilization = Field(
        default="1m",
        description="How long fewer pods must have been enough before the others go; `0s`: at "
        "once.",
    )
    max_step: Step | None = Field(
        default=None, description="At most so many pods fewer within `period`. Default: no limit."
    )
    period: Period = Field(default="15s", description=_PERIOD)


class ScalingSpec(Model):
    """How the number of worker pods follows the backlog."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self.minReplicas <= self.maxReplicas",
                # Joined by `+`, numbers as text are of unbounded cost to the API server.
                '"minReplicas must be at most maxReplicas, %d, not %d"'
                ".format([self.maxReplicas, self.minReplicas])",
                shows_value=True,
                fallback="minReplicas must be at most maxReplicas",
            )
        )
    )

    min_replicas: Annotated[int, Field(ge=0, le=PODS_MOST)] = Field(
        default=0, description="There are never fewer pods, but for `paused`."
    )
    max_replicas: Annotated[int, Field(ge=1, le=PODS_MOST)] = Field(
        default=10, description="There are never more pods."
    )
    target_per_slot: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1,
        description="How many Tasks there may be for each slot, those that run included. A pod "
        "has `concurrency` slots. 1: a slot for each Task.",
    )
    scale_up: ScaleUpSpec = Field(default=ScaleUpSpec(), description="How pods are added.")
    scale_down: ScaleDownSpec = Field(
        default=ScaleDownSpec(), description="How pods are taken away."
    )
    idle_before_zero: Annotated[
        str, Field(max_length=32, json_schema_extra=duration_rules("0s", "24h"))
    ] = Field(
        default="5m",
        description="How long nothing may be due or running before the last pod goes. Of use only "
        "with `minReplicas: 0`.",
    )
