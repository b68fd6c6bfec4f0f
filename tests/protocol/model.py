"""All steps together: which may come next, and how time passes."""

from collections.abc import Iterator
from functools import partial

from taskqueue_operator.domain.dispatching import OVERDUE
from taskqueue_operator.services.lanes import Place
from taskqueue_worker.claim import FRESH_SECONDS
from taskqueue_worker.inflight import State
from tests.protocol import broker
from tests.protocol.api_server import build_task, labelled, load, run_again
from tests.protocol.faults import fault_steps
from tests.protocol.operators import LIST, operator_steps
from tests.protocol.steps import Step, put_task, store
from tests.protocol.workers import ANNOUNCE, takes_from, worker_steps
from tests.protocol.world import (
    SECOND,
    TIMEOUT,
    Delayed,
    Message,
    Running,
    Scenario,
    Worker,
    World,
    replace,
    to_datetime,
    to_millis,
)

FRESH = int(FRESH_SECONDS * SECOND)


def next_steps(scenario: Scenario, world: World) -> tuple[list[Step], list[Step]]:
    """Return what may happen next by itself, and what may go wrong."""
    own = list(operator_steps(scenario, world))
    if scenario.prompt and any(not step.idle for step in own):
        return own[:1], []
    own += _user_steps(scenario, world)
    for worker in world.workers:
        own += worker_steps(scenario, world, worker)
    own += _broker_steps(world)
    own += [
        Step("a late write arrives", partial(_land, scenario, world, write), idle=True)
        for write in world.air
    ]
    own += _time_steps(world, own)
    return own, list(fault_steps(scenario, world))


def _user_steps(scenario: Scenario, world: World) -> Iterator[Step]:
    if world.acts < len(scenario.script):
        act = scenario.script[world.acts]
        # For users there is no hurry.
        yield Step(f"someone does: {act}", lambda: _act(world, act), idle=True)


def _act(world: World, act: str) -> World:
    verb, name = act.split()
    world = replace(world, acts=world.acts + 1)
    body = world.task(name)
    if verb == "create":
        uid = f"{name}{world.acts}"
        return put_task(world, name, build_task(name, uid, to_datetime(world.now)))
    if body is None:
        return world
    if verb == "label":
        return put_task(world, name, labelled(body))
    if verb == "rerun":
        return put_task(world, name, run_again(body))
    gone = world.gone | {load(body)["metadata"]["uid"]}
    return put_task(replace(world, gone=gone), name, None)


def _broker_steps(world: World) -> Iterator[Step]:
    for delayed in dict.fromkeys(world.ladder):
        if delayed.due <= world.now:
            label = f"a message of {delayed.message.uid} comes out of the ladder"
            yield Step(label, partial(_rise, world, delayed))


def _rise(world: World, delayed: Delayed) -> World:
    after = broker.rise(world, delayed)
    # Without a queue it goes where nobody looks.
    return replace(after, ready=()) if world.queue_gone else after


def _land(scenario: Scenario, world: World, write: tuple[str, str]) -> World:
    rest = list(world.air)
    rest.remove(write)
    world, _ = store(world, scenario, *write)
    return replace(world, air=tuple(rest))


def _time_steps(world: World, others: list[Step]) -> Iterator[Step]:
    """Yield the passing of time to the next moment that makes a difference."""
    later = [moment for moment in _moments(world) if moment > world.now]
    if not later or any(step.urgent for step in others):
        return
    waits = not all(step.idle for step in others)
    if waits and not world.delays:
        return
    after = replace(world, now=min(later), delays=world.delays - waits)
    passed = (after.now - world.now) / SECOND
    yield Step(f"{passed:g} s pass", lambda: after, idle=True)


def _moments(world: World) -> Iterator[int]:
    for worker in world.workers:
        yield from _worker_moments(worker)
    yield from (delayed.due for delayed in world.ladder)
    yield from (moment for message in world.ready for moment in _freshness(message))
    operator = world.operator
    yield operator.listed_at + LIST
    for known in operator.known:
        if known.until is not None:
            yield known.until
        if known.place is Place.OUT and known.task.retrying and known.task.due is not None:
            patience = OVERDUE * 2 ** min(known.task.dispatches - 1, 20)
            yield to_millis(known.task.due + patience) + 1


def _worker_moments(worker: Worker) -> Iterator[int]:
    yield takes_from(worker)
    for entry in worker.entries:
        if entry.state is State.PARKED:
            yield entry.until
        elif entry.state is State.WAITING:
            yield from _freshness(entry.message)
        if isinstance(entry.stage, Running):
            if not entry.stage.announced:
                yield entry.stage.since + ANNOUNCE
            yield entry.stage.since + TIMEOUT


def _freshness(message: Message) -> Iterator[int]:
    headers = dict(message.headers)
    if headers["x-tq-dispatches"] == 1 and headers["x-tq-attempt"] == 1:
        created = to_datetime(0).timestamp()
        yield int(headers["x-tq-created"] - created) * SECOND + FRESH
