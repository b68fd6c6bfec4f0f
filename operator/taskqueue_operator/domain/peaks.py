"""The highest number within the last so many seconds, of one that changes now and then."""

from dataclasses import dataclass
from typing import NamedTuple


class Mark(NamedTuple):
    """A number, and until when it held, in seconds."""

    until: float
    number: int


@dataclass(frozen=True)
class Peaks:
    """What of a number's past can still be its highest within a window.

    marks: the oldest first, each lower than the one before, so there are never more of them than
        numbers; the last one holds now. Of negated numbers this is the lowest.
    """

    marks: tuple[Mark, ...] = ()

    def push(self, number: int, now: float, window: float) -> "Peaks":
        """Return it with the number as of now.

        The one before held until now, however long ago it was pushed: that nobody looked does not
        make a window pass. window: seconds; what ended before is forgotten.
        """
        past = [*self.marks[:-1], *(Mark(now, last.number) for last in self.marks[-1:])]
        kept = [mark for mark in past if mark.until > now - window and mark.number > number]
        return Peaks((*kept, Mark(now, number)))

    @property
    def highest(self) -> int:
        """The highest number within the window; at least one must have been pushed."""
        return self.marks[0].number
