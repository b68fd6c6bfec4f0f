"""Every RabbitMQ that Debian has packaged of late: what is promised holds on each of them.

What differs between them is in `taskqueue_api/rabbitmq.py`.
"""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from e2e.api import Object
from e2e.conftest import run_once
from e2e.demo import run_node
from e2e.manifests import task
from e2e.node.base_images import RABBITMQ
from e2e.rabbit_pod import SECRET, USER, with_own_rabbit
from e2e.space import Space, condition_of, error_of
from e2e.system import kill_process
from taskqueue_api.conditions import parse_time

QUEUES = ("quorum", "classic")
RETRY = {"maxAttempts": 3, "backoff": {"type": "Fixed", "initial": "300ms", "jitter": 0}}
LETTERS_MOST = 2

SENT = (0, 9, 4, 5, 2, 7)
"""Priorities of Tasks, in the order of their creation."""
ORDERS = {
    "AllLevels": [9, 7, 5, 4, 2, 0],
    "TwoLevels": [9, 5, 0, 7, 4, 2],
    "NotSupported": list(SENT),
}
REASONS = {
    "classic": dict.fromkeys(RABBITMQ, "AllLevels"),
    "quorum": {"3.10": "NotSupported", "4.0": "TwoLevels", "4.3": "AllLevels"},
}


@pytest.fixture(params=sorted(RABBITMQ))
def version(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a version of RabbitMQ whose image is there."""
    name = str(request.param)
    run_once(tmp_path_factory, f"rabbitmq-{name}", partial(run_node, "rabbitmq", name))
    return name


@pytest.mark.long
@pytest.mark.timeout(300, func_only=True)
def test_what_is_promised_holds(space: Space, version: str) -> None:
    """One scenario, since the start of a RabbitMQ takes most of the time."""
    space = start(space, version)
    for queue in QUEUES:
        check_priorities(space, queue, REASONS[queue][version])
    for check in (
        check_delay_of_another_priority,
        check_retries,
        check_retries_without_a_task,
        check_dead_letters,
        check_lost_worker,
        check_cancel,
    ):
        for queue in QUEUES:
            check(space, queue)
    check_deletion(space)


def start(space: Space, version: str) -> Space:
    """Start a RabbitMQ in a namespace, and a TaskQueue of each type there, without workers."""
    space = with_own_rabbit(space, version)
    for queue in QUEUES:
        spec = {
            "broker": {"secretRef": {"name": SECRET}},
            "queue": {"type": queue.capitalize()},
            "deletionPolicy": "Delete",
            "deadLetter": {"maxLength": LETTERS_MOST},
            "retry": RETRY,
            "timeout": "2m",
        }
        space.apply(space.scenario_queue(queue, {"concurrency": 1, "replicas": 0}, **spec))
    for queue in QUEUES:
        condition = condition_of(space.wait_queue(queue), "DeadLetterLimits")
        assert (condition["status"], condition["reason"]) == ("True", "LimitsSet")
    return space


def run(space: Space, name: str, queue: str, handler: str, **spec: object) -> Object:
    """Create a Task and return it as it has finished."""
    space.apply(task(name, queue, handler, **spec))
    return space.wait_task(name)


def attempts_of(space: Space, name: str, event: str = "run") -> list[int]:
    """Return the attempts that a handler recorded, in order."""
    return [one.attempt for one in space.runs(event) if name in (one.name, one.uid)]


def check_priorities(space: Space, queue: str, reason: str) -> None:
    """Fail unless what waits is run in the order that the condition promises."""
    assert condition_of(space.get("TaskQueue", queue), "Priorities")["reason"] == reason
    names = {f"{queue}-{priority}": priority for priority in SENT}
    for count, (name, priority) in enumerate(names.items(), 1):
        space.apply(task(name, queue, "record", priority=priority))
        space.wait_depth(queue, count)
    space.edit_queue(queue, workers={"replicas": 1})
    for name in names:
        space.wait_task(name, "Succeeded")
    order = [names[one.name] for one in space.runs() if one.name in names]
    assert order == ORDERS[reason]


def check_delay_of_another_priority(space: Space, queue: str) -> None:
    """RabbitMQ 4.0 looks for expired messages only at the head of those of high priority."""
    now = datetime.now(UTC)
    late, soon = now + timedelta(hours=1), now + timedelta(seconds=3)
    published = space.dispatched(queue)
    space.apply(task(f"late-{queue}", queue, "record", priority=9, notBefore=late.isoformat()))
    space.wait("it is published", lambda: space.dispatched(queue) == published + 1)
    body = run(space, f"soon-{queue}", queue, "record", priority=4, notBefore=soon.isoformat())
    assert parse_time(body["status"]["startTime"]) >= soon.replace(microsecond=0)
    assert space.get("Task", f"late-{queue}")["status"]["phase"] == "Pending"
    space.kubectl.run("delete", "task.taskqueue.dev", f"late-{queue}")


def check_retries(space: Space, queue: str) -> None:
    """Each death of a message is counted once, though versions tell of it in different ways."""
    body = run(space, f"flaky-{queue}", queue, "flaky", payload={"failures": 2})
    assert (body["status"]["phase"], body["status"]["attempts"]) == ("Succeeded", 3)
    assert attempts_of(space, f"flaky-{queue}") == [1, 2, 3]


def check_retries_without_a_task(space: Space, queue: str) -> None:
    """The attempt of an outside producer's message is known by its headers alone."""
    uid = f"outside-{queue}"
    properties = {"message_id": uid, "type": "flaky"}
    work = space.work_queue(queue)
    space.system.rabbit.publish(work, b'{"failures": 2}', properties=properties)
    space.wait("it has run", lambda: attempts_of(space, uid) == [1, 2, 3])
    space.wait_depth(queue, 0)


def check_dead_letters(space: Space, queue: str) -> None:
    """What fails for good is kept, up to the limit."""
    names = [f"rejected-{queue}-{n}" for n in range(LETTERS_MOST + 1)]
    for name in names:
        assert error_of(run(space, name, queue, "reject"))[0] == "Rejected"
    kept = {space.get("Task", name)["metadata"]["uid"] for name in names[1:]}

    def found() -> bool:
        status = space.get("TaskQueue", queue)["status"]
        return bool(status.get("deadLetters") == LETTERS_MOST)

    space.wait("they are counted", found)
    letters = space.system.rabbit.take(space.dead_letters(queue))
    assert {one.properties.message_id for one in letters} == kept


def check_lost_worker(space: Space, queue: str) -> None:
    """A message that comes back is another attempt."""
    name = f"lost-{queue}"
    space.apply(task(name, queue, "slow", payload={"seconds": 3}))
    space.wait_task(name, "Running")
    (pod,) = space.pods(queue)
    kill_process(pod, "taskqueue_worker")
    body = space.wait_task(name, "Succeeded")
    assert body["status"]["attempts"] == 2
    assert attempts_of(space, name, "start") == [1, 2]


def check_cancel(space: Space, queue: str) -> None:
    """The hint reaches the worker by a queue of its own."""
    name = f"cancelled-{queue}"
    space.apply(task(name, queue, "slow", payload={"seconds": 60}))
    space.wait_task(name, "Running")
    space.system.api.merge("Task", space.name, name, {"spec": {"cancel": True}})
    space.wait_task(name, "Cancelled")
    assert not attempts_of(space, name, "end")


def check_deletion(space: Space) -> None:
    """With the TaskQueues goes what they had in RabbitMQ."""
    space.kubectl.run("delete", "tq", "--all", "--timeout=60s", timeout_seconds=70)
    left = [name for name in space.system.rabbit.queues() if name.startswith(("tq.", "tqd."))]
    assert not left
    assert space.system.rabbit.users() == {USER}
