"""What a step is, and what steps of several parts share."""

import json
from collections.abc import Callable
from typing import NamedTuple

from taskqueue_api.conditions import rfc3339
from taskqueue_api.names import WORKER_CONTAINER
from taskqueue_worker.api import Gone, Refused, WriteAnswer, Written
from tests.protocol import checks
from tests.protocol.api_server import apply_patch
from tests.protocol.world import Entry, Scenario, Worker, World, replace, to_datetime


class Step(NamedTuple):
    """One thing that may happen next.

    do: returns the world after it. urgent: a healthy process does not let time pass before it.
    idle: it need not be done at all for time to pass, such as the end of a handler.
    """

    label: str
    do: Callable[[], World]
    urgent: bool = False
    idle: bool = False


def given(world: World) -> Callable[[], World]:
    """Return a step that leads to this very world."""
    return lambda: world


def store(world: World, scenario: Scenario, name: str, patch: str) -> tuple[World, WriteAnswer]:
    """Return the world after a write to a Task's status, and the API server's answer."""
    body = world.task(name)
    if body is None:
        return world, Gone()
    answer = apply_patch(body, patch)
    if answer.body is None:
        return world, Refused(answer.words)
    checks.written(world, scenario, body, answer.body)
    return put_task(world, name, answer.body), Written()


def put_task(world: World, name: str, body: str | None) -> World:
    """Return the world with a Task as it is now; None: deleted."""
    tasks = dict(world.tasks)
    tasks.pop(name, None)
    if body is not None:
        tasks[name] = body
    return replace(world, tasks=tuple(sorted(tasks.items())))


def put_worker(world: World, worker: Worker) -> World:
    """Return the world with a worker as it is now."""
    workers = list(world.workers)
    workers[worker.index] = worker
    return replace(world, workers=tuple(workers))


def put_entry(worker: Worker, old: Entry, new: Entry | None) -> Worker:
    """Return a worker with an entry as it is now; None: dropped."""
    index = worker.entries.index(old)
    following = () if new is None else (new,)
    return replace(worker, entries=worker.entries[:index] + following + worker.entries[index + 1 :])


def describe_pod(world: World, name: str) -> str | None:
    """Return a pod as the API server shows it; None: there is none."""
    for worker in world.workers:
        me = worker.identity
        if me.pod == name:
            ready = "True" if worker.reaches_api else "False"
            container = {
                "name": WORKER_CONTAINER,
                "ready": True,
                "state": {"running": {"startedAt": rfc3339(to_datetime(worker.started))}},
            }
            return json.dumps(
                {
                    "metadata": {"name": me.pod, "uid": me.pod_uid},
                    "status": {
                        "conditions": [{"type": "Ready", "status": ready}],
                        "containerStatuses": [container],
                    },
                }
            )
    return None
