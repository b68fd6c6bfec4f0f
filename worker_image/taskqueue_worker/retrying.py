"""Whether a failed attempt is followed by another, and when. Pure."""

from dataclasses import dataclass
from datetime import timedelta

from taskqueue_api.names import DELAY_MAX
from taskqueue_api.retries import Random, RetryPolicy
from taskqueue_worker.outcomes import Failure, Outcome


@dataclass(frozen=True)
class Again:
    """There will be another attempt, so long after the end of this one."""

    error: Failure
    delay: timedelta


def decide_retry(
    outcome: Outcome, attempt: int, policy: RetryPolicy, random: Random
) -> Again | None:
    """Return when the next attempt starts; None: this outcome is final. attempt: from 1."""
    if not isinstance(outcome, Failure) or outcome.permanent or attempt >= policy.max_attempts:
        return None
    if outcome.after is None:
        return Again(outcome, min(policy.pause(attempt, random), DELAY_MAX))
    return Again(outcome, min(timedelta(seconds=outcome.after), DELAY_MAX))
