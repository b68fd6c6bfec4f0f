"""From what was seen of a queue to a rate. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

_LEFT_AT_FIRST, _LEFT_AT_LAST = 0.9, 0.1


class Sample(NamedTuple):
    """How many messages a queue had ready at a moment. at: seconds."""

    at: float
    ready: int


def drain_rate(samples: Sequence[Sample]) -> float:
    """Return the messages per second while a queue went from 10 % to 90 % drained.

    The start of the workers is left out, and so is the end, where slots have nothing to do. The
    first sample is of the full queue. Raises ValueError when it was not drained so far.
    """
    full = samples[0].ready
    begun = _moment(samples, full * _LEFT_AT_FIRST)
    ended = _moment(samples, full * _LEFT_AT_LAST)
    return full * (_LEFT_AT_FIRST - _LEFT_AT_LAST) / (ended - begun)


def _moment(samples: Sequence[Sample], level: float) -> float:
    """Return when a queue first had no more than so many messages, on the line between samples."""
    before = samples[0]
    for sample in samples[1:]:
        if sample.ready <= level:
            share = (before.ready - level) / (before.ready - sample.ready)
            return before.at + share * (sample.at - before.at)
        before = sample
    raise ValueError(f"the queue still has {samples[-1].ready} of {samples[0].ready} messages")
