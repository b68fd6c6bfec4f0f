"""Acknowledgements of one channel, as few as say the same. Pure."""

from collections.abc import Iterator
from typing import NamedTuple


class Ack(NamedTuple):
    """What to send. multiple: with all messages before it that are not settled yet."""

    number: int
    multiple: bool


class Unsettled:
    """The delivery tags that are not settled, from which follows what one ack can speak for.

    RabbitMQ numbers the messages of a channel from 1 on. It takes an ack that speaks for many for
    the price of one.
    """

    def __init__(self) -> None:
        self._settled_to = 0
        self._settled: set[int] = set()  # beyond that
        self._collected: list[int] = []

    @property
    def collected(self) -> int:
        """How many acknowledgements were collected."""
        return len(self._collected)

    def collect(self, number: int) -> None:
        """Take note of a message that is to be acknowledged."""
        self._collected.append(number)
        self.settle(number)

    def settle(self, number: int) -> None:
        """Take note of a message that is settled: also of one that was given back."""
        self._settled.add(number)
        while self._settled_to + 1 in self._settled:
            self._settled_to += 1
            self._settled.remove(self._settled_to)

    def take(self) -> Iterator[Ack]:
        """Return the acks that were collected, once."""
        collected, self._collected = sorted(self._collected), []
        together = [number for number in collected if number <= self._settled_to]
        if together:
            yield Ack(together[-1], multiple=len(together) > 1)
        for number in collected[len(together) :]:
            yield Ack(number, multiple=False)
