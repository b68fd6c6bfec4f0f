"""Finished Tasks are run again by `spec.rerun`: all over, once, and only when somebody asks."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.api import ApiError, Object
from e2e.conftest import MakeSpace
from e2e.docs import read_command
from e2e.kubectl import BIN, KUBECONFIG, CommandError, run_command
from e2e.manifests import task
from e2e.rabbit import Message
from e2e.space import Space, condition_of, count_runs, error_of, holds_for
from e2e.stage import ILL, TIME
from e2e.test_cancel import cancel, check_cancelled, hold_slot
from e2e.test_retries import SHORT, attempts_of
from taskqueue_api.task import NEW_STATUS

UNFINISHED = "rerun of an unfinished Task"


@pytest.fixture(scope="module")
def shared(make_space: MakeSpace) -> Space:
    """Give a namespace with a queue of one slot, that tries nothing again."""
    space = make_space()
    space.apply(space.scenario_queue("one", {"concurrency": 1}, timeout="2m"))
    space.wait_queue("one")
    return space


@pytest.fixture
def patient(space: Space) -> Iterator[Space]:
    """Give a namespace with a queue that tries three times, and a gate that is shut."""
    space.apply(space.scenario_queue("patient", retry=SHORT))
    space.wait_queue("patient")
    yield space
    space.let_go()


def rerun(space: Space, name: str, number: int = 1, **spec: Any) -> Object:
    """Ask for a run of a Task, as people do."""
    patch = json.dumps({"spec": {"rerun": number, **spec}})
    space.kubectl.run("patch", "task", name, "--type=merge", f"--patch={patch}")
    return space.get("Task", name)


def wait_run(space: Space, name: str, number: int = 1) -> Object:
    """Return a Task as soon as a run of it has ended."""

    def found() -> Object | None:
        body = space.get("Task", name)
        finished = condition_of(body, "Finished").get("status") == "True"
        return body if finished and body["status"]["run"] == number else None

    return space.wait(f"run {number} of '{name}' has ended", found)


def letters_of(space: Space, queue: str, uid: str, count: int) -> list[Message]:
    """Return a Task's dead letters as soon as there are so many."""
    letters: list[Message] = []

    def found() -> bool:
        taken = space.system.rabbit.take(space.dead_letters(queue))
        letters.extend(one for one in taken if one.properties.message_id == uid)
        return len(letters) >= count

    space.wait(f"{count} dead letters of {uid}", found)
    return letters


def test_a_failed_one_has_all_its_attempts_again_and_succeeds(patient: Space) -> None:
    patient.apply(task("mended", "patient", "gated"))
    before = patient.wait_task("mended", "Failed")
    assert attempts_of(patient, "mended") == [1, 2, 3]
    patient.let_go()
    rerun(patient, "mended")
    status = wait_run(patient, "mended")["status"]
    assert (status["phase"], status["run"], status["attempts"]) == ("Succeeded", 1, 1)
    assert status["dispatches"] == 1
    assert status["result"] == {"attempt": 1}
    assert not {"error", "nextAttemptTime"} & status.keys()
    after = patient.get("Task", "mended")
    assert condition_of(after, "Succeeded")["status"] == "True"
    assert not condition_of(after, "Stalled")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    patient.wait_depth("patient", 0)
    assert attempts_of(patient, "mended") == [1, 2, 3, 1]


def test_one_that_fails_again_leaves_a_dead_letter_of_each_run(patient: Space) -> None:
    patient.apply(task("hopeless", "patient", "gated"))
    uid = patient.wait_task("hopeless", "Failed")["metadata"]["uid"]
    (first,) = letters_of(patient, "patient", uid, 1)
    rerun(patient, "hopeless")
    body = wait_run(patient, "hopeless")
    assert error_of(body) == ("ConnectionError", "the gate is shut")
    assert attempts_of(patient, "hopeless") == [1, 2, 3, 1, 2, 3]
    (second,) = letters_of(patient, "patient", uid, 1)
    assert [one.headers["x-tq-run"] for one in (first, second)] == [0, 1]


def test_a_dead_letter_of_the_run_before_that_is_put_back_is_dropped(patient: Space) -> None:
    patient.apply(task("record", "patient", "gated"))
    uid = patient.wait_task("record", "Failed")["metadata"]["uid"]
    (letter,) = letters_of(patient, "patient", uid, 1)
    patient.let_go()
    rerun(patient, "record")
    before = wait_run(patient, "record")
    properties = {"message_id": uid, "type": "gated", "headers": dict(letter.headers)}
    patient.system.rabbit.publish(patient.work_queue("patient"), b"null", properties=properties)
    patient.wait_depth("patient", 0)
    assert holds_for(lambda: attempts_of(patient, "record") == [1, 2, 3, 1], 5)
    assert patient.get("Task", "record")["status"] == before["status"]


def test_a_succeeded_one_runs_again_as_often_as_it_is_asked(shared: Space) -> None:
    shared.apply(task("often", "one", "record", payload={"a": 1}))
    shared.wait_task("often", "Succeeded")
    for number in (1, 2):
        rerun(shared, "often", number)
        body = wait_run(shared, "often", number)
        assert (body["status"]["phase"], body["status"]["attempts"]) == ("Succeeded", 1)
    # Far ahead it is one run all the same, and what was asked for already asks for nothing.
    rerun(shared, "often", 9)
    done = wait_run(shared, "often", 9)
    rerun(shared, "often", 9)
    assert holds_for(lambda: shared.get("Task", "often")["status"] == done["status"], 5)
    assert count_runs(shared.runs())["often"] == 4
    assert all(one.payload == {"a": 1} for one in shared.runs() if one.name == "often")


def test_one_that_was_refused_runs_once_its_queue_allows_it(space: Space) -> None:
    space.apply(space.scenario_queue("short", timeout="5s"))
    space.wait_queue("short")
    space.apply(task("long", "short", "record", timeout="30s"))
    assert error_of(space.wait_task("long"))[0] == "TimeoutTooLong"
    generation = space.edit_queue("short", timeout="1m")
    space.wait_queue("short", generation=generation)
    rerun(space, "long")
    assert wait_run(space, "long")["status"]["phase"] == "Succeeded"
    assert count_runs(space.runs()) == {"long": 1}


def test_one_in_its_rerun_can_be_cancelled_and_then_never_runs_again(shared: Space) -> None:
    shared.apply(task("stopped", "one", "record"))
    shared.wait_task("stopped", "Succeeded")
    hold_slot(shared, "holder")
    rerun(shared, "stopped")
    shared.wait("its run has begun", lambda: shared.get("Task", "stopped")["status"]["run"] == 1)
    cancel(shared, "stopped")
    check_cancelled(shared.wait_task("stopped", "Cancelled"))
    cancel(shared, "holder")
    shared.wait_task("holder", "Cancelled")
    with pytest.raises(CommandError, match="rerun must not be raised when cancel is true"):
        rerun(shared, "stopped", 2)
    assert count_runs(shared.runs())["stopped"] == 1


@pytest.mark.parametrize("phase", ["Pending", "Running", "Retrying"])
def test_an_unfinished_one_is_refused(shared: Space, phase: str) -> None:
    name = f"unfinished-{phase.lower()}"
    shared.apply(task(name, "nowhere"))
    worker = {"attempts": 1, "worker": {"pod": "p", "instance": "me"}}
    again = {"error": {"type": "Boom"}, "nextAttemptTime": "2199-01-01T00:00:00Z"}
    statuses = {"Pending": {}, "Running": worker, "Retrying": {**worker, **again}}
    change = {"status": {"phase": phase, **statuses[phase]}}
    shared.system.api.merge("Task", shared.name, name, change, sub="status")
    with pytest.raises(CommandError, match=UNFINISHED):
        rerun(shared, name)


def test_a_new_one_cannot_ask_for_a_rerun(shared: Space) -> None:
    with pytest.raises(ApiError, match=UNFINISHED):
        shared.apply(task("eager", "nowhere", rerun=1))
    shared.apply(task("calm", "nowhere", rerun=0))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param({"rerun": 1}, "rerun must not go down", id="down"),
        pytest.param({"rerun": None}, "rerun must not go down", id="taken away"),
        pytest.param({"rerun": 1001}, "less than or equal to 1000", id="too far"),
        pytest.param(
            {"rerun": 3, "cancel": True}, "rerun must not be raised when cancel", id="and cancel"
        ),
        pytest.param(
            {"rerun": 3, "handler": "other"}, "but for cancel, rerun and", id="another handler"
        ),
        pytest.param(
            {"rerun": 3, "payload": {"b": 1}}, "spec.payload must not be changed", id="payload"
        ),
        pytest.param({"rerun": 3, "payload": None}, "spec.payload must not", id="no payload"),
    ],
)
def test_what_is_refused_of_a_finished_one(
    shared: Space, spec: dict[str, Any], message: str
) -> None:
    if shared.find("Task", "fixed") is None:
        shared.apply(task("fixed", "one", "record", payload={"a": 1}))
        shared.wait_task("fixed", "Succeeded")
        rerun(shared, "fixed", 2)
        wait_run(shared, "fixed", 2)
    patch = json.dumps({"spec": spec})
    with pytest.raises(CommandError, match=message):
        shared.kubectl.run("patch", "task", "fixed", "--type=merge", f"--patch={patch}")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        pytest.param({**NEW_STATUS, "run": 1}, "nobody has asked for that run", id="next run"),
        pytest.param({**NEW_STATUS, "run": 0}, "the Task is finished", id="the same run"),
        pytest.param({"run": 1}, "must not be changed", id="only the number"),
    ],
)
def test_a_forged_rerun_is_refused(shared: Space, status: dict[str, Any], message: str) -> None:
    if shared.find("Task", "forged") is None:
        shared.apply(task("forged", "one", "record"))
    before = shared.wait_task("forged", "Succeeded")
    whole = status if "phase" in status else {**before["status"], **status}
    step = {"op": "add", "path": "/status", "value": whole}
    with pytest.raises(ApiError) as error:
        shared.system.api.json_patch("Task", shared.name, "forged", [step], sub="status")
    assert message in error.value.message


def test_its_runs_can_be_selected(shared: Space) -> None:
    shared.apply(task("chosen", "one", "record"))
    shared.wait_task("chosen", "Succeeded")
    rerun(shared, "chosen", 5)
    wait_run(shared, "chosen", 5)
    assert [one["metadata"]["name"] for one in shared.tasks("spec.rerun=5")] == ["chosen"]


def test_one_that_is_over_age_is_deleted_after_its_rerun_and_not_before(space: Space) -> None:
    space.apply(space.scenario_queue("brief"))
    space.wait_queue("brief")
    space.apply(task("aging", "brief", "hold"))
    space.let_go()
    space.wait_task("aging", "Succeeded")
    rerun(space, "aging", ttlAfterFinished="0s")
    space.wait_gone("Task", "aging")
    assert count_runs(space.runs("end")) == {"aging": 2}


def test_all_failed_ones_of_a_queue_by_the_command_that_people_read(patient: Space) -> None:
    names = [f"failed-{number}" for number in range(3)]
    patient.create_all(task(name, "patient", "gated") for name in names)
    for name in names:
        patient.wait_task(name, "Failed")
    patient.let_go()
    env = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "KUBECONFIG": str(KUBECONFIG),
        "NAMESPACE": patient.name,
        "QUEUE": "patient",
    }
    run_command(["bash", "-euc", read_command("rerun.md", "xargs")], env=env)
    for name in names:
        assert wait_run(patient, name)["status"]["phase"] == "Succeeded"
    assert count_runs(patient.runs()) == dict.fromkeys(names, 4)


@pytest.mark.own_operator
def test_what_is_asked_for_while_no_operator_runs_happens_when_it_is_back(space: Space) -> None:
    """Even where the history has given the Task up meanwhile."""
    space.apply(space.scenario_queue("alone"))
    space.wait_queue("alone")
    space.apply(task("asked", "alone", "gated"))
    space.wait_task("asked", "Failed")
    space.system.scale_operator(0)
    try:
        space.edit_queue("alone", history={"failed": "1s"})
        rerun(space, "asked")
        space.let_go()
        assert holds_for(lambda: space.get("Task", "asked")["status"]["run"] == 0, 3)
    finally:
        space.system.scale_operator(1)
    assert wait_run(space, "asked")["status"]["phase"] == "Succeeded"
    assert count_runs(space.runs()) == {"asked": 2}


@pytest.mark.own_operator
def test_a_run_that_had_begun_when_the_operator_ended_is_published_by_the_next(
    space: Space,
) -> None:
    space.apply(space.scenario_queue("begun", {"replicas": 0}))
    space.apply(task("waits", "begun", "record"))
    cause = {"type": "Boom", "message": "why"}
    end = {"phase": "Failed", "completionTime": TIME, "error": cause, "conditions": ILL}
    space.system.api.merge("Task", space.name, "waits", {"status": end}, sub="status")
    space.system.scale_operator(0)
    try:
        rerun(space, "waits")
        step = {"op": "add", "path": "/status", "value": {**NEW_STATUS, "run": 1}}
        space.system.api.json_patch("Task", space.name, "waits", [step], sub="status")
    finally:
        space.system.scale_operator(1)
    space.edit_queue("begun", workers={"replicas": 1})
    status = wait_run(space, "waits")["status"]
    assert (status["phase"], status["attempts"]) == ("Succeeded", 1)
    space.wait_depth("begun", 0)
    assert count_runs(space.runs()) == {"waits": 1}
