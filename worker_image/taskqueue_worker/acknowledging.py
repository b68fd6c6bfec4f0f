"""Acknowledgements of one channel, as few as say the same. Pure."""

import math
from collections.abc import Iterator
from typing import NamedTuple


class Ack(NamedTuple):
    """What to send. multiple: with all messages before it that are not settled yet."""

    number: int
    multiple: bool


class Unsettled:
    """The messages of a channel that are not settled, from which follows what an ack can speak for.

    RabbitMQ numbers them from 1 on, and takes an ack that speaks for many for the price of one.
    Those that pika gives back by itself, as its consumer was just cancelled, are not heard of.
    """

    def __init__(self) -> None:
        self._open: dict[int, None] = {}  # in the order of their numbers
        self._collected: list[int] = []

    @property
    def collected(self) -> int:
        """How many acknowledgements were collected."""
        return len(self._collected)

    def add(self, number: int) -> None:
        """Take note of a message that has come."""
        self._open[number] = None

    def collect(self, number: int) -> None:
        """Take note of a message that is to be acknowledged."""
        self._collected.append(number)
        self.settle(number)

    def settle(self, number: int) -> None:
        """Take note of a message that is settled: also of one that was given back."""
        self._open.pop(number, None)

    def take(self) -> Iterator[Ack]:
        """Return the acks that were collected, once."""
        collected, self._collected = sorted(self._collected), []
        first_open = next(iter(self._open), math.inf)
        together = [number for number in collected if number < first_open]
        if together:
            yield Ack(together[-1], multiple=len(together) > 1)
        for number in collected[len(together) :]:
            yield Ack(number, multiple=False)
