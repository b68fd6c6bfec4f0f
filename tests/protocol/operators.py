"""The operator's part of the model: what `services.dispatcher` does, a step per effect."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache, partial
from math import floor

from taskqueue_api.conditions import parse_time, rfc3339
from taskqueue_api.messages import TaskUid
from taskqueue_operator.domain.dispatching import (
    REPUBLISH_DELAY,
    WAITING_PHASES,
    Publication,
    WaitingTask,
    build_headers,
    decide_dispatched_through,
    decide_publication,
    is_overdue,
    read_task,
    remaining_delay,
)
from taskqueue_operator.domain.rerunning import decide_rerun
from taskqueue_operator.domain.task_status import patch_announcement, patch_rerun
from taskqueue_operator.domain.topology import route
from taskqueue_operator.services.dispatcher import LIST_SECONDS
from taskqueue_operator.services.lanes import Place
from taskqueue_worker.api import Written
from tests.protocol import broker, calls
from tests.protocol.api_server import load
from tests.protocol.steps import Step, store
from tests.protocol.world import (
    CLUSTER,
    EPOCH,
    SECOND,
    TIMEOUT,
    Known,
    Operator,
    Scenario,
    World,
    replace,
    to_datetime,
    to_millis,
)

REPUBLISH = to_millis(EPOCH + REPUBLISH_DELAY)
LIST = int(LIST_SECONDS * SECOND)
START_MARGIN = 2 * SECOND
"""As in `taskqueue_operator.app`; a test compares them."""


def operator_steps(scenario: Scenario, world: World) -> Iterator[Step]:
    """Yield what the operator may do next."""
    operator = world.operator
    if scenario.blind and any(one.place is Place.OUT for one in operator.known):
        return
    if not operator.up:
        yield Step("an operator starts", lambda: _start(world))
        return
    yield from _observations(world)
    yield from _reruns(scenario, world)
    if world.queue_gone:
        yield Step("the operator declares the queue again", lambda: _declare_queue(world))
    elif world.ladder_gone:
        yield Step("the operator declares the ladder again", lambda: _declare_ladder(world))
    else:
        for known in operator.known:
            yield from _task_steps(scenario, world, known)
    moment = _through(world) if scenario.notes else None
    if moment is not None and moment != world.through:
        note = replace(world, through=moment)
        yield Step("the operator notes dispatchedThrough", lambda: note, idle=True)


def _start(world: World) -> World:
    started = floor(world.now / SECOND) * SECOND + START_MARGIN
    operator = Operator(
        started=started,
        listing=True,
        listed_at=world.now,
        through=world.through,
    )
    return replace(world, operator=operator)


def _put(world: World, known: Known | None, old: Known | None = None) -> World:
    """Return the world with one Task as the operator knows it now; None: forgotten."""
    others = [one for one in world.operator.known if one != old]
    kept = sorted([*others, *([known] if known else [])], key=lambda one: one.task.uid)
    return replace(world, operator=replace(world.operator, known=tuple(kept)))


# What it sees


def _observations(world: World) -> Iterator[Step]:
    operator = world.operator
    waiting = dict(_waiting(world, listed=operator.listing))
    known = {one.task.uid: one for one in operator.known}
    for uid, task in waiting.items():
        old = known.get(uid)
        if old is None or (old.task.run, old.task.attempt) != (task.run, task.attempt):
            listed = " in its list" if operator.listing else ""
            yield Step(
                f"the operator sees {uid}{listed}, {task.phase}",
                partial(_see, world, task, old),
            )
    for uid, old in known.items():
        if uid not in waiting:
            label = f"the operator sees that {uid} waits no more"
            yield Step(label, partial(_put, world, None, old))
    if operator.listing and waiting.keys() <= known.keys():
        ended = replace(operator, listing=False)
        yield Step("the operator's list has ended", lambda: replace(world, operator=ended))


def _waiting(world: World, *, listed: bool) -> Iterator[tuple[TaskUid, WaitingTask]]:
    for _, body in world.tasks:
        task = _read(body, listed)
        if task is not None:
            yield task.uid, task


@cache
def _read(body: str, listed: bool) -> WaitingTask | None:
    waits = load(body)["status"]["phase"] in WAITING_PHASES
    return read_task(load(body), listed=listed) if waits else None


def forget_tasks() -> None:
    """Forget what was read, as the code is another now."""
    _read.cache_clear()


def _see(world: World, task: WaitingTask, old: Known | None) -> World:
    operator = world.operator
    newest = max(operator.newest or task.created, task.created)
    listed_at = world.now if task.listed else operator.listed_at
    world = replace(world, operator=replace(operator, newest=newest, listed_at=listed_at))
    place = Place.OUT if task.retrying and not task.listed else Place.WAITING
    return _put(world, Known(task, place), old)


def _reruns(scenario: Scenario, world: World) -> Iterator[Step]:
    """Yield what the watch of Tasks to run again leads to."""
    for name, body in world.tasks:
        rerun = decide_rerun(load(body))
        if rerun is not None:
            patch = calls.dump(patch_rerun(rerun))
            label = f"the operator starts run {rerun.run} of {rerun.uid}"
            yield Step(label, partial(_start_run, scenario, world, name, patch))


def _start_run(scenario: Scenario, world: World, name: str, patch: str) -> World:
    return store(world, scenario, name, patch)[0]


# What it publishes


def _task_steps(scenario: Scenario, world: World, known: Known) -> Iterator[Step]:
    uid, place = known.task.uid, known.place
    if place is Place.WAITING:
        decision = _decide(world, known)
        label = f"the operator finds the publication of {uid}: {decision.value}"
        yield Step(label, lambda: _publish(scenario, world, known, decision))
    elif place is Place.IN_FLIGHT:
        out = replace(known, place=Place.OUT)
        yield Step(f"the message of {uid} is confirmed", lambda: _put(world, out, known))
    elif place is Place.AGAIN and known.until is None:
        label = f"the operator announces another publication of {uid}"
        yield Step(label, lambda: _announce(scenario, world, known))
    elif place is Place.AGAIN and known.until is not None and known.until <= world.now:
        due = replace(known, place=Place.WAITING, until=None)
        yield Step(f"{uid} may be published again", lambda: _put(world, due, known))
    elif place is Place.OUT and not world.ready and _is_overdue(world, known.task):
        again = replace(known, place=Place.AGAIN)
        yield Step(f"the message of {uid} is overdue", lambda: _put(world, again, known))


def _is_overdue(world: World, task: WaitingTask) -> bool:
    now = to_datetime(world.now)
    # As if it had been published when it was due: the model keeps no other time.
    return is_overdue(task, now, now - (task.due or task.created))


def _decide(world: World, known: Known) -> Publication:
    operator = world.operator
    return decide_publication(
        known.task,
        dispatched_through=operator.through,
        delays_unsure=operator.unsure,
        started=to_datetime(operator.started),
    )


def _publish(scenario: Scenario, world: World, known: Known, decision: Publication) -> World:
    if decision is Publication.KNOWN:
        return _put(world, replace(known, place=Place.OUT), known)
    if decision is Publication.AGAIN:
        return _put(world, replace(known, place=Place.AGAIN), known)
    headers = build_headers(known.task, CLUSTER, timedelta(milliseconds=TIMEOUT))
    to = route(broker.WORK, remaining_delay(known.task, to_datetime(world.now)))
    message = broker.build_message(known.task.uid, headers.to_amqp())
    world = broker.publish(world, to.exchange, to.routing_key, message)
    # Without a fault in between, the confirm makes no difference.
    watched = scenario.faults & {"operator", "unconfirmed"} and world.faults
    place = Place.IN_FLIGHT if watched else Place.OUT
    return _put(world, replace(known, place=place), known)


def _announce(scenario: Scenario, world: World, known: Known) -> World:
    """Raise `dispatches`, as TaskWriter does: after a refusal, from what the Task shows now."""
    task = known.task
    for _ in range(2):
        patch = calls.dump(patch_announcement(task))
        world, answer = store(world, scenario, task.name, patch)
        current = dict(_waiting(world, listed=False)).get(task.uid)
        if current is None or _waited_for(current) != _waited_for(task):
            return _put(world, None, known)
        task = current
        if isinstance(answer, Written):
            break
    written = Known(task, Place.AGAIN, world.now + REPUBLISH)
    return _put(world, written, known)


def _waited_for(task: WaitingTask) -> tuple[int, str, int]:
    return task.run, task.phase, task.attempt


# What it repairs and notes


def _again(world: World, *, delayed_only: bool) -> World:
    """Return the world after all that was published counts as lost."""
    for known in world.operator.known:
        concerned = known.task.due is not None or not delayed_only
        if known.place in (Place.OUT, Place.IN_FLIGHT) and concerned:
            world = _put(world, replace(known, place=Place.AGAIN), known)
    return world


def _declare_queue(world: World) -> World:
    world = _again(world, delayed_only=False)
    operator = replace(world.operator, through=None)
    return replace(world, operator=operator, through=None, queue_gone=False)


def _declare_ladder(world: World) -> World:
    world = _again(world, delayed_only=True)
    operator = replace(world.operator, unsure=True)
    return replace(world, operator=operator, ladder_gone=False)


def _through(world: World) -> datetime | None:
    operator = world.operator
    if operator.listing or world.now < operator.listed_at + LIST:
        return None
    unconfirmed = [
        one.task.created
        for one in operator.known
        if one.place is not Place.OUT and one.task.run == 0
    ]
    moment = decide_dispatched_through(
        oldest_unconfirmed=min(unconfirmed, default=None), newest_seen=operator.newest
    )
    return None if moment is None else parse_time(rfc3339(moment))
