"""When Tasks come, and how long each takes: four patterns, the same at each run of a seed."""

from collections.abc import Callable, Iterator
from math import cos, pi
from random import Random
from typing import NamedTuple

HOUR = 3600.0
SPREAD = 0.5
"""A Task takes up to so much more or less than usual, as a share."""


class Arrival(NamedTuple):
    """A Task: when it comes, and how long it runs, both in seconds."""

    at: float
    seconds: float


Pattern = Callable[[Random, float], Iterator[Arrival]]
"""From chance and the usual seconds of a Task to Tasks, in their order."""


def burst(random: Random, usual: float) -> Iterator[Arrival]:
    """Yield three bursts, 20 minutes apart, each of 20 minutes of work, at least 80 Tasks."""
    for number in range(3):
        at = number * HOUR / 3 + random.uniform(0, 60)
        yield from _together(random, usual, at, max(80, round(1200 / usual)))


def steady(random: Random, usual: float) -> Iterator[Arrival]:
    """Yield Tasks for half an hour that keep 8 slots at work."""
    yield from _poisson(random, usual, HOUR / 2, 8, lambda _: 8)


def diurnal(random: Random, usual: float) -> Iterator[Arrival]:
    """Yield Tasks for an hour that keep 0 slots at work, then 16, then 0, like a day."""
    yield from _poisson(random, usual, HOUR, 16, lambda at: 8 * (1 - cos(2 * pi * at / HOUR)))


def spiky(random: Random, usual: float) -> Iterator[Arrival]:
    """Yield spikes of 3 minutes of work for an hour, 2 minutes apart on average."""
    at = random.expovariate(1 / 120)
    while at < HOUR:
        yield from _together(random, usual, at, max(8, round(180 / usual)))
        at += random.expovariate(1 / 120)


PATTERNS: dict[str, Pattern] = {
    pattern.__name__: pattern for pattern in (burst, steady, diurnal, spiky)
}


def _together(random: Random, usual: float, at: float, number: int) -> Iterator[Arrival]:
    """Yield Tasks that come at once."""
    for _ in range(number):
        yield Arrival(at, _length(random, usual))


def _poisson(
    random: Random, usual: float, until: float, most: float, slots: Callable[[float], float]
) -> Iterator[Arrival]:
    """Yield Tasks that come by chance. slots: kept at work at a moment, up to `most`."""
    at = random.expovariate(most / usual)
    while at < until:
        # Thinning: as at the busiest, less those that do not come now.
        if random.random() * most < slots(at):
            yield Arrival(at, _length(random, usual))
        at += random.expovariate(most / usual)


def _length(random: Random, usual: float) -> float:
    return usual * random.uniform(1 - SPREAD, 1 + SPREAD)
