"""Tasks are cancelled or deleted while they wait and while they run: none goes on."""

import json
from typing import Any

import pytest

from e2e.api import Object
from e2e.conftest import MakeSpace
from e2e.kubectl import CommandError
from e2e.manifests import task
from e2e.space import Space, condition_of, count_runs
from e2e.system import ask_pod, name_of, read_metric
from e2e.test_retries import MINUTE
from taskqueue_api.names import CONTROL_EXCHANGE

CANCEL = {"spec": {"cancel": True}}


@pytest.fixture(scope="module")
def shared(make_space: MakeSpace) -> Space:
    """Give a namespace with a queue that runs one Task at a time."""
    space = make_space()
    space.apply(space.scenario_queue("one", {"concurrency": 1}, timeout="2m"))
    space.wait_queue("one")
    return space


def cancel(space: Space, name: str) -> Object:
    """Cancel a Task."""
    return space.system.api.merge("Task", space.name, name, CANCEL)


def check_cancelled(body: Object) -> None:
    """Fail unless a Task's status says that it was cancelled, in every place."""
    status = body["status"]
    assert status["phase"] == "Cancelled"
    assert "completionTime" in status
    assert condition_of(body, "Succeeded")["status"] == "False"
    assert condition_of(body, "Finished")["status"] == "True"
    assert condition_of(body, "Finished")["reason"] == "Cancelled"
    assert not condition_of(body, "Stalled")
    assert not condition_of(body, "Reconciling")


def hold_slot(space: Space, name: str, queue: str = "one") -> None:
    """Let a Task hold the only slot of a queue until it is let go."""
    space.apply(task(name, queue, "hold"))
    space.wait_task(name, "Running")


def test_one_that_runs_is_stopped_and_its_slot_is_free(shared: Space) -> None:
    hold_slot(shared, "held")
    cancel(shared, "held")
    check_cancelled(shared.wait_task("held", "Cancelled"))
    shared.apply(task("next", "one", "record"))
    shared.wait_task("next", "Succeeded")
    assert not [run for run in shared.runs("end") if run.name == "held"]
    shared.wait_depth("one", 0)


def test_one_that_is_deaf_to_term_is_killed(shared: Space) -> None:
    shared.apply(task("deaf", "one", "hang", payload="deaf"))
    shared.wait_task("deaf", "Running")
    cancel(shared, "deaf")
    check_cancelled(shared.wait_task("deaf", "Cancelled"))
    shared.apply(task("after-deaf", "one", "record"))
    shared.wait_task("after-deaf", "Succeeded")


def test_one_that_waits_behind_others_is_never_started(space: Space) -> None:
    """Just created: its message would be started without a look at it, but for the hint."""
    space.apply(space.scenario_queue("busy", {"concurrency": 1}, timeout="2m"))
    space.wait_queue("busy")
    hold_slot(space, "held", "busy")
    names = [f"behind-{n}" for n in range(4)]
    space.create_all(task(name, "busy", "record") for name in names)
    for name in names[:3]:
        cancel(space, name)
    for name in names[:3]:
        check_cancelled(space.wait_task(name, "Cancelled"))
    space.let_go()
    space.wait_task("behind-3", "Succeeded")
    space.wait_depth("busy", 0)
    assert count_runs(space.runs()) == {"behind-3": 1}
    counts = {"succeeded": 2, "cancelled": 3, "pending": 0, "running": 0}
    space.wait("they are counted", lambda: counts.items() <= counted(space, "busy").items())


def counted(space: Space, queue: str) -> dict[str, int]:
    """Return what a TaskQueue's status counts."""
    found: dict[str, int] = space.get("TaskQueue", queue)["status"]["tasks"]
    return found


def test_one_that_waits_for_workers_is_never_started(space: Space) -> None:
    space.apply(space.scenario_queue("later", {"replicas": 0}))
    space.apply(task("waits", "later", "record"), task("stays", "later", "record"))
    space.wait_depth("later", 2)
    cancel(space, "waits")
    check_cancelled(space.wait_task("waits", "Cancelled"))
    space.edit_queue("later", workers={"replicas": 1})
    space.wait_task("stays", "Succeeded")
    space.wait_depth("later", 0)
    assert count_runs(space.runs()) == {"stays": 1}


def test_one_without_a_queue_or_created_so_is_cancelled(shared: Space) -> None:
    shared.apply(task("nowhere", "no-such-queue"), task("stillborn", "one", "record", cancel=True))
    cancel(shared, "nowhere")
    for name in ("nowhere", "stillborn"):
        check_cancelled(shared.wait_task(name, "Cancelled"))
    assert not [run for run in shared.runs() if run.name == "stillborn"]


def test_one_between_two_attempts_gets_no_other(space: Space) -> None:
    space.apply(space.scenario_queue("again", retry=MINUTE))
    space.wait_queue("again")
    space.apply(task("tries", "again", "flaky", payload={"failures": 1}))
    space.wait_task("tries", "Retrying")
    cancel(space, "tries")
    body = space.wait_task("tries", "Cancelled")
    check_cancelled(body)
    # What went wrong before is still of interest.
    assert body["status"]["error"]["type"] == "ConnectionError"
    assert "nextAttemptTime" not in body["status"]


def test_one_that_is_deleted_while_it_runs_is_stopped(shared: Space) -> None:
    hold_slot(shared, "deleted")
    shared.kubectl.run("delete", "task", "deleted")
    # Of the same name, and another Task: nothing of the first one reaches it.
    shared.apply(task("deleted", "one", "record"))
    body = shared.wait_task("deleted", "Succeeded")
    assert body["status"]["attempts"] == 1
    assert not [run for run in shared.runs("end") if run.name == "deleted"]


def test_one_whose_worker_is_lost_is_ended_without_another(space: Space) -> None:
    space.apply(space.scenario_queue("lost", {"concurrency": 1}, timeout="2m"))
    space.wait_queue("lost")
    hold_slot(space, "orphan", "lost")
    (worker,) = space.pods("lost")
    space.edit_queue("lost", workers={"replicas": 0})
    space.system.api.delete("Pod", space.name, name_of(worker), grace=0)
    space.wait_depth("lost", 1)
    assert space.get("Task", "orphan")["status"]["phase"] == "Running"
    cancel(space, "orphan")
    check_cancelled(space.wait_task("orphan", "Cancelled"))
    space.edit_queue("lost", workers={"replicas": 1})
    space.wait_depth("lost", 0)
    assert not space.runs("end")


def test_one_that_has_finished_stays_as_it_is(shared: Space) -> None:
    shared.apply(task("done", "one", "record"))
    before = shared.wait_task("done", "Succeeded")
    cancel(shared, "done")
    assert shared.get("Task", "done")["status"] == before["status"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param({"cancel": False}, "cancel must stay true", id="un-cancelled"),
        pytest.param({"cancel": None}, "cancel must stay true", id="taken away"),
        pytest.param({"handler": "other"}, "must not be changed, but for cancel", id="changed"),
        pytest.param(
            {"payload": {"b": 1}}, "must not be changed, but for cancel", id="another payload"
        ),
        pytest.param(
            {"payload": {"b": 1}, "ttlAfterFinished": "1h"},
            "spec.payload must not be changed",
            id="another payload beside what may change",
        ),
        pytest.param(
            {"payload": None, "ttlAfterFinished": "2h"},
            "spec.payload must not be changed",
            id="no payload beside what may change",
        ),
    ],
)
def test_nothing_else_can_be_changed(shared: Space, spec: dict[str, Any], message: str) -> None:
    if shared.find("Task", "fixed") is None:
        shared.apply(task("fixed", "no-such-queue", cancel=True, payload={"a": 1}))
    with pytest.raises(CommandError, match=message):
        shared.kubectl.run(
            *("patch", "task", "fixed", "--type=merge", f"--patch={json.dumps({'spec': spec})}")
        )


def test_its_time_to_live_can_be_changed(shared: Space) -> None:
    shared.apply(task("kept", "one", "record", payload={"a": 1}))
    shared.wait_task("kept", "Succeeded")
    change = {"spec": {"ttlAfterFinished": "0s"}}
    shared.system.api.merge("Task", shared.name, "kept", change)
    shared.wait_gone("Task", "kept")


def test_a_hint_that_cannot_be_read_is_counted_and_no_more(space: Space) -> None:
    space.apply(space.scenario_queue("told"))
    space.wait_queue("told")
    (worker,) = space.pods("told")
    queue = space.work_queue("told")
    for body in (b"\xff{", b'{"cancel": 7}', b'{"cancel": "nobody"}'):
        space.system.rabbit.publish(queue, body, exchange=CONTROL_EXCHANGE)
    name = "taskqueue_worker_bad_hints_total"

    def bad_hints() -> float | None:
        return read_metric(ask_pod(worker, "/metrics").text, name)

    space.wait("two are counted", lambda: bad_hints() == 2)
    space.apply(task("goes-on", "told", "record"))
    space.wait_task("goes-on", "Succeeded")


@pytest.mark.long
@pytest.mark.own_operator
def test_workers_look_by_themselves_while_there_is_no_operator(space: Space) -> None:
    space.apply(space.scenario_queue("alone", {"concurrency": 1}, timeout="3m"))
    space.wait_queue("alone")
    hold_slot(space, "held", "alone")
    space.apply(task("waits", "alone", "record"))
    space.wait("it is published", lambda: space.dispatched("alone") == 2)
    (pod,) = space.pods("alone")
    space.system.scale_operator(0)
    try:
        for name in ("held", "waits"):
            cancel(space, name)
        for name in ("held", "waits"):
            check_cancelled(space.wait_task(name, "Cancelled"))
    finally:
        space.system.scale_operator(1)
    assert not space.runs()
    assert not space.runs("end")
    assert name_of(space.pods("alone")[0]) == name_of(pod)
