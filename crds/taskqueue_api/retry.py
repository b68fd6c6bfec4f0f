"""The part of the API that says how a failed Task is tried again."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from taskqueue_api.durations import HOLDABLE
from taskqueue_api.retries import (
    ATTEMPTS_MOST,
    FACTOR_DEFAULT,
    FACTOR_MOST,
    INITIAL_DEFAULT,
    JITTER_DEFAULT,
    MAX_ATTEMPTS_DEFAULT,
    MAX_DEFAULT,
    PAUSE_LONGEST,
    PAUSE_SHORTEST,
)
from taskqueue_api.schema import Model, Rule, duration_rules, rules

_INITIAL = f"(has(self.initial) ? self.initial : '{INITIAL_DEFAULT}')"
_MAX = f"(has(self.max) ? self.max : '{MAX_DEFAULT}')"
# Of a default its author knows nothing.
_SAID_INITIAL = (
    '(has(self.initial) ? "\'" + self.initial + "\'" : '
    f"\"which is '{INITIAL_DEFAULT}' by default\")"
)
_SAID_MAX = (
    '(has(self.max) ? "\'" + self.max + "\'" : '
    f"\"'{MAX_DEFAULT}', which is its default: set max too\")"
)


def _only_for(kinds: str, *fields: str) -> Rule:
    """Return the rule that fields are of use for these kinds of backoff only."""
    unset = " && ".join(f"!has(self.{name})" for name in fields)
    names = " and ".join(fields)
    listed = ", ".join(f"'{kind}'" for kind in kinds.split())
    return Rule(
        f"self.type in [{listed}] || ({unset})",
        f'"{names} must not be set when type is \'" + self.type + "\'"',
        shows_value=True,
        fallback=f"{names} must be set only when type is {' or '.join(kinds.split())}",
    )


class Backoff(Model):
    """How long the pauses between attempts are."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            _only_for("Fixed Exponential Random", "initial"),
            _only_for("Exponential", "factor"),
            _only_for("Exponential Random", "max"),
            _only_for("Fixed Exponential", "jitter"),
            Rule(
                f"!(self.type in ['Exponential', 'Random']) || !{_MAX}.matches(r'{HOLDABLE}') || "
                f"!{_INITIAL}.matches(r'{HOLDABLE}') || duration({_MAX}) >= duration({_INITIAL})",
                f'"max must be at least initial, " + {_SAID_INITIAL} + ", not " + {_SAID_MAX}',
                shows_value=True,
                fallback="max must be at least initial",
            ),
        )
    )

    type: Literal["Immediate", "Fixed", "Exponential", "Random"] = Field(
        default="Exponential",
        description="`Immediate`: no pause; `Fixed`: `initial` each time; `Exponential`: "
        "`initial`, then `factor` times as long each time, up to `max`; `Random`: any length "
        "from `initial` to `max`.",
    )
    initial: (
        Annotated[
            str,
            Field(max_length=32, json_schema_extra=duration_rules(PAUSE_SHORTEST, PAUSE_LONGEST)),
        ]
        | None
    ) = Field(default=None, description=f"The first pause. Default: `{INITIAL_DEFAULT}`.")
    factor: Annotated[float, Field(ge=1, le=FACTOR_MOST)] | None = Field(
        default=None, description=f"By how much it grows. Default: {FACTOR_DEFAULT:g}."
    )
    max: (
        Annotated[
            str,
            Field(max_length=32, json_schema_extra=duration_rules(PAUSE_SHORTEST, PAUSE_LONGEST)),
        ]
        | None
    ) = Field(default=None, description=f"The longest pause. Default: `{MAX_DEFAULT}`.")
    jitter: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="The share by which each pause is made longer or shorter at random, so that "
        f"what failed together is not tried again together. Default: {JITTER_DEFAULT:g}.",
    )


class RetrySpec(Model):
    """How a failed Task is tried again."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "self.maxAttempts > 1 || !has(self.backoff)",
                "backoff must not be set when maxAttempts is 1: there is nothing to wait for",
            )
        )
    )

    max_attempts: Annotated[int, Field(ge=1, le=ATTEMPTS_MOST)] = Field(
        default=MAX_ATTEMPTS_DEFAULT, description="Attempts in all, the first included."
    )
    backoff: Backoff | None = Field(
        default=None, description="The pauses between them. Default: `Exponential`."
    )
