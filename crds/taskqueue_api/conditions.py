"""Conditions: the machine-readable part of a status, and how one list becomes the next."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from taskqueue_api.schema import Model, list_map

MESSAGE_MAX = 2048

ConditionStatus = Literal["True", "False", "Unknown"]


class Condition(Model):
    """One observation of the object's state."""

    type: Annotated[str, Field(max_length=64)] = Field(description="What is observed.")
    status: ConditionStatus = Field(description="Whether it holds.")
    reason: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        description="CamelCase reason of the last transition, for programs."
    )
    message: Annotated[str, Field(max_length=MESSAGE_MAX)] = Field(
        default="", description="The same, for people."
    )
    last_transition_time: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="When `status` last changed; absent in a default."
    )
    observed_generation: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="The `metadata.generation` that the condition is about."
    )


Conditions = Annotated[list[Condition], Field(max_length=16, json_schema_extra=list_map("type"))]


def rfc3339(moment: datetime) -> str:
    """Return a moment as Kubernetes writes it: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_milli(moment: datetime) -> str:
    """Return a moment in UTC with milliseconds, for what is due within less than a second."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_micro(moment: datetime) -> str:
    """Return a moment in UTC with microseconds, as Kubernetes' MicroTime."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """Return the moment that Kubernetes wrote as RFC 3339. Raises ValueError."""
    return datetime.fromisoformat(text)


def read_time(text: object) -> datetime | None:
    """Return a moment that anybody may have written; None: it is none that can be meant.

    No schema looks into the times of a status, and what cannot be compared, or overflows when a
    while is added, would end whoever reads it.
    """
    try:
        moment = parse_time(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if moment is None or moment.tzinfo is None:
        return None
    return moment if 1999 <= moment.year <= 2200 else None


def merge_conditions(
    current: Sequence[Condition], changes: Iterable[Condition], now: datetime
) -> list[Condition]:
    """Return the current conditions with the changes applied, by type, in a stable order.

    `last_transition_time` moves only when `status` does. Equal input gives equal output, so
    that a caller can compare and write nothing.
    """
    merged = {condition.type: condition for condition in current}
    for change in changes:
        old = merged.get(change.type)
        same = old is not None and old.status == change.status
        moment = old.last_transition_time if old and same else rfc3339(now)
        merged[change.type] = change.model_copy(
            update={"last_transition_time": moment, "message": change.message[:MESSAGE_MAX]}
        )
    return list(merged.values())
