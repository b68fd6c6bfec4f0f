"""The ladder keeps a message for as long as its routing key says, and hands it to its queue."""

from datetime import timedelta
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskqueue_api.names import (
    DELAY_EXCHANGE,
    DELAY_LEVELS,
    DELAY_MAX,
    DELAY_UNIT,
    DUE_EXCHANGE,
    QueueName,
    delay_key,
    work_queue,
)
from taskqueue_operator.domain.ladder import Level, build_ladder
from taskqueue_operator.domain.topology import build_topology

LADDER = build_ladder()
TTL_MAX = 2**32 - 1
"""The greatest x-message-ttl that RabbitMQ takes, milliseconds."""

label = st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,6}[a-z0-9])?\Z")
queue_name = st.builds(work_queue, label, label)
# Names that could be taken for parts of the key.
tricky_name = st.builds(work_queue, st.sampled_from("01"), st.sampled_from(["0", "1", "tq"]))
delays = st.timedeltas(timedelta(), DELAY_MAX) | st.timedeltas(timedelta(), 2000 * DELAY_UNIT)


def matches(pattern: list[str], words: list[str]) -> bool:
    """Return whether a topic exchange takes a key: `*` is one word, `#` any number of them."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(matches(pattern[1:], words[n:]) for n in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and matches(pattern[1:], words[1:])


def takes(pattern: str, key: str) -> bool:
    return matches(pattern.split("."), key.split("."))


class Journey(NamedTuple):
    """Where a message was kept, and the exchange that it came to in the end."""

    kept: list[Level]
    end: str


def travel(key: str) -> Journey:
    """Follow a message from the top of the ladder, by the bindings alone.

    Fails when a level does not hand it on to exactly one place.
    """
    by_exchange = {level.exchange.name: level for level in LADDER}
    exchange, kept = DELAY_EXCHANGE, []
    while exchange in by_exchange:
        level = by_exchange[exchange]
        queues = [binding for binding in level.queue.bindings if takes(binding.routing_key, key)]
        passes = takes(level.passing.routing_key, key)
        assert {binding.exchange for binding in queues} <= {exchange}
        assert level.passing.exchange == exchange
        assert len(queues) + passes == 1
        if queues:
            kept.append(level)
            exchange = level.queue.arguments["x-dead-letter-exchange"]
        else:
            exchange = level.next_exchange
    return Journey(kept, exchange)


def ttl(level: Level) -> timedelta:
    return timedelta(milliseconds=level.queue.arguments["x-message-ttl"])


def binding_of(queue: QueueName) -> str:
    """Return the key that a work queue is bound by to the foot of the ladder."""
    _, namespace, name = queue.split(".")
    topology = build_topology(
        namespace=namespace, name=name, queue_type="Quorum", cluster="c1", version=(4, 0)
    )
    (key,) = [
        binding.routing_key
        for binding in topology.work.bindings
        if binding.exchange == DUE_EXCHANGE
    ]
    return key


@given(delays, queue_name)
@example(timedelta(), work_queue("a", "b"))
@example(timedelta(microseconds=1), work_queue("a", "b"))
@example(DELAY_UNIT, work_queue("a", "b"))
@example(DELAY_MAX, work_queue("a", "b"))
def test_a_message_is_kept_for_its_delay_rounded_up_and_comes_out_at_the_foot(
    delay: timedelta, queue: QueueName
) -> None:
    kept, end = travel(delay_key(delay, queue))
    assert sum(map(ttl, kept), timedelta()) == -(-delay // DELAY_UNIT) * DELAY_UNIT
    assert len({level.queue.name for level in kept}) == len(kept)
    assert end == DUE_EXCHANGE


@given(delays, queue_name | tricky_name, queue_name | tricky_name)
def test_what_is_due_matches_its_own_queue_and_no_other(
    delay: timedelta, queue: QueueName, other: QueueName
) -> None:
    key = delay_key(delay, queue)
    assert takes(binding_of(queue), key)
    assert takes(binding_of(other), key) == (other == queue)


@given(st.integers(0, 2**DELAY_LEVELS - 1), queue_name | tricky_name)
def test_a_queues_name_changes_nothing_about_the_delay(units: int, queue: QueueName) -> None:
    kept, _ = travel(delay_key(units * DELAY_UNIT, queue))
    assert [level.exchange.name for level in kept] == [
        level.exchange.name
        for number, level in reversed(list(enumerate(LADDER)))
        if units >> number & 1
    ]


def test_levels_are_chained_from_the_highest_to_what_is_due() -> None:
    names = [level.exchange.name for level in LADDER]
    assert names == [f"taskqueue.delay.{number:02}" for number in range(26)]
    assert [level.next_exchange for level in LADDER] == [DUE_EXCHANGE, *names[:-1]]
    assert names[-1] == DELAY_EXCHANGE


@pytest.mark.parametrize("level", LADDER, ids=lambda level: level.exchange.name)
def test_no_level_loses_a_message(level: Level) -> None:
    arguments = level.queue.arguments
    assert level.exchange.type == "topic"
    assert level.queue.name == level.exchange.name
    assert arguments["x-queue-type"] == "quorum"
    assert arguments["x-dead-letter-exchange"] == level.next_exchange
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    # RabbitMQ falls back to at-most-once, silently, without it.
    assert arguments["x-overflow"] == "reject-publish"
    assert not {"x-max-length", "x-expires", "x-dead-letter-routing-key"} & arguments.keys()


@pytest.mark.parametrize(("number", "level"), list(enumerate(LADDER)))
def test_each_level_keeps_twice_as_long_as_the_one_below(number: int, level: Level) -> None:
    assert ttl(level) == DELAY_UNIT * 2**number
    assert 0 < level.queue.arguments["x-message-ttl"] <= TTL_MAX


def test_one_more_level_would_be_beyond_rabbitmqs_longest_ttl() -> None:
    assert 2 * LADDER[-1].queue.arguments["x-message-ttl"] > TTL_MAX
