"""Whether handlers end so soon that a worker waits for messages rather than for slots. Pure."""

_SHARE = 1 / 16
_AMPLE_PER_SLOT = 16
_AMPLE_MIN = 64
_AMPLE_MAX = 128
QUICK_SECONDS = 0.005
SLOW_SECONDS = 0.02


def ample_messages(slots: int) -> int:
    """Return how many more messages a worker asks for while its handlers are quick.

    As many as run within the time that RabbitMQ takes to hear of a bunch of acknowledgements and
    to send the next, and so that a slot can be given several at a time.
    """
    return min(max(_AMPLE_MIN, _AMPLE_PER_SLOT * slots), _AMPLE_MAX)


class Pace:
    """The mean time that messages without a Task took their slots, and what follows from it.

    It takes long to be called quick, and one message of a second ends it: what waits here for a
    slot could run elsewhere meanwhile.

    limited: how many start is limited, so that they wait for that, however quick they are.
    """

    def __init__(self, *, limited: bool = False) -> None:
        self._limited = limited
        self._mean = 2 * SLOW_SECONDS
        self.quick = False

    def note(self, seconds: float) -> bool:
        """Take note of a message that is done; return whether `quick` is another now."""
        self._mean += (seconds - self._mean) * _SHARE
        if self._mean < QUICK_SECONDS and not self._limited:
            return self._become(quick=True)
        return self._mean > SLOW_SECONDS and self._become(quick=False)

    def end(self) -> bool:
        """Take note of a Task, or of a message that waited in vain; return the same.

        The more Tasks are at hand, the more outcomes an API server that is away keeps unwritten.
        """
        self._mean = max(self._mean, 2 * SLOW_SECONDS)
        return self._become(quick=False)

    def _become(self, *, quick: bool) -> bool:
        changed = self.quick != quick
        self.quick = quick
        return changed
