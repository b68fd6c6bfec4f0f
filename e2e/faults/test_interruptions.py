"""Operator and workers die at work: nothing is lost, and nothing is run twice."""

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Thread

import pytest

from e2e.api import Object
from e2e.manifests import task
from e2e.space import Space, count_runs
from e2e.system import System, kill_process, name_of
from taskqueue_api.conditions import parse_time

DISPATCHED_THROUGH_MARGIN = timedelta(seconds=10)
"""Tasks younger than this, compared with the newest, are published again by a new operator."""


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(System.delete_operator, id="deleted"),
        pytest.param(lambda system: system.delete_operator(force=True), id="deleted by force"),
        pytest.param(System.kill_operator, id="killed"),
    ],
)
@pytest.mark.own_operator
def test_operator_ended_while_tasks_run(space: Space, end: Callable[[System], None]) -> None:
    space.apply(space.scenario_queue("work", {"concurrency": 4}))
    space.wait_queue("work")
    tasks = [task(f"task-{n:03}", "work", "record") for n in range(200)]
    space.create_all(tasks[:80])
    ending = Thread(target=end, args=[space.system])
    ending.start()
    space.create_all(tasks[80:])
    ending.join()
    space.wait_tasks(200)
    assert count_runs(space.runs()) == {name_of(one): 1 for one in tasks}
    space.wait_depth("work", 0)


@pytest.mark.long
@pytest.mark.own_operator
def test_backlog_is_neither_doubled_nor_lost_by_a_restart(space: Space) -> None:
    space.apply(space.scenario_queue("backlog", {"replicas": 0, "concurrency": 4}))
    space.wait_queue("backlog")
    created = space.create_all(task(f"task-{n:03}", "backlog", "record") for n in range(200))
    space.wait_depth("backlog", 200)
    youngest = max(created, key=created_at)
    space.wait_older(youngest, DISPATCHED_THROUGH_MARGIN)
    (last,) = space.create_all([task("newest", "backlog", "record")])
    newest = name_of(last)
    space.wait_depth("backlog", 201)
    space.wait(
        "the TaskQueue says that they are published",
        lambda: published_through(space) > created_at(youngest),
    )
    space.system.kill_operator()
    # Only the newest is not known for certain to be published: announced, and published again.
    space.wait(
        "the newest is announced again",
        lambda: space.get("Task", newest)["status"]["dispatches"] == 2,
    )
    space.wait_depth("backlog", 202)
    dispatches = {name_of(one): one["status"]["dispatches"] for one in space.tasks()}
    assert dispatches == {**{name_of(one): 1 for one in created}, newest: 2}
    space.edit_queue("backlog", workers={"replicas": 1})
    space.wait_tasks(201)
    space.wait_depth("backlog", 0)
    assert count_runs(space.runs()) == dict.fromkeys(dispatches, 1)


@pytest.mark.own_operator
def test_copies_beside_their_originals_run_once(space: Space) -> None:
    """A backlog that the next operator cannot be sure of is published again, all of it."""
    space.apply(space.scenario_queue("doubled", {"replicas": 0, "concurrency": 4}))
    space.wait_queue("doubled")
    created = space.create_all(task(f"task-{n:03}", "doubled", "record") for n in range(100))
    space.wait_depth("doubled", 100)
    space.system.kill_operator()
    space.wait_depth("doubled", 200)
    space.edit_queue("doubled", workers={"replicas": 2})
    space.wait_tasks(100)
    space.wait_depth("doubled", 0)
    assert count_runs(space.runs()) == {name_of(one): 1 for one in created}


def published_through(space: Space) -> datetime:
    """Return the moment before which all Tasks are published, as the TaskQueue says."""
    status = space.get("TaskQueue", "backlog")["status"]
    return parse_time(status.get("dispatchedThrough", "1970-01-01T00:00:00Z"))


def created_at(body: Object) -> datetime:
    """Return when an object was created."""
    return parse_time(body["metadata"]["creationTimestamp"])


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(
            lambda system, pod: system.api.delete(
                "Pod", pod["metadata"]["namespace"], name_of(pod), grace=0
            ),
            id="pod deleted by force",
        ),
        pytest.param(lambda _, pod: kill_process(pod, "taskqueue_worker"), id="process killed"),
    ],
)
def test_worker_ended_while_it_works(space: Space, end: Callable[[System, Object], None]) -> None:
    space.apply(space.scenario_queue("work", {"concurrency": 1}))
    space.wait_queue("work")
    space.apply(task("long", "work", "slow", payload={"seconds": 6}))
    space.apply(task("behind", "work", "record"))
    first = space.wait_task("long", "Running")
    (pod,) = space.pods("work")
    end(space.system, pod)
    body = space.wait_task("long", "Succeeded")
    assert body["status"]["attempts"] == 2
    assert body["status"]["result"] == {"attempt": 2}
    assert body["status"]["worker"]["instance"] != first["status"]["worker"]["instance"]
    assert [run.attempt for run in space.runs("start")] == [1, 2]
    assert [run.attempt for run in space.runs("end")] == [2]
    assert space.wait_task("behind", "Succeeded")["status"]["attempts"] == 1
    assert count_runs(space.runs()) == {"behind": 1}
    space.wait_depth("work", 0)


@pytest.mark.own_operator
def test_workers_go_on_without_an_operator(space: Space) -> None:
    space.apply(space.scenario_queue("alone", {"concurrency": 1}))
    space.wait_queue("alone")
    names = [f"task-{n}" for n in range(8)]
    space.apply(task("first", "alone", "hold"))
    space.create_all(task(name, "alone", "record") for name in names)
    space.wait("all are published", lambda: space.dispatched("alone") == 1 + len(names))
    space.system.scale_operator(0)
    try:
        space.let_go()
        space.wait_tasks(1 + len(names))
    finally:
        space.system.scale_operator(1)
    assert count_runs(space.runs()) == dict.fromkeys(names, 1)
