"""The worker's part of the model: from a delivery to its acknowledgement, a step per effect.

The claim and the writing of the outcome are the real ones, see `calls`; so is `Inflight`.
"""

from collections.abc import Iterator
from functools import partial
from typing import cast

from taskqueue_api.names import DEAD_LETTER_EXCHANGE, DELAY_EXCHANGE, delay_key
from taskqueue_worker import attempts, inflight
from taskqueue_worker.attempts import Held
from taskqueue_worker.inflight import Inflight, State
from taskqueue_worker.outcomes import Outcome
from taskqueue_worker.settle import (
    Acknowledge,
    DeadLetter,
    PublishNext,
    Settlement,
    dead_letter_headers,
    next_attempt_headers,
)
from taskqueue_worker.showing import ANNOUNCE_SECONDS
from taskqueue_worker.waiting import park_seconds, spare_messages
from tests.protocol import broker, calls, checks
from tests.protocol.steps import Step, describe_pod, put_entry, put_worker, store
from tests.protocol.world import (
    SECOND,
    TIMEOUT,
    Claimed,
    Claiming,
    Entry,
    Finishing,
    Message,
    Running,
    Scenario,
    Seen,
    Settling,
    ViolationError,
    Worker,
    World,
    replace,
    to_datetime,
)

_CALLS_MOST = 40
ANNOUNCE = int(ANNOUNCE_SECONDS * SECOND)


def takes_from(worker: Worker) -> int:
    """Return when a worker begins to take messages: not in the second its container started."""
    return (worker.started // SECOND + 1) * SECOND


def worker_steps(scenario: Scenario, world: World, worker: Worker) -> Iterator[Step]:
    """Yield what a worker may do next."""
    who = worker.identity.instance
    # One that drains connects no more, and has this to notice only once.
    unaware = not worker.draining or any(entry.tags for entry in worker.entries)
    if unaware and not worker.attached and worker.reaches_api and not world.queue_gone:
        yield Step(f"{who} notices that its connection is lost", lambda: _notice(world, worker))
    if not worker.reaches_api:
        yield Step(f"the node of {who} is back", lambda: _come_back(world, worker))
    yield from _deliveries(scenario, world, worker)
    busy = sum(isinstance(one.stage, Claiming | Claimed | Running) for one in worker.entries)
    for entry in dict.fromkeys(worker.entries):
        what = f"{who}: {entry.message.uid}, attempt {_attempt_of(entry)}:"
        if entry.state is State.WAITING and busy < scenario.slots:
            yield Step(f"{what} a slot takes it", partial(_serve, scenario, world, worker, entry))
        elif entry.state is State.PARKED and entry.until <= world.now:
            yield Step(f"{what} waits no more", partial(_wake, world, worker, entry))
        yield from _stage_steps(scenario, world, worker, entry, what)
    if worker.draining and not worker.entries:
        yield Step(f"{who} has drained", lambda: _stop(world, worker))


def _attempt_of(entry: Entry) -> int:
    stage = entry.stage
    if isinstance(stage, Claimed | Running | Finishing):
        return stage.attempt.number
    attempt: int = dict(entry.message.headers)["x-tq-attempt"]
    return attempt


# From a delivery to a slot


def _deliveries(scenario: Scenario, world: World, worker: Worker) -> Iterator[Step]:
    held = sum(one.worker == worker.index for one in world.unacked)
    wanted = scenario.slots + spare_messages(scenario.slots)
    if not worker.attached or worker.draining or held >= wanted or world.now < takes_from(worker):
        return
    if worker == Worker(worker.index) and Worker(worker.index - 1) in world.workers:
        return  # one unused worker is like another
    for message in dict.fromkeys(world.ready):
        again = " again" if message.redelivered else ""
        label = f"{worker.identity.instance} gets a message of {message.uid}{again}"
        yield Step(label, partial(_deliver, world, worker, message))


def _deliver(world: World, worker: Worker, message: Message) -> World:
    world, tag = broker.hand_out(world, message, worker.index, worker.session)
    known, pairs = _real_inflight(worker)
    delivered = calls.read(message, tag)
    if known.is_done(delivered):
        return broker.acknowledge(world, worker.index, [tag])
    fresh = known.admit(delivered)
    entries = tuple(replace(entry, tags=tuple(real.tags)) for entry, real in pairs)
    if fresh is not None:
        entries = (*entries, Entry(message, (tag,), tag))
    forgotten = tuple(one for one in worker.entries if one.state is State.FORGOTTEN)
    return put_worker(world, replace(worker, entries=entries + forgotten))


def _real_inflight(worker: Worker) -> tuple[Inflight, list[tuple[Entry, inflight.Entry]]]:
    """Return the real bookkeeping of what a worker holds, with the model's beside it."""
    real = Inflight()
    pairs = []
    for message in worker.done:
        real.finish(inflight.Entry(calls.read(message)))
    for entry in worker.entries:
        if entry.state is not State.FORGOTTEN:
            made = cast(inflight.Entry, real.admit(calls.read(entry.message)))
            made.tags, made.state = list(entry.tags), entry.state
            pairs.append((entry, made))
    return real, pairs


def _notice(world: World, worker: Worker) -> World:
    """Forget what the lost connection had brought, and connect again unless it drains."""
    session = worker.session + 1
    known, pairs = _real_inflight(worker)
    known.lose(lambda tag: tag.session == session)
    kept = [
        replace(entry, tags=tuple(real.tags))
        for entry, real in pairs
        if real.state is not State.FORGOTTEN
    ]
    forgotten = [replace(one, tags=()) for one in worker.entries if one.state is State.FORGOTTEN]
    back = replace(
        worker, entries=(*kept, *forgotten), session=session, attached=not worker.draining
    )
    return put_worker(world, back)


def _come_back(world: World, worker: Worker) -> World:
    return put_worker(world, replace(worker, reaches_api=True))


def _serve(scenario: Scenario, world: World, worker: Worker, entry: Entry) -> World:
    claiming = replace(entry, state=State.CLAIMING, stage=Claiming(()))
    return _resume_claim(scenario, world, put_entry(worker, entry, claiming), claiming, None)


def _resume_claim(
    scenario: Scenario, world: World, worker: Worker, entry: Entry, answer: object
) -> World:
    stage = cast(Claiming, entry.stage)
    log = (*stage.log, Seen(world.now, worker.live, answer))
    if len(log) > _CALLS_MOST:
        raise ViolationError("a claim asks the API server for ever")
    me, policy = worker.identity, scenario.policy
    turn = calls.claim(me, policy, entry.message, log, always=scenario.always)
    worker = replace(worker, live=turn.live)
    if turn.call is not None:
        return put_worker(world, put_entry(worker, entry, replace(entry, stage=Claiming(log))))
    result = turn.result
    if isinstance(result, attempts.Claimed):
        claimed = Claimed(result.attempt, result.announced, result.path)
        ready = replace(entry, stage=claimed)
        worker = put_entry(worker, entry, ready)
        if turn.asked:
            return put_worker(world, worker)
        return _begin(scenario, world, worker, ready, claimed)  # nothing was waited for in between
    if entry.state is State.FORGOTTEN:
        return put_worker(world, put_entry(worker, entry, None))
    if isinstance(result, Held):
        return _park(scenario, world, worker, entry)
    settling = replace(entry, state=State.ACTIVE, stage=Settling(result.settlement))
    return put_worker(world, put_entry(worker, entry, settling))


def _park(scenario: Scenario, world: World, worker: Worker, entry: Entry) -> World:
    if worker.draining:
        return give_back(world, worker, entry)
    parked = sum(one.state is State.PARKED for one in worker.entries)
    beyond = parked >= spare_messages(scenario.slots)
    parkings = entry.parkings + 1
    until = world.now + int(park_seconds(1 if beyond else parkings) * SECOND)
    waiting = replace(
        entry, state=State.PARKED, parkings=parkings, until=until, beyond=beyond, stage=None
    )
    return put_worker(world, put_entry(worker, entry, waiting))


def _wake(world: World, worker: Worker, entry: Entry) -> World:
    if entry.beyond:
        return give_back(world, worker, entry)
    waiting = replace(entry, state=State.WAITING, until=0)
    return put_worker(world, put_entry(worker, entry, waiting))


def give_back(world: World, worker: Worker, entry: Entry) -> World:
    """Return the world after a worker put a message back; what is being claimed goes on."""
    claiming = isinstance(entry.stage, Claiming | Claimed) and entry.state is State.CLAIMING
    rest = replace(entry, state=State.FORGOTTEN, tags=()) if claiming else None
    world = broker.requeue(world, worker.index, entry.tags)
    return put_worker(world, put_entry(worker, entry, rest))


def _stop(world: World, worker: Worker) -> World:
    """Return the world after a drained pod has made room for another."""
    world = broker.requeue(world, worker.index)
    return put_worker(world, fresh_worker(world, worker, new_pod=True))


def fresh_worker(world: World, worker: Worker, *, new_pod: bool) -> Worker:
    """Return the next process in a worker's place."""
    return Worker(
        worker.index,
        pods=worker.pods + new_pod,
        life=worker.life + 1,
        started=world.now,
        session=worker.session + 1,
    )


# From a slot to the acknowledgement


def _stage_steps(
    scenario: Scenario, world: World, worker: Worker, entry: Entry, what: str
) -> Iterator[Step]:
    stage = entry.stage
    if isinstance(stage, Claiming | Finishing):
        call = pending_call(scenario, worker, entry)
        if worker.reaches_api and call is not None:
            yield Step(
                f"{what} {call}",
                lambda: _perform(scenario, world, worker, entry, call),
                # A short run that nobody knows of yet is told at once, unless it is cut off.
                urgent=isinstance(stage, Claiming) or not stage.announced,
            )
        if worker.draining and isinstance(stage, Claiming) and entry.state is State.CLAIMING:
            yield Step(f"{what} given back", lambda: give_back(world, worker, entry))
    elif isinstance(stage, Claimed):
        begin = partial(_begin, scenario, world, worker, entry, stage)
        yield Step(f"{what} starts, {stage.path.value}", begin, urgent=True)
    elif isinstance(stage, Running):
        yield from _running_steps(scenario, world, worker, entry, stage, what)
    elif isinstance(stage, Settling):
        yield from _settling_steps(world, worker, entry, stage, what)


def pending_call(scenario: Scenario, worker: Worker, entry: Entry) -> calls.Call | None:
    """Return what an entry waits for at the API server."""
    stage = entry.stage
    if isinstance(stage, Claiming):
        me, policy = worker.identity, scenario.policy
        return calls.claim(me, policy, entry.message, stage.log, always=scenario.always).call
    if isinstance(stage, Finishing):
        return _finish_turn(scenario, worker, entry, stage).call
    return None


def _perform(
    scenario: Scenario, world: World, worker: Worker, entry: Entry, call: calls.Call
) -> World:
    answer: object = None
    if isinstance(call, calls.GetTask):
        answer = world.task(call.name)
    elif isinstance(call, calls.GetPod):
        answer = describe_pod(world, call.name)
    elif isinstance(call, calls.PatchStatus):
        world, answer = store(world, scenario, call.name, call.patch)
    return resume(scenario, world, worker, entry, answer)


def resume(scenario: Scenario, world: World, worker: Worker, entry: Entry, answer: object) -> World:
    """Return the world after an answer of the API server reached a worker."""
    if isinstance(entry.stage, Claiming):
        return _resume_claim(scenario, world, worker, entry, answer)
    return _resume_finish(scenario, world, worker, entry, answer)


def _begin(
    scenario: Scenario, world: World, worker: Worker, entry: Entry, claimed: Claimed
) -> World:
    attempt = claimed.attempt
    unsaid = not claimed.announced and (worker.draining or entry.judged not in entry.tags)
    if entry.state is State.FORGOTTEN or unsaid:
        key = (attempt.uid, attempt.run, attempt.number)
        worker = replace(worker, live=worker.live - {key})
        world = broker.requeue(world, worker.index, entry.tags)
        return put_worker(world, put_entry(worker, entry, None))
    world = checks.started(scenario, world, worker, claimed)
    doomed = claimed.doomed or (not claimed.announced and not worker.attached)
    running = Running(attempt, world.now, claimed.announced, doomed)
    active = replace(entry, state=State.ACTIVE, stage=running)
    return put_worker(world, put_entry(worker, entry, active))


def _running_steps(
    scenario: Scenario, world: World, worker: Worker, entry: Entry, stage: Running, what: str
) -> Iterator[Step]:
    if announcement_due(world, stage) and worker.reaches_api:
        yield Step(
            f"{what} is announced", lambda: _announce(scenario, world, worker, entry, stage), True
        )
    for outcome in scenario.outcomes:
        yield Step(
            f"{what} ends as {type(outcome).__name__}",
            partial(end, scenario, world, worker, entry, outcome),
            urgent=world.now >= stage.since + TIMEOUT,
            idle=True,
        )


def announcement_due(world: World, stage: Running) -> bool:
    """Return whether a handler has run for so long that it is to be shown as Running."""
    return not stage.announced and world.now >= stage.since + ANNOUNCE


def _announce(
    scenario: Scenario, world: World, worker: Worker, entry: Entry, stage: Running
) -> World:
    name = dict(entry.message.headers)["x-tq-name"]
    world, _ = store(world, scenario, name, calls.announcement(stage.attempt, world.now))
    said = replace(entry, stage=replace(stage, announced=True))
    return put_worker(world, put_entry(worker, entry, said))


def end(scenario: Scenario, world: World, worker: Worker, entry: Entry, outcome: Outcome) -> World:
    """Return the world after a handler has ended."""
    stage = cast(Running, entry.stage)
    seconds = (world.now - stage.since) / SECOND
    finishing = Finishing(stage.attempt, outcome, seconds, stage.announced, ())
    ended = replace(entry, stage=finishing)
    if scenario.ack_first:
        world = broker.acknowledge(world, worker.index, entry.tags)
    return _resume_finish(scenario, world, put_entry(worker, entry, ended), ended, None)


def _resume_finish(
    scenario: Scenario, world: World, worker: Worker, entry: Entry, answer: object
) -> World:
    stage = cast(Finishing, entry.stage)
    stage = replace(stage, log=(*stage.log, Seen(world.now, worker.live, answer)))
    turn = _finish_turn(scenario, worker, entry, stage)
    following = stage if turn.call is not None else Settling(cast(Settlement, turn.result))
    worker = replace(worker, live=turn.live)
    return put_worker(world, put_entry(worker, entry, replace(entry, stage=following)))


def _finish_turn(scenario: Scenario, worker: Worker, entry: Entry, stage: Finishing) -> calls.Turn:
    ended = (stage.attempt, stage.outcome, stage.seconds)
    return calls.finish(worker.identity, scenario.policy, entry.message, ended, stage.log)


def _settling_steps(
    world: World, worker: Worker, entry: Entry, stage: Settling, what: str
) -> Iterator[Step]:
    if isinstance(stage.settlement, Acknowledge) or stage.published:
        yield Step(f"{what} acknowledged", lambda: _acknowledge(world, worker, entry, stage))
    elif worker.attached and not (world.ladder_gone and isinstance(stage.settlement, PublishNext)):
        name = type(stage.settlement).__name__
        yield Step(f"{what} {name} published", lambda: _publish(world, worker, entry, stage))
    elif worker.draining and not worker.attached:
        # There will be no other connection: the original comes again.
        gone = put_entry(worker, entry, None)
        yield Step(f"{what} cannot be published", lambda: put_worker(world, gone))


def _publish(world: World, worker: Worker, entry: Entry, stage: Settling) -> World:
    original = dict(entry.message.headers)
    settlement, now = stage.settlement, to_datetime(world.now)
    if isinstance(settlement, PublishNext):
        headers = next_attempt_headers(original, settlement.attempt)
        copy = broker.build_message(entry.message.uid, headers)
        key = delay_key(settlement.due - now, broker.WORK)
        world = broker.publish(world, DELAY_EXCHANGE, key, copy)
    elif isinstance(settlement, DeadLetter):
        headers = dead_letter_headers(original, settlement.error, broker.WORK, now)
        copy = broker.build_message(entry.message.uid, headers)
        world = broker.publish(world, DEAD_LETTER_EXCHANGE, broker.DEAD, copy)
    done = replace(entry, stage=replace(stage, published=True))
    return put_worker(world, put_entry(worker, entry, done))


def _acknowledge(world: World, worker: Worker, entry: Entry, stage: Settling) -> World:
    settlement = stage.settlement
    if isinstance(settlement, Acknowledge) and not settlement.ended:
        return give_back(world, worker, entry)
    world = broker.acknowledge(world, worker.index, entry.tags)
    worker = put_entry(worker, entry, None)
    done = {replace(one, redelivered=False) for one in (*worker.done, entry.message)}
    return put_worker(world, replace(worker, done=tuple(sorted(done, key=repr))))
