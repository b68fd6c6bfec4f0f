"""Failed Tasks are tried again: how often and when they should, whatever dies meanwhile."""

from functools import partial
from typing import Any

import pytest

from e2e.api import Object
from e2e.conftest import MakeSpace
from e2e.manifests import task
from e2e.rabbit import WORKER_CONSUMERS, Message
from e2e.space import Space, condition_of, count_runs, error_of
from e2e.system import ask_pod, kill_process, name_of, read_metric
from taskqueue_api.conditions import parse_time
from taskqueue_api.names import DELAY_EXCHANGE, delay_level

SHORT = {"maxAttempts": 3, "backoff": {"type": "Fixed", "initial": "300ms", "jitter": 0}}
MINUTE = {"maxAttempts": 2, "backoff": {"type": "Fixed", "initial": "60s", "jitter": 0}}
HALF_A_MINUTE = {"maxAttempts": 2, "backoff": {"type": "Fixed", "initial": "30s", "jitter": 0}}
LEVEL_OF_HALF_A_MINUTE = delay_level(8)
"""Where a message with a delay of 30 s is first: 300 units of 100 ms are 256 and some."""


@pytest.fixture(scope="module")
def shared(make_space: MakeSpace) -> Space:
    """Give a namespace with queues that try again, in Python and by a program."""
    space = make_space()
    space.apply(
        space.scenario_queue("patient", {"concurrency": 4}, retry=SHORT),
        space.scenario_queue(
            "programs",
            {"handlers": {"exec": {"command": ["sh", "/app/program.sh"]}}},
            retry=SHORT,
        ),
    )
    for name in ("patient", "programs"):
        space.wait_queue(name)
    return space


def run(space: Space, name: str, handler: str, queue: str = "patient", **spec: Any) -> Object:
    """Create a Task and return it as it has finished."""
    space.apply(task(name, queue, handler, **spec))
    return space.wait_task(name)


def attempts_of(space: Space, name: str) -> list[int]:
    """Return the attempts that the handler recorded, in order."""
    return [one.attempt for one in space.runs() if one.name == name]


def dead_letters(space: Space, queue: str, uid: str) -> list[Message]:
    """Return the dead letters of one Task, and take all others away."""
    taken = space.system.rabbit.take(space.dead_letters(queue))
    return [one for one in taken if one.properties.message_id == uid]


def test_it_succeeds_once_the_fault_is_over(shared: Space) -> None:
    body = run(shared, "recovers", "flaky", payload={"failures": 2})
    assert (body["status"]["phase"], body["status"]["attempts"]) == ("Succeeded", 3)
    assert body["status"]["result"] == {"attempt": 3}
    assert not {"error", "nextAttemptTime"} & body["status"].keys()
    assert condition_of(body, "Succeeded")["status"] == "True"
    assert attempts_of(shared, "recovers") == [1, 2, 3]
    shared.wait_depth("patient", 0)


def test_it_fails_after_the_last_attempt_and_is_one_dead_letter(shared: Space) -> None:
    body = run(shared, "hopeless", "flaky", payload={"failures": 9})
    assert error_of(body) == ("ConnectionError", "attempt 3 fails")
    assert (body["status"]["attempts"], attempts_of(shared, "hopeless")) == (3, [1, 2, 3])
    assert condition_of(body, "Stalled")["status"] == "True"
    letters: list[Message] = []

    def found() -> bool:
        letters.extend(dead_letters(shared, "patient", body["metadata"]["uid"]))
        return bool(letters)

    shared.wait("it is a dead letter", found)
    (letter,) = letters
    assert letter.headers["x-tq-attempt"] == 3
    assert letter.headers["x-tq-error-message"] == "attempt 3 fails"
    # Copied, it would make RabbitMQ up to 3.13 drop the next retry as a cycle.
    assert "x-death" not in letter.headers


@pytest.mark.parametrize(
    ("handler", "spec", "attempts", "error"),
    [
        pytest.param("reject", {}, 1, ("Rejected", "never again"), id="rejected"),
        pytest.param(
            "flaky",
            {"payload": {"failures": 9}, "retry": {"maxAttempts": 1}},
            1,
            ("ConnectionError", "attempt 1 fails"),
            id="the Task's own policy: once",
        ),
        pytest.param(
            "flaky",
            {
                "payload": {"failures": 9},
                "retry": {"maxAttempts": 5, "backoff": {"type": "Immediate"}},
            },
            5,
            ("ConnectionError", "attempt 5 fails"),
            id="the Task's own policy: five times at once",
        ),
        pytest.param(
            "flaky",
            {"payload": {"failures": 9, "after": 0.1}},
            3,
            ("Retry", "attempt 3 asks for time"),
            id="a handler that asks for time does not get more attempts",
        ),
        pytest.param(
            "signal", {"payload": "SIGKILL"}, 3, ("Killed", "SIGKILL"), id="killed each time"
        ),
        pytest.param("nobody", {}, 1, ("UnknownHandler", "no handler 'nobody'"), id="no handler"),
    ],
)
def test_how_often_it_is_tried(
    shared: Space,
    request: pytest.FixtureRequest,
    handler: str,
    spec: dict[str, Any],
    attempts: int,
    error: tuple[str, str],
) -> None:
    number = request.node.callspec.indices["handler"]
    body = run(shared, f"often-{number}", handler, **spec)
    assert body["status"]["attempts"] == attempts
    kind, message = error_of(body)
    assert kind == error[0]
    assert error[1] in message


@pytest.mark.parametrize(
    ("code", "attempts", "kind"),
    [pytest.param(75, 3, "ExitCode", id="75"), pytest.param(65, 1, "Rejected", id="65")],
)
def test_what_the_exit_code_of_a_program_asks_for(
    shared: Space, code: int, attempts: int, kind: str
) -> None:
    body = run(shared, f"exit-{code}", "exit", "programs", payload=code)
    assert (body["status"]["attempts"], error_of(body)[0]) == (attempts, kind)


def test_messages_of_outside_producers_are_tried_again_too(shared: Space) -> None:
    properties = {"message_id": "outside-1", "type": "flaky", "headers": {"own": "x"}}
    work = shared.work_queue("patient")
    shared.system.rabbit.publish(work, b'{"failures": 9}', properties=properties)
    letters: list[Message] = []

    def found() -> bool:
        letters.extend(dead_letters(shared, "patient", "outside-1"))
        return bool(letters)

    shared.wait("it is a dead letter", found)
    assert [one.attempt for one in shared.runs() if one.uid == "outside-1"] == [1, 2, 3]
    assert letters[0].headers["x-tq-attempt"] == 3
    assert "own" not in letters[0].headers


def test_while_it_waits_it_says_why_and_until_when(space: Space) -> None:
    space.apply(space.scenario_queue("waiting", retry=MINUTE))
    space.wait_queue("waiting")
    space.apply(task("later", "waiting", "flaky", payload={"failures": 1}))
    body = space.wait_task("later", "Retrying")
    status = body["status"]
    assert status["error"] == {"type": "ConnectionError", "message": "attempt 1 fails"}
    assert (status["attempts"], status["worker"]["pod"]) == (1, name_of(space.pods("waiting")[0]))
    reconciling = condition_of(body, "Reconciling")
    assert reconciling["reason"] == "Retrying"
    assert status["nextAttemptTime"] in reconciling["message"]
    assert condition_of(body, "Succeeded")["status"] == "Unknown"
    space.wait("it is counted", lambda: counted(space, "waiting", "retrying") == 1)
    # It waits in no queue where it could keep another from being run.
    assert space.system.rabbit.depth(space.work_queue("waiting")) == (0, WORKER_CONSUMERS)
    space.apply(task("other", "waiting", "record"))
    space.wait_task("other", "Succeeded")


def counted(space: Space, queue: str, phase: str) -> int:
    """Return how many Tasks a TaskQueue's status counts in a phase."""
    return int(space.get("TaskQueue", queue)["status"]["tasks"][phase])


@pytest.mark.long
@pytest.mark.own_operator
def test_attempts_do_not_come_early_and_go_on_without_an_operator(space: Space) -> None:
    policy = {"maxAttempts": 2, "backoff": {"type": "Fixed", "initial": "25s", "jitter": 0}}
    space.apply(space.scenario_queue("alone", {"concurrency": 4}, retry=policy))
    space.wait_queue("alone")
    names = [f"task-{n:02}" for n in range(20)]
    space.create_all(task(name, "alone", "flaky", payload={"failures": 1}) for name in names)
    due = {name: due_of(space.wait_task(name, "Retrying")) for name in names}
    space.system.scale_operator(0)
    try:
        assert {one["status"]["phase"] for one in space.tasks()} == {"Retrying"}
        space.wait_tasks(len(names))
    finally:
        space.system.scale_operator(1)
    assert count_runs(space.runs()) == dict.fromkeys(names, 2)
    assert not [name for name in names if is_early(space, name, due[name])]


def due_of(body: Object) -> str:
    """Return when a Task is tried again."""
    return str(body["status"]["nextAttemptTime"])


def is_early(space: Space, name: str, due: str) -> bool:
    """Return whether a Task's last attempt started before it was due."""
    started = space.get("Task", name)["status"]["startTime"]
    # That is cut off to whole seconds.
    return parse_time(started) < parse_time(due).replace(microsecond=0)


@pytest.mark.own_operator
def test_a_worker_that_dies_before_it_publishes_the_next_attempt(space: Space) -> None:
    """The exchange for it is deleted: the worker is stuck between the outcome and the message."""
    space.apply(space.scenario_queue("cut", retry=SHORT))
    space.wait_queue("cut")
    with space.system.rabbit.channel() as channel:
        channel.exchange_delete(DELAY_EXCHANGE)
    space.apply(task("cut", "cut", "flaky", payload={"failures": 1}))
    space.wait_task("cut", "Retrying")
    (pod,) = space.pods("cut")
    # What it cannot publish stops nothing else, and costs it no connection.
    space.apply(task("beside", "cut", "record"))
    space.wait_task("beside", "Succeeded")
    lost = read_metric(ask_pod(pod, "/metrics").text, "taskqueue_worker_broker_reconnects_total")
    assert lost == 0
    kill_process(pod, "taskqueue_worker")
    # The operator looks after the ladder, and another life of the worker publishes the message.
    body = space.wait_task("cut", "Succeeded")
    assert body["status"]["attempts"] == 2
    assert attempts_of(space, "cut") == [1, 2]
    space.wait_depth("cut", 0)


@pytest.mark.long
@pytest.mark.own_operator
def test_delayed_messages_that_are_lost_are_published_again(space: Space) -> None:
    """A queue of the ladder is deleted, with what waits in it, while no operator runs."""
    space.apply(space.scenario_queue("lost", {"concurrency": 4}, retry=HALF_A_MINUTE))
    space.wait_queue("lost")
    names = [f"task-{n}" for n in range(5)]
    space.create_all(task(name, "lost", "flaky", payload={"failures": 1}) for name in names)
    due = {name: due_of(space.wait_task(name, "Retrying")) for name in names}
    depth = partial(space.system.rabbit.depth, LEVEL_OF_HALF_A_MINUTE)
    space.wait("they wait in the ladder", lambda: (depth() or (0, 0))[0] >= len(names))
    space.system.scale_operator(0)
    with space.system.rabbit.channel() as channel:
        channel.queue_delete(LEVEL_OF_HALF_A_MINUTE)
    space.system.scale_operator(1)
    space.wait_tasks(len(names), seconds=150)
    assert count_runs(space.runs()) == dict.fromkeys(names, 2)
    assert {one["status"]["dispatches"] for one in space.tasks()} == {2}
    assert not [name for name in names if is_early(space, name, due[name])]


@pytest.mark.own_operator
def test_delayed_messages_of_a_deleted_queue_hold_up_nobody(space: Space) -> None:
    policy = {"maxAttempts": 2, "backoff": {"type": "Fixed", "initial": "15s", "jitter": 0}}
    for name in ("doomed", "healthy"):
        workers = {"concurrency": 8}
        space.apply(
            space.scenario_queue(name, workers, retry=policy, deletionPolicy="Delete", timeout="5s")
        )
    for name in ("doomed", "healthy"):
        space.wait_queue(name)
    # More than the ladder would keep in hand for a queue that takes nothing.
    doomed = [f"doomed-{n:02}" for n in range(40)]
    space.create_all(task(name, "doomed", "flaky", payload={"failures": 1}) for name in doomed)
    for name in doomed:
        space.wait_task(name, "Retrying")
    space.kubectl.run("delete", "taskqueue", "doomed", "--timeout=60s", timeout_seconds=70)
    space.apply(task("healthy", "healthy", "flaky", payload={"failures": 1}))
    body = space.wait_task("healthy", "Succeeded")
    assert body["status"]["attempts"] == 2
    uids = {space.get("Task", name)["metadata"]["uid"] for name in doomed}
    unrouted: set[str] = set()

    def put_aside() -> bool:
        taken = space.system.rabbit.take("taskqueue.unrouted")
        unrouted.update(str(one.properties.message_id) for one in taken)
        return uids <= unrouted

    space.wait("the messages of the deleted queue are put aside", put_aside)
