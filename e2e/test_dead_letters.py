"""Dead letters are counted and told, limited, and put back by the command that people read."""

import os
from collections.abc import Mapping
from typing import Any

import pytest

from e2e.api import Object
from e2e.conftest import MakeSpace
from e2e.docs import read_command
from e2e.kubectl import BIN, KUBECONFIG, Kubectl, run_command
from e2e.manifests import edited, secret, task, taskqueue
from e2e.refusals import Refusal, refusal
from e2e.space import Space, condition_of

__all__ = ["refusal"]

TWICE = {"maxAttempts": 2, "backoff": {"type": "Immediate"}}
LOOKS = 25
"""More than the 20 deliveries after which RabbitMQ 4 drops a message by default."""


@pytest.fixture(scope="module")
def shared(make_space: MakeSpace) -> Space:
    """Give a namespace for queues that are no trouble to each other."""
    return make_space()


def counted(space: Space, queue: str) -> int | None:
    """Return how many dead letters a TaskQueue's status shows."""
    number: int | None = space.get("TaskQueue", queue)["status"].get("deadLetters")
    return number


def wait_counted(space: Space, queue: str, number: int) -> None:
    """Wait until a TaskQueue's status shows as many dead letters."""
    space.wait(f"{number} dead letters are counted", lambda: counted(space, queue) == number)


def wait_letters(space: Space, queue: str, number: int) -> None:
    """Wait until a TaskQueue's queue of dead letters holds as many."""
    name = space.dead_letters(queue)

    def found() -> bool:
        depth = space.system.rabbit.depth(name)
        return depth is not None and depth.ready == number

    space.wait(f"queue '{name}' holds {number} messages", found)


def publish_letters(space: Space, queue: str, *bodies: bytes) -> None:
    """Publish dead letters as a worker does."""
    for body in bodies:
        space.system.rabbit.publish(space.dead_letters(queue), body, exchange="taskqueue.dlx")


def told(space: Space, queue: str) -> list[Object]:
    """Return the Events about a TaskQueue's dead letters."""
    events = space.events("DeadLetters")
    return [one for one in events if one["involvedObject"]["name"] == queue]


def policy_of(space: Space, queue: str) -> Object | None:
    """Return the operator policy of a TaskQueue's dead letters; None: there is none."""
    rabbit = space.system.rabbit
    found: Object | None = rabbit.manage(
        "GET", "operator-policies", rabbit.vhost, space.dead_letters(queue)
    )
    return found


def wait_applied(space: Space, queue: str, **limits: int) -> None:
    """Wait until a TaskQueue's queue of dead letters itself says what limits it has."""
    rabbit = space.system.rabbit
    path = ("queues", rabbit.vhost, space.dead_letters(queue))
    wanted = {name.replace("_", "-"): value for name, value in limits.items()}

    def applied() -> bool:
        found = rabbit.manage("GET", *path)
        return bool(found and found.get("effective_policy_definition") == wanted)

    space.wait(f"the queue has the limits {wanted}", applied)


def wait_limits(space: Space, queue: str, status: str, reason: str) -> Object:
    """Return a TaskQueue as soon as its condition DeadLetterLimits is about its newest spec."""

    def found() -> Object | None:
        body = space.get("TaskQueue", queue)
        condition = condition_of(body, "DeadLetterLimits")
        same = (condition.get("status"), condition.get("reason")) == (status, reason)
        newest = condition.get("observedGeneration") == body["metadata"]["generation"]
        return body if same and newest else None

    return space.wait(f"TaskQueue '{queue}' has DeadLetterLimits={status} {reason}", found)


# Counting


@pytest.mark.long
def test_they_are_counted_and_told(shared: Space) -> None:
    shared.apply(shared.scenario_queue("counted"))
    shared.wait_queue("counted")
    wait_counted(shared, "counted", 0)
    assert told(shared, "counted") == []
    shared.apply(task("one", "counted", "raise"))
    shared.wait_task("one", "Failed")
    wait_counted(shared, "counted", 1)
    shared.apply(task("two", "counted", "raise"))
    shared.wait_task("two", "Failed")
    wait_counted(shared, "counted", 2)
    (event,) = told(shared, "counted")
    assert event["type"] == "Warning"
    assert f"'{shared.dead_letters('counted')}' in RabbitMQ: 1;" in event["message"]
    labels = f'namespace="{shared.name}",queue="counted"'
    assert shared.system.metric(f"taskqueue_dead_letters{{{labels}}}") == 2
    head, row = shared.kubectl.run("get", "tq", "counted").splitlines()
    assert row.split()[head.split().index("DEAD")] == "2"
    shared.system.rabbit.take(shared.dead_letters("counted"))
    wait_counted(shared, "counted", 0)


def test_looking_at_them_takes_none_away(shared: Space) -> None:
    shared.apply(shared.scenario_queue("looked", {"replicas": 0}))
    shared.wait_queue("looked")
    publish_letters(shared, "looked", b"1")
    rabbit = shared.system.rabbit
    look = {"count": 1, "ackmode": "reject_requeue_true", "encoding": "auto"}
    for _ in range(LOOKS):

        def looked() -> bool:
            path = ("queues", rabbit.vhost, shared.dead_letters("looked"), "get")
            return bool(rabbit.manage("POST", *path, body=look))

        shared.wait("the dead letter is seen", looked)
    wait_letters(shared, "looked", 1)


# Limits


@pytest.mark.long
def test_limits_are_applied_repaired_and_taken_away(shared: Space) -> None:
    shared.apply(
        shared.scenario_queue(
            "limited", {"replicas": 0}, deadLetter={"maxLength": 3}, deletionPolicy="Delete"
        )
    )
    wait_limits(shared, "limited", "True", "LimitsSet")
    policy = policy_of(shared, "limited")
    assert policy is not None
    assert policy["definition"] == {"max-length": 3}
    wait_applied(shared, "limited", max_length=3)
    publish_letters(shared, "limited", *(str(n).encode() for n in range(5)))
    wait_letters(shared, "limited", 3)
    taken = shared.system.rabbit.take(shared.dead_letters("limited"))
    assert [one.body for one in taken] == [b"2", b"3", b"4"]

    rabbit = shared.system.rabbit
    path = ("operator-policies", rabbit.vhost, shared.dead_letters("limited"))
    rabbit.manage("DELETE", *path)
    shared.wait("the policy is back", lambda: policy_of(shared, "limited"))

    shared.edit_queue("limited", deadLetter={"maxLength": None, "ttl": "1s"})
    wait_limits(shared, "limited", "True", "LimitsSet")
    policy = policy_of(shared, "limited")
    assert policy is not None
    assert policy["definition"] == {"message-ttl": 1000}
    wait_applied(shared, "limited", message_ttl=1000)
    publish_letters(shared, "limited", b"short")
    wait_letters(shared, "limited", 0)

    shared.edit_queue("limited", deadLetter=None)
    wait_limits(shared, "limited", "True", "QueueDefault")
    assert policy_of(shared, "limited") is None

    shared.edit_queue("limited", deadLetter={"maxLength": 5})
    wait_limits(shared, "limited", "True", "LimitsSet")
    shared.kubectl.run("delete", "taskqueue", "limited", "--timeout=60s", timeout_seconds=70)
    assert policy_of(shared, "limited") is None


def test_limits_are_merged_with_an_ordinary_policy(shared: Space) -> None:
    rabbit = shared.system.rabbit
    name = shared.dead_letters("merged")
    path = ("policies", rabbit.vhost, name)
    ordinary = {
        "pattern": f"^{name.replace('.', '[.]')}$",
        "definition": {"max-length": 2, "max-length-bytes": 1_000_000},
        "priority": 100,
        "apply-to": "queues",
    }
    rabbit.manage("PUT", *path, body=ordinary)
    try:
        limits = {"maxLength": 3, "ttl": "1h"}
        shared.apply(shared.scenario_queue("merged", {"replicas": 0}, deadLetter=limits))
        wait_limits(shared, "merged", "True", "LimitsSet")
        merged = {"max_length": 2, "max_length_bytes": 1_000_000, "message_ttl": 3_600_000}
        wait_applied(shared, "merged", **merged)
    finally:
        rabbit.manage("DELETE", *path)


@pytest.mark.long
def test_another_operator_policy_goes_first_and_is_named(shared: Space) -> None:
    rabbit = shared.system.rabbit
    name = shared.dead_letters("guarded")
    path = ("operator-policies", rabbit.vhost, f"guard-{name}")
    guard = {
        "pattern": f"^{name.replace('.', '[.]')}$",
        "definition": {"max-length-bytes": 1_000_000},
        "apply-to": "queues",
    }
    rabbit.manage("PUT", *path, body=guard)
    try:
        limits = {"maxLength": 3}
        shared.apply(shared.scenario_queue("guarded", {"replicas": 0}, deadLetter=limits))
        body = wait_limits(shared, "guarded", "False", "OtherPolicy")
        assert f"'guard-{name}'" in condition_of(body, "DeadLetterLimits")["message"]
        assert condition_of(body, "Ready")["status"] == "True"
    finally:
        rabbit.manage("DELETE", *path)
    wait_limits(shared, "guarded", "True", "LimitsSet")


def test_without_a_management_api_the_condition_says_so(space: Space) -> None:
    admin = space.system.rabbit
    user = admin.for_user(f"{space.name}-amqp", "amqp password")
    admin.add_user(user)
    try:
        reached = space.amqp_only(user)
        space.apply(secret("broker", {"uri": reached.uri}))
        broker = {"secretRef": {"name": "broker"}}
        space.apply(space.scenario_queue("blind", broker=broker, deadLetter={"ttl": "1h"}))
        body = space.wait_queue("blind")
        condition = condition_of(body, "DeadLetterLimits")
        assert (condition["status"], condition["reason"]) == ("False", "ManagementUnavailable")
        # Counting needs none.
        space.apply(task("a", "blind", "raise"))
        space.wait_task("a", "Failed")
        wait_counted(space, "blind", 1)
    finally:
        admin.remove_user(user.username)


# Putting back


def put_back(space: Space, queue: str) -> None:
    """Run the command of the documentation, and wait until RabbitMQ has done it."""
    command = read_command("dead-letters.md", "set_parameter shovel")
    env = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "KUBECONFIG": str(KUBECONFIG),
        "NAMESPACE": space.name,
        "QUEUE": queue,
    }
    run_command(["bash", "-euc", command], env=env)
    rabbit = space.system.rabbit
    path = ("parameters", "shovel", rabbit.vhost, f"redrive.{space.name}.{queue}")
    space.wait("the shovel has ended", lambda: rabbit.manage("GET", *path) is None)


def attempts(space: Space, uid: str) -> list[int]:
    """Return the attempts that handlers recorded for a message, in order."""
    return [one.attempt for one in space.runs() if one.uid == uid]


def test_the_documented_command_runs_what_has_failed_again(space: Space) -> None:
    space.apply(space.scenario_queue("redriven", retry=TWICE))
    space.wait_queue("redriven")
    space.apply(task("record", "redriven", "gated"))
    record = space.wait_task("record", "Failed")
    uid = record["metadata"]["uid"]
    work = space.work_queue("redriven")
    mended, hopeless = [f"outside-{n}" for n in range(3)], "outside-hopeless"
    for one in mended:
        properties = {"message_id": one, "type": "gated"}
        space.system.rabbit.publish(work, b"{}", properties=properties)
    properties = {"message_id": hopeless, "type": "flaky"}
    space.system.rabbit.publish(work, b'{"failures": 9}', properties=properties)
    wait_letters(space, "redriven", 5)
    tried = [attempts(space, one) for one in (*mended, hopeless, uid)]
    assert tried == [[1, 2]] * 5, record["status"]

    space.let_go()
    put_back(space, "redriven")
    space.wait(
        "what works by now has run",
        lambda: all(attempts(space, one) == [1, 2, 1] for one in mended),
    )
    # What fails again is a dead letter again, after all its attempts; the Task's is dropped.
    wait_letters(space, "redriven", 1)
    space.wait_depth("redriven", 0)
    assert attempts(space, hopeless) == [1, 2, 1, 2]
    assert attempts(space, uid) == [1, 2]
    assert space.get("Task", "record")["status"]["phase"] == "Failed"
    (letter,) = space.system.rabbit.take(space.dead_letters("redriven"))
    assert letter.properties.message_id == hopeless
    assert letter.headers["x-tq-attempt"] == 2
    assert letter.headers["x-tq-error-message"] == "attempt 2 fails"


# What the schema says


@pytest.mark.parametrize(
    ("limits", "field", "must"),
    [
        pytest.param({}, "", "at least one of maxLength and ttl must be set", id="nothing"),
        pytest.param({"maxLength": 0}, "maxLength", "greater than or equal to 1", id="none"),
        pytest.param({"maxLength": 100001}, "maxLength", "less than or equal to", id="too many"),
        pytest.param({"ttl": "soon"}, "ttl", "must be a duration such as", id="no duration"),
        pytest.param({"ttl": "1177h"}, "ttl", "must be between '1s' and '1176h'", id="too long"),
    ],
)
def test_limits_cannot(refusal: Refusal, limits: dict[str, Any], field: str, must: str) -> None:
    said = refusal(edited(taskqueue("good"), {"spec.deadLetter": limits}))
    assert ".".join(part for part in ("spec.deadLetter", field) if part) in said
    assert must in said


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param({"maxLength": 1}, id="one"),
        pytest.param({"ttl": "1176h"}, id="49 days"),
        pytest.param({"maxLength": 100000, "ttl": "1s"}, id="both"),
    ],
)
def test_limits_can(kubectl: Kubectl, limits: Mapping[str, Any]) -> None:
    kubectl.apply([edited(taskqueue("limited"), {"spec.deadLetter": limits})])
    assert kubectl.get_json("tq", "limited")["spec"]["deadLetter"] == limits
