"""RabbitMQ's part of the model: a queue in any order, the ladder, dead letters."""

from collections.abc import Iterable, Mapping
from typing import Any

from taskqueue_api.messages import ERROR_TYPE_HEADER
from taskqueue_api.names import (
    DEAD_LETTER_EXCHANGE,
    DELAY_EXCHANGE,
    DELAY_LEVELS,
    DELAY_UNIT,
    EXCHANGE,
    dead_letter_queue,
    work_queue,
)
from taskqueue_worker.deliveries import Tag
from tests.protocol.api_server import NAMESPACE, QUEUE, load
from tests.protocol.world import (
    EPOCH,
    DeadLetter,
    Delayed,
    Message,
    Unacked,
    ViolationError,
    World,
    replace,
    to_millis,
)

WORK = work_queue(NAMESPACE, QUEUE)
DEAD = dead_letter_queue(NAMESPACE, QUEUE)
_UNIT = to_millis(EPOCH + DELAY_UNIT)


def build_message(uid: str, headers: Mapping[str, Any]) -> Message:
    """Return a message as it is published."""
    return Message(uid, tuple(sorted(headers.items())))


def publish(world: World, exchange: str, key: str, message: Message) -> World:
    """Return the world after a message was taken from a publisher."""
    if (exchange, key) == (EXCHANGE, WORK):
        return replace(world, ready=_ordered((*world.ready, message)))
    if exchange == DELAY_EXCHANGE:
        words = key.split(".", DELAY_LEVELS)
        if words.pop() == WORK:
            due = world.now + int("".join(words), 2) * _UNIT
            return replace(world, ladder=_ordered((*world.ladder, Delayed(due, message))))
    if (exchange, key) == (DEAD_LETTER_EXCHANGE, DEAD):
        return _dead_letter(world, message)
    raise ViolationError(f"a message is published where nobody takes it: {exchange}, {key}")


def _dead_letter(world: World, message: Message) -> World:
    run = dict(message.headers)["x-tq-run"]
    for _, body in world.tasks:
        task = load(body)
        same = (task["metadata"]["uid"], task["status"]["run"]) == (message.uid, run)
        if same and task["status"]["phase"] != "Failed":
            raise ViolationError(f"a dead letter of a Task that is {task['status']['phase']}")
    error = dict(message.headers).get(ERROR_TYPE_HEADER)
    if not error:
        raise ViolationError("a dead letter does not say why")
    dead = _ordered({*world.dead, DeadLetter(message.uid, run, error)})
    return replace(world, dead=dead)


def rise(world: World, delayed: Delayed) -> World:
    """Return the world after a message came out of the ladder."""
    ladder = _without(world.ladder, delayed)
    ready = _ordered((*world.ready, delayed.message))
    return replace(world, ladder=ladder, ready=ready)


def hand_out(world: World, message: Message, worker: int, session: int) -> tuple[World, Tag]:
    """Return the world after a message was given to a consumer, and its tag."""
    used = {held.tag for held in world.unacked if held.worker == worker}
    number = next(n for n in range(1, len(used) + 2) if Tag(session, n) not in used)
    tag = Tag(session, number)
    unacked = _ordered((*world.unacked, Unacked(worker, tag, message)))
    return replace(world, ready=_without(world.ready, message), unacked=unacked), tag


def acknowledge(world: World, worker: int, tags: Iterable[Tag]) -> World:
    """Return the world after acknowledgements; a tag of a lost session says nothing."""
    gone = [held for held in world.unacked if held.worker == worker and held.tag in set(tags)]
    return replace(world, unacked=tuple(held for held in world.unacked if held not in gone))


def requeue(world: World, worker: int, tags: Iterable[Tag] | None = None) -> World:
    """Return the world after messages went back to the queue. tags: None: the consumer's all."""
    wanted = None if tags is None else set(tags)
    back = [
        held
        for held in world.unacked
        if held.worker == worker and (wanted is None or held.tag in wanted)
    ]
    ready = [replace(held.message, redelivered=True) for held in back]
    return replace(
        world,
        unacked=tuple(held for held in world.unacked if held not in back),
        ready=_ordered((*world.ready, *ready)),
    )


def _ordered(items: Iterable[Any]) -> tuple[Any, ...]:
    """Return items in an order that does not tell how they came: any can be next."""
    return tuple(sorted(items, key=repr))


def _without(items: tuple[Any, ...], item: Any) -> tuple[Any, ...]:
    index = items.index(item)
    return items[:index] + items[index + 1 :]
