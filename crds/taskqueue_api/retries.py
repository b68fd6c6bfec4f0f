"""When a failed attempt is followed by another, and after what time. Pure, without pydantic.

The policy travels from the operator to the workers as the JSON of `spec.retry`: in the
environment for the TaskQueue's, in a header for a Task's own.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskqueue_api.durations import parse_duration

MAX_ATTEMPTS_DEFAULT = 5
INITIAL_DEFAULT = "1s"
MAX_DEFAULT = "10m"
FACTOR_DEFAULT = 2.0
JITTER_DEFAULT = 0.2

ATTEMPTS_MOST = 100
PAUSE_SHORTEST = "100ms"
PAUSE_LONGEST = "168h"
FACTOR_MOST = 100.0

_GROWTHS = 100
"""Factors beyond any use; without a bound a float overflows."""

Random = Callable[[], float]
"""Gives numbers from 0 up to, and without, 1."""


class BadPolicyError(ValueError):
    """A retry policy cannot be read; the schema lets nothing through that would give it."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often a Task is tried, and how long the pauses are.

    max_attempts: attempts in all, the first included.
    kind: Immediate, Fixed, Exponential or Random.
    jitter: the share of a pause by which it is made longer or shorter, 0 to 1.
    """

    max_attempts: int
    kind: str
    initial: timedelta
    factor: float
    most: timedelta
    jitter: float

    def pause(self, attempt: int, random: Random) -> timedelta:
        """Return the time between the end of an attempt and the next. attempt: from 1."""
        if self.kind == "Immediate":
            return timedelta()
        if self.kind == "Random":
            return self.initial + (self.most - self.initial) * random()
        pause = self.initial
        if self.kind == "Exponential":
            pause = self._grown(attempt)
        shortest, longest = pause * (1 - self.jitter), pause * (1 + self.jitter)
        if self.kind == "Exponential":
            # Not cut off afterwards: of what was cut off, all pauses would be equal.
            longest = min(longest, self.most)
        return shortest + (longest - shortest) * random()

    def _grown(self, attempt: int) -> timedelta:
        growth = self.factor ** min(attempt - 1, _GROWTHS)
        return self.most if growth >= self.most / self.initial else self.initial * growth


ONCE = RetryPolicy(
    max_attempts=1,
    kind="Immediate",
    initial=timedelta(),
    factor=1.0,
    most=timedelta(),
    jitter=0.0,
)
"""The policy of a TaskQueue that names none: a failure is final."""


def parse_policy(spec: Mapping[str, Any] | None) -> RetryPolicy:
    """Return the policy that `spec.retry` says, with its defaults. None: no retries.

    Raises BadPolicyError.
    """
    if spec is None:
        return ONCE
    try:
        backoff = spec.get("backoff") or {}
        kind = backoff.get("type", "Exponential")
        if kind not in ("Immediate", "Fixed", "Exponential", "Random"):
            raise ValueError(f"backoff.type must not be {kind!r}")
        policy = RetryPolicy(
            max_attempts=int(spec.get("maxAttempts", MAX_ATTEMPTS_DEFAULT)),
            kind=kind,
            initial=parse_duration(backoff.get("initial", INITIAL_DEFAULT)),
            factor=float(backoff.get("factor", FACTOR_DEFAULT)),
            most=parse_duration(backoff.get("max", MAX_DEFAULT)),
            jitter=float(backoff.get("jitter", JITTER_DEFAULT)),
        )
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise BadPolicyError(f"not a retry policy: {error}") from error
    if not _is_within_bounds(policy):
        raise BadPolicyError(f"not a retry policy: beyond its bounds: {policy}")
    return policy


def _is_within_bounds(policy: RetryPolicy) -> bool:
    """Return whether the schema lets a policy through: a header is anybody's who can publish."""
    shortest, longest = parse_duration(PAUSE_SHORTEST), parse_duration(PAUSE_LONGEST)
    return (
        1 <= policy.max_attempts <= ATTEMPTS_MOST
        and shortest <= policy.initial <= longest
        and shortest <= policy.most <= longest
        and 1 <= policy.factor <= FACTOR_MOST
        and 0 <= policy.jitter <= 1
    )


def read_policy(text: str) -> RetryPolicy:
    """Return the policy that `write_policy` wrote; empty: no retries. Raises BadPolicyError."""
    if not text:
        return ONCE
    try:
        spec = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadPolicyError(f"not a retry policy: {error}") from error
    return parse_policy(spec)


def write_policy(spec: Mapping[str, Any] | None) -> str:
    """Return `spec.retry` as text; empty: there is none."""
    return "" if spec is None else json.dumps(spec, separators=(",", ":"), sort_keys=True)
