"""What the status of a Task must never say, nor become, as CEL.

The API server holds operator, workers and people to it alike.
"""

from taskqueue_api.retries import ATTEMPTS_MOST
from taskqueue_api.schema import Rule, joined

DEADLINE_EXCEEDED = "DeadlineExceeded"
"""Error type of a Task that was not started in time."""

FINISHED = "['Succeeded', 'Failed', 'Cancelled']"

# Not `self.?worker.?instance`: the API server cannot bound the cost of comparing optionals.
_SAME_INSTANCE = (
    "(has(self.worker) ? self.worker.instance : '') == "
    "(has(oldSelf.worker) ? oldSelf.worker.instance : '')"
)


# A finished Task starts all over; the rules of the whole Task ask for `spec.rerun` then.
_RERUN = f"(oldSelf.phase in {FINISHED} && self.phase == 'Pending' && self.run > oldSelf.run)"

_AS_NEW = " && ".join(
    [
        "self.attempts == 0",
        "self.dispatches == 1",
        *(
            f"!has(self.{field})"
            for field in ("worker", "startTime", "completionTime", "duration", "progress")
        ),
        "has(self.conditions)",
        "!self.conditions.exists(c, c.type in ['Finished', 'Stalled'])",
    ]
)


SHOWN = "(has(self.conditions) ? self.conditions.map(c, c.type + '=' + c.status) : [])"


def _shows(condition: str, status: str) -> str:
    """Return the CEL expression that a status has a condition, and how it stands."""
    return f"('{condition}={status}' in {SHOWN})"


STATES = (
    Rule(
        "self.phase != 'Running' || (has(self.worker) && self.attempts >= 1)",
        "worker and attempts of at least 1 must be set while phase is 'Running'",
    ),
    Rule(
        f"!(self.phase in {FINISHED}) || has(self.completionTime)",
        "completionTime must be set when the Task is finished",
    ),
    Rule(
        "!(self.phase in ['Failed', 'Retrying']) || has(self.error)",
        "error must be set when phase is 'Failed' or 'Retrying'",
    ),
    Rule(
        "!(self.phase in ['Pending', 'Succeeded']) || !has(self.error)",
        "error must not be set when phase is 'Pending' or 'Succeeded'",
    ),
    Rule(
        "(self.phase == 'Retrying') == has(self.nextAttemptTime)",
        "nextAttemptTime must be set when phase is 'Retrying', and only then",
    ),
    Rule(
        f"self.phase != 'Retrying' || (self.attempts >= 1 && self.attempts < {ATTEMPTS_MOST})",
        f"attempts must be from 1 to {ATTEMPTS_MOST - 1} when phase is 'Retrying'",
    ),
    Rule(
        "self.phase != 'Pending' || self.attempts == 0",
        "attempts must be 0 when phase is 'Pending'",
    ),
    # `kubectl wait` looks at the conditions alone.
    Rule(
        f"(self.phase in {FINISHED}) == {_shows('Finished', 'True')}",
        "condition Finished must be 'True' when the Task is finished, and only then",
    ),
    Rule(
        f"(self.phase == 'Succeeded') == {_shows('Succeeded', 'True')}",
        "condition Succeeded must be 'True' when phase is 'Succeeded', and only then",
    ),
    Rule(
        f"(self.phase in ['Failed', 'Cancelled']) == {_shows('Succeeded', 'False')}",
        "condition Succeeded must be 'False' when phase is 'Failed' or 'Cancelled', and only then",
    ),
)
"""What a status must be. Of several broken ones the first is told, so the plainest come first."""

CHANGES = (
    Rule(
        f"!(oldSelf.phase in {FINISHED}) || self == oldSelf || {_RERUN}",
        "must not be changed: the Task is finished, and only spec.rerun starts it again",
    ),
    Rule(
        f"oldSelf.phase == 'Pending' || self.phase != 'Pending' || {_RERUN}",
        "phase must not go back to 'Pending'",
    ),
    Rule(
        f"self.run == oldSelf.run || {_RERUN}",
        "run must not be changed, but to start a finished Task again",
    ),
    # Of `result` nothing can be said: the schema does not describe it.
    Rule(
        f"self.run == oldSelf.run || ({_AS_NEW})",
        "nothing of the last run must be left when run is raised",
    ),
    Rule(
        "self.dispatches >= oldSelf.dispatches || self.run > oldSelf.run",
        "dispatches must not go down",
    ),
    Rule(
        "self.attempts >= oldSelf.attempts || self.run > oldSelf.run",
        "attempts must not go down",
    ),
    Rule(
        "!(oldSelf.phase == 'Running' && self.phase == 'Running') || "
        f"{_SAME_INSTANCE} || self.attempts > oldSelf.attempts",
        "another worker must raise attempts to take over a running Task",
    ),
    Rule(
        "oldSelf.phase != 'Running' || self.phase == 'Running' || "
        f"(self.attempts == oldSelf.attempts && {_SAME_INSTANCE}) || "
        "self.phase == 'Cancelled' || "
        "(self.phase == 'Failed' && has(self.error) && self.error.type == 'WorkerLost')",
        "the outcome must come from the worker and attempt that are running",
    ),
    Rule(
        "oldSelf.phase != 'Retrying' || self.attempts > oldSelf.attempts || "
        "self.phase == 'Cancelled' || (self.phase == 'Failed' && has(self.error) && "
        f"self.error.type == '{DEADLINE_EXCEEDED}') || "
        "(self.phase == 'Retrying' && has(self.nextAttemptTime) && "
        "has(oldSelf.nextAttemptTime) && self.nextAttemptTime == oldSelf.nextAttemptTime)",
        "attempts must go up to end the wait for the next attempt, or to change it",
    ),
)
"""What a status must be, by what it was."""

_PHASES = {"phase": "self.phase"}
STATUS_RULES = (
    joined(STATES, _PHASES | {"shown": SHOWN}),
    joined(CHANGES, _PHASES | {"before": "oldSelf.phase", "same": "self.run == oldSelf.run"}),
)
