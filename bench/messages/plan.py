"""What is measured: each handler with each number of slots, for each system. Pure."""

import math
from dataclasses import dataclass

OURS, CELERY, DRAMATIQ = SYSTEMS = ("ours", "celery", "dramatiq")
HANDLERS = {"noop": None, "1ms": 0.001, "100ms": 0.1}
"""Names of handlers as figures have them: how many seconds they take; None: they do nothing."""

SLOTS = (1, 8)

# So many that the slowest takes some 8 s, and the fastest is steady for more than 1 s.
_MESSAGES = {
    ("noop", 1): 20000,
    ("noop", 8): 30000,
    ("1ms", 1): 3000,
    ("1ms", 8): 12000,
    ("100ms", 1): 60,
    ("100ms", 8): 480,
}
_SHORT_PREFETCH = 16
_LONG_SECONDS = 0.01
_DEFAULT_SECONDS = 6
_MOST_PER_SLOT = 300


@dataclass(frozen=True)
class Cell:
    """One handler with one number of slots. handler: of HANDLERS."""

    handler: str
    slots: int

    def figure(self, system: str) -> str:
        """Return the name of its figure."""
        slots = "1_slot" if self.slots == 1 else f"{self.slots}_slots"
        return f"messages_{self.handler}_{slots}_{system}"

    @property
    def seconds(self) -> float | None:
        """How long a handler takes; None: it does nothing."""
        return HANDLERS[self.handler]

    @property
    def messages(self) -> int:
        """How many messages are put into the queue, the same for all systems."""
        known = _MESSAGES.get((self.handler, self.slots))
        per_slot = min(_MOST_PER_SLOT, 1 / self.seconds) if self.seconds else _MOST_PER_SLOT
        return known or int(_DEFAULT_SECONDS * self.slots * per_slot)

    @property
    def options(self) -> list[str]:
        """Return what the publisher is told of it."""
        return [] if self.seconds is None else [f"--seconds={self.seconds}"]

    @property
    def fastest(self) -> float | None:
        """The most messages per second that its handlers allow; None: any number."""
        return self.slots / self.seconds if self.seconds else None


def publish_figure(system: str) -> str:
    """Return the name of the figure of publications, each confirmed before the next."""
    return f"publish_confirmed_{system}"


def rival_prefetch(cell: Cell) -> int | None:
    """Return how many messages a rival has at hand for each slot; None: as many as by default.

    The best for short handlers: of those that do nothing Dramatiq runs 1.4 to 3 times as many with
    16 as with its default of 2, Celery as many as with its 4 or a little more; 64 bring nothing
    beyond. For long ones it makes no difference.
    """
    return _SHORT_PREFETCH if cell.seconds is None or cell.seconds < _LONG_SECONDS else None


def dramatiq_form(cell: Cell, processors: int) -> tuple[int, int]:
    """Return with how many processes, and threads in each, Dramatiq has a cell's slots.

    As many processes as there are processors, its own default: of 8 slots that did nothing, 8
    processes of one thread ran 3,800 a second, 2 of 4 threads 6,800, and one of 8 threads 6,800;
    with handlers of 1 ms 3,300, 4,000 and 3,700.
    """
    processes = math.gcd(cell.slots, processors)
    return processes, cell.slots // processes
