"""What may go wrong, by name; each costs one of the scenario's faults."""

from collections.abc import Iterator
from functools import partial

from taskqueue_operator.services.lanes import Place
from taskqueue_worker.inflight import State
from tests.protocol import broker, calls
from tests.protocol.steps import Step, given, put_worker, store
from tests.protocol.workers import announcement_due, fresh_worker, give_back, pending_call, resume
from tests.protocol.world import (
    Claimed,
    Entry,
    Finishing,
    Operator,
    Running,
    Scenario,
    Worker,
    World,
    replace,
)


def fault_steps(scenario: Scenario, world: World) -> Iterator[Step]:
    """Yield what may go wrong next."""
    if world.faults == 0:
        return
    less = replace(world, faults=world.faults - 1)
    for worker in world.workers:
        yield from _worker_faults(scenario, less, worker)
    yield from _broker_faults(scenario, less)
    if "operator" in scenario.faults and world.operator.up:
        down = replace(less, operator=Operator(up=False))
        yield Step("FAULT: the operator dies", given(down))
    if "unconfirmed" in scenario.faults:
        yield from _unconfirmed(less)


def _worker_faults(scenario: Scenario, world: World, worker: Worker) -> Iterator[Step]:
    who = worker.identity.instance
    kinds = scenario.faults
    if "container" in kinds:
        yield Step(f"FAULT: {who} dies", lambda: _die(world, worker, new_pod=False))
    if "pod" in kinds:
        yield Step(f"FAULT: the pod of {who} goes", lambda: _die(world, worker, new_pod=True))
    if "late write" in kinds:
        for patch in _writes(scenario, world, worker):
            in_air = replace(world, air=(*world.air, patch))
            yield Step(
                f"FAULT: {who} dies, its last write still under way",
                partial(_die, in_air, worker, new_pod=False),
            )
    if "connection" in kinds and worker.attached:
        yield Step(f"FAULT: the broker loses {who}", lambda: _cut_off(world, worker))
    if "node" in kinds and worker.reaches_api:
        yield Step(f"FAULT: the node of {who} is cut off", lambda: _lose_node(world, worker))
    if "drain" in kinds and not worker.draining:
        yield Step(f"FAULT: {who} is told to stop", lambda: _drain(world, worker))
    if "answer" in kinds and worker.reaches_api:
        yield from _lost_answers(scenario, world, worker)


def _die(world: World, worker: Worker, *, new_pod: bool) -> World:
    world = broker.requeue(world, worker.index)
    world = _excuse(world, worker)
    following = fresh_worker(world, worker, new_pod=new_pod)
    return put_worker(replace(world, lost=world.lost + 1), following)


def _cut_off(world: World, worker: Worker) -> World:
    world = broker.requeue(world, worker.index)
    world = _excuse(world, worker)
    entries = tuple(_doomed(entry, worker, everything=False) for entry in worker.entries)
    cut = replace(worker, attached=False, entries=entries)
    return put_worker(replace(world, lost=world.lost + 1), cut)


def _lose_node(world: World, worker: Worker) -> World:
    world = broker.requeue(world, worker.index)
    world = _excuse(world, worker)
    entries = tuple(_doomed(entry, worker, everything=True) for entry in worker.entries)
    cut = replace(worker, attached=False, reaches_api=False, entries=entries)
    return put_worker(replace(world, lost=world.lost + 1), cut)


def _doomed(entry: Entry, worker: Worker, *, everything: bool) -> Entry:
    """Return an entry that another may take over from now on."""
    stage = entry.stage
    if isinstance(stage, Claimed | Running) and (everything or not stage.announced):
        return replace(entry, stage=replace(stage, doomed=True))
    return entry


def _excuse(world: World, worker: Worker) -> World:
    """Return the world in which what a worker has not yet told may be started once more.

    That is the documented window: neither Running nor the outcome is written.
    """
    unsaid = {
        (stage.attempt.uid, stage.attempt.run, stage.attempt.number, stage.attempt.worker.instance)
        for stage in (entry.stage for entry in worker.entries)
        if isinstance(stage, Running | Finishing) and not stage.announced
    }
    starts = {
        replace(one, excused=True)
        if (one.uid, one.run, one.attempt, one.instance) in unsaid
        else one
        for one in world.starts
    }
    return replace(world, starts=tuple(sorted(starts, key=repr)))


def _drain(world: World, worker: Worker) -> World:
    # A claim on its way now is an attempt that counts, once it is written.
    world = put_worker(replace(world, lost=world.lost + 1), replace(worker, draining=True))
    for entry in worker.entries:
        if entry.state in (State.WAITING, State.PARKED):
            world = give_back(world, world.workers[worker.index], entry)
    return world


def _writes(scenario: Scenario, world: World, worker: Worker) -> Iterator[tuple[str, str]]:
    """Yield the writes that a worker has sent and not heard of."""
    for entry in worker.entries:
        call = pending_call(scenario, worker, entry)
        if isinstance(call, calls.PatchStatus):
            yield call.name, call.patch
        if isinstance(entry.stage, Running) and announcement_due(world, entry.stage):
            name = dict(entry.message.headers)["x-tq-name"]
            yield name, calls.announcement(entry.stage.attempt, world.now)


def _lost_answers(scenario: Scenario, world: World, worker: Worker) -> Iterator[Step]:
    for entry in worker.entries:
        call = pending_call(scenario, worker, entry)
        if isinstance(call, calls.PatchStatus):
            yield Step(
                f"FAULT: {worker.identity.instance} writes twice, the first answer being lost",
                partial(_write_twice, scenario, world, worker, entry, call),
            )


def _write_twice(
    scenario: Scenario, world: World, worker: Worker, entry: Entry, call: calls.PatchStatus
) -> World:
    world, _ = store(world, scenario, call.name, call.patch)
    world, answer = store(world, scenario, call.name, call.patch)
    return resume(scenario, world, worker, entry, answer)


def _broker_faults(scenario: Scenario, world: World) -> Iterator[Step]:
    kinds = scenario.faults
    if "queue" in kinds and not world.queue_gone:
        yield Step("FAULT: the queue is deleted", lambda: _lose_queue(world))
    if "ladder" in kinds and not world.ladder_gone:
        lost = replace(world, ladder=(), ladder_gone=True)
        yield Step("FAULT: the ladder is deleted", given(lost))
    if "message" in kinds:
        for delayed in dict.fromkeys(world.ladder):
            rest = tuple(one for one in world.ladder if one != delayed)
            lost = replace(world, ladder=rest)
            yield Step("FAULT: a delayed message is lost", given(lost))


def _lose_queue(world: World) -> World:
    world = replace(world, ready=(), unacked=(), queue_gone=True, lost=world.lost + 1)
    for worker in world.workers:
        world = _excuse(world, worker)
        entries = tuple(_doomed(entry, worker, everything=False) for entry in worker.entries)
        world = put_worker(world, replace(worker, attached=False, entries=entries))
    return world


def _unconfirmed(world: World) -> Iterator[Step]:
    for known in world.operator.known:
        if known.place is Place.IN_FLIGHT:
            others = tuple(one for one in world.operator.known if one != known)
            again = replace(known, place=Place.AGAIN)
            operator = replace(world.operator, known=(*others, again))
            unsure = replace(world, operator=operator)
            yield Step(f"FAULT: the message of {known.task.uid} is not confirmed", given(unsure))
