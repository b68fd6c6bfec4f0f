"""The part of the API that says which finished Tasks are kept, and for how long."""

from typing import Annotated

from pydantic import ConfigDict, Field

from taskqueue_api.schema import Model, Rule, duration_rules, rules

LIMIT_MOST = 100_000

Ttl = Annotated[str, Field(max_length=32, json_schema_extra=duration_rules("0s", "8760h"))]
"""How long after its end a Task is deleted; `0s`: at once."""


class HistorySpec(Model):
    """Which finished Tasks are deleted, and when."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "has(self.succeeded) || has(self.failed) || has(self.limit)",
                "at least one of succeeded, failed and limit must be set: without them nothing "
                "is deleted",
            )
        )
    )

    succeeded: Ttl | None = Field(
        default=None,
        description="A Task that has succeeded is deleted so long after its end. Default: its "
        "age is no reason to delete it.",
    )
    failed: Ttl | None = Field(
        default=None, description="The same for a Task that has failed, or was cancelled."
    )
    limit: Annotated[int, Field(ge=0, le=LIMIT_MOST)] | None = Field(
        default=None,
        description="At most so many finished Tasks of the queue are kept: those that finished "
        "last. Default: no limit.",
    )
    git_ops: bool = Field(
        default=False,
        description="Delete also Tasks that Argo CD or Flux track, and hooks of Argo CD and Helm. "
        "By default they are kept, because the tool would create them again, and so they would "
        "run again.",
    )
