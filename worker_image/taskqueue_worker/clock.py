"""The API server's clock, estimated from its answers."""

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

KEPT_SECONDS = 600.0
"""A sample counts for so long, and at most twice as long: what two clocks drift apart in it is less
than what an answer leaves open."""


class ServerClock:
    """How far the API server's clock is ahead of ours.

    An answer's `Date` is cut to whole seconds and old by the way back, so each sample is at most
    the true offset: the greatest of the last ones is the best.

    local: seconds by a clock that nobody sets. By one that was set forward every Task would be past
    its deadline.
    """

    def __init__(self, local: Callable[[], float] = time.monotonic) -> None:
        self._local = local
        self._began = 0.0
        self._recent: float | None = None
        self._before: float | None = None

    def observe(self, date: str | None) -> None:
        """Take the `Date` header of an answer that has just arrived."""
        if date is None:
            return
        now = self._local()
        try:
            sample = parsedate_to_datetime(date).timestamp() - now
        except ValueError:
            return
        if self._recent is None or now - self._began >= KEPT_SECONDS:
            self._before = self._recent
            self._recent, self._began = sample, now
        else:
            self._recent = max(self._recent, sample)

    def now(self) -> float | None:
        """Return the server's time in seconds since 1970; None: no answer seen yet."""
        if self._recent is None:
            return None
        best = self._recent if self._before is None else max(self._recent, self._before)
        return self._local() + best
