"""The ladder of a vhost, which delays messages for any time, as data.

A level is a topic exchange and a queue whose messages die after 100 ms * 2**level. A message's
routing key holds its delay in binary, a word per level: at each level the exchange sends it into
the queue (`1`) or straight to the next level (`0`), and what dies in the queue goes to the next
level too. From the lowest level it goes to the exchange of what is due. Nothing waits behind a
message with a longer delay, and no level knows how many TaskQueues there are.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskqueue_api.names import DELAY_LEVELS, DELAY_UNIT, DUE_EXCHANGE, delay_level
from taskqueue_operator.domain.topology import Binding, Exchange, Queue

_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Level:
    """One level. passing: what the exchange of the next level is bound to."""

    exchange: Exchange
    queue: Queue
    next_exchange: str
    passing: Binding


def build_ladder() -> tuple[Level, ...]:
    """Return all levels, the lowest first."""
    return tuple(_level(number) for number in range(DELAY_LEVELS))


def _level(number: int) -> Level:
    name = delay_level(number)
    following = delay_level(number - 1) if number else DUE_EXCHANGE
    before = "*." * (DELAY_LEVELS - 1 - number)
    arguments: dict[str, Any] = {
        "x-queue-type": "quorum",
        "x-message-ttl": DELAY_UNIT * 2**number // _MILLISECOND,
        "x-dead-letter-exchange": following,
        # The message leaves only when the next level has it; RabbitMQ asks for the overflow.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    return Level(
        exchange=Exchange(name, "topic"),
        queue=Queue(name, arguments, (Binding(name, f"{before}1.#"),)),
        next_exchange=following,
        passing=Binding(name, f"{before}0.#"),
    )
