"""The API server's clock, estimated from its answers."""

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime


class ServerClock:
    """How far the API server's clock is ahead of ours.

    An answer's `Date` is cut to whole seconds and old by the way back, so each sample is at most
    the true offset: the greatest sample is the best. A local clock that was set forward leaves
    the estimate too great, Tasks look older than they are, and take the slower path.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._offset: float | None = None

    def observe(self, date: str | None) -> None:
        """Take the `Date` header of an answer that has just arrived."""
        if date is None:
            return
        try:
            sample = parsedate_to_datetime(date).timestamp() - self._now()
        except ValueError:
            return
        if self._offset is None or sample > self._offset:
            self._offset = sample

    def now(self) -> float | None:
        """Return the server's time in seconds since 1970; None: no answer seen yet."""
        return None if self._offset is None else self._now() + self._offset
