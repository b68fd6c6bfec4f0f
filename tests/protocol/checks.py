"""What must hold: at each start, at each write, and when everything has come to rest."""

from collections.abc import Iterator, Mapping
from typing import Any

from taskqueue_api.task import FINISHED_PHASES, NEW_STATUS
from taskqueue_worker.claim import MAX_ATTEMPTS
from tests.protocol.api_server import load
from tests.protocol.world import (
    Claimed,
    DeadLetter,
    Running,
    Scenario,
    Start,
    ViolationError,
    Worker,
    World,
    replace,
)


def started(scenario: Scenario, world: World, worker: Worker, claimed: Claimed) -> World:
    """Return the world after a handler was started. Raises ViolationError.

    The documented window: an attempt may start a second time only when a worker that had not
    written Running yet was lost or cut off; in a strict scenario never.
    """
    attempt = claimed.attempt
    # Cut off and without knowing it, its message may be another's.
    excused = not claimed.announced and not worker.attached
    earlier = [
        start
        for start in world.starts
        if (start.uid, start.run, start.attempt) == (attempt.uid, attempt.run, attempt.number)
    ]
    excused_now = excused or claimed.doomed or any(start.excused for start in earlier)
    if earlier and (scenario.strict or not excused_now):
        raise ViolationError(f"attempt {attempt.number} of {attempt.uid} is started twice")
    if not excused_now:
        _check_is_alone(world, claimed)
        _check_task(world, claimed)
    start = Start(attempt.uid, attempt.run, attempt.number, attempt.worker.instance, excused)
    return replace(world, starts=tuple(sorted({*world.starts, start}, key=repr)))


def _check_is_alone(world: World, claimed: Claimed) -> None:
    for worker in world.workers:
        for entry in worker.entries:
            stage = entry.stage
            if isinstance(stage, Running) and stage.attempt.uid == claimed.attempt.uid:
                if stage.attempt.run != claimed.attempt.run or stage.doomed:
                    continue
                raise ViolationError(
                    f"attempt {claimed.attempt.number} is started while a living worker runs "
                    f"attempt {stage.attempt.number}"
                )


def _check_task(world: World, claimed: Claimed) -> None:
    task = _find(world, claimed.attempt.uid)
    # A Task that is gone may be started, as docs/limits.md says of fresh ones; and it may have
    # been deleted since it was read.
    if task is not None and task["status"]["phase"] in FINISHED_PHASES:
        raise ViolationError(f"a Task that is {task['status']['phase']} is started")


def written(world: World, scenario: Scenario, before: str, after: str) -> None:
    """Check a write to a Task. Raises ViolationError."""
    old, new = load(before), load(after)
    status = new["status"]
    if old["status"]["phase"] in FINISHED_PHASES and old["status"] != status:
        if status != {**NEW_STATUS, "run": new["spec"]["rerun"]}:
            raise ViolationError("a finished Task has changed")
        return
    most = scenario.policy.max_attempts
    if status["attempts"] > most + world.lost or status["attempts"] > max(most, MAX_ATTEMPTS):
        raise ViolationError(f"attempt {status['attempts']} of {most}")
    ended = status["phase"] in (*FINISHED_PHASES, "Retrying")
    lost = status.get("error", {}).get("type") == "WorkerLost"
    if ended and not lost and status != old["status"]:
        _check_was_started(world, new)


def _check_was_started(world: World, task: Mapping[str, Any]) -> None:
    status = task["status"]
    instance = status["worker"]["instance"]
    made = (task["metadata"]["uid"], status["run"], status["attempts"], instance)
    starts = world.starts
    if made not in [(one.uid, one.run, one.attempt, one.instance) for one in starts]:
        raise ViolationError(f"{status['phase']} by a worker that never started it")


def at_rest(world: World) -> None:
    """Check a world in which nothing is left to be done. Raises ViolationError."""
    for fault in _unrest(world):
        raise ViolationError(fault)


def _unrest(world: World) -> Iterator[str]:
    if world.ready or world.unacked or world.ladder:
        yield "messages stay for ever"
    if any(worker.entries for worker in world.workers):
        yield "a worker keeps what it never ends"
    for _, body in world.tasks:
        task = load(body)
        uid, status = task["metadata"]["uid"], task["status"]
        run = status["run"]
        letters = [one for one in world.dead if (one.uid, one.run) == (uid, run)]
        if run != task["spec"]["rerun"]:
            yield "a Task is never run again"
        elif status["phase"] not in FINISHED_PHASES:
            yield f"a Task stays {status['phase']} for ever"
        elif status["phase"] == "Succeeded" and letters:
            yield "a dead letter of a Task that has succeeded"
        elif status["phase"] == "Failed":
            why = DeadLetter(uid, run, status["error"]["type"])
            yield from [] if why in letters else ["a failed Task without a dead letter on why"]


def _find(world: World, uid: str) -> Mapping[str, Any] | None:
    for _, body in world.tasks:
        task = load(body)
        if task["metadata"]["uid"] == uid:
            return task
    return None
