"""How much of a TaskQueue's work is due, as far as the operator itself knows."""

from typing import NamedTuple


class Demand(NamedTuple):
    """Unfinished Tasks.

    due: those that may run now, waiting or running. running: those of them that are seen to run.
    oldest: seconds for which the first of the others has been due.
    next_due: seconds until another one is due; None: none is delayed.
    """

    due: int = 0
    running: int = 0
    oldest: float = 0.0
    next_due: float | None = None
