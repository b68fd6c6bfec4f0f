"""The part of the API that says how many handlers may start and run, over all worker pods."""

from typing import Annotated

from pydantic import Field

from taskqueue_api.schema import Model, duration_rules

RUNNING_MOST = 1000
STARTS_MOST = 10_000

MaxRunning = Annotated[int, Field(ge=1, le=RUNNING_MOST)]


class RateLimitSpec(Model):
    """How many handlers may start within some time."""

    tasks: Annotated[int, Field(ge=1, le=STARTS_MOST)] = Field(
        description="At most so many handlers start within `per`, wherever that time begins."
    )
    per: Annotated[str, Field(max_length=32, json_schema_extra=duration_rules("1s", "24h"))] = (
        Field(description="The time that `tasks` is counted in.")
    )
