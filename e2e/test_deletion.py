"""A TaskQueue deleted: what goes with it, what is kept, and that it never hangs."""

import time
import uuid

import pytest

from e2e.manifests import task
from e2e.rabbit import WORKER_CONSUMERS, Depth
from e2e.space import Space, condition_of


def test_deleted_taskqueue_leaves_nothing_behind(space: Space) -> None:
    space.apply(space.scenario_queue("gone"))
    space.wait_queue("gone")
    space.apply(task("done", "gone", "record"))
    space.wait_task("done", "Succeeded")
    rabbit = space.system.rabbit
    assert broker_users(space)
    assert rabbit.depth(space.work_queue("gone")) == Depth(0, WORKER_CONSUMERS)
    space.kubectl.run("delete", "tq", "gone", "--timeout=60s")
    for kind in ("Deployment", "ServiceAccount", "Role", "RoleBinding"):
        space.wait_gone(kind, "tq-gone")
    space.wait_gone("Secret", "tq-gone-broker")
    space.wait("its pods are gone", lambda: space.pods("gone") == [])
    assert rabbit.depth(space.work_queue("gone")) is None
    assert rabbit.depth(space.dead_letters("gone")) is None
    assert not broker_users(space)
    # The Task is its author's.
    assert space.find("Task", "done")


def broker_users(space: Space) -> set[str]:
    """Return the users in RabbitMQ that belong to a namespace's TaskQueues."""
    return {name for name in space.system.rabbit.users() if f".{space.name}." in name}


def test_deletion_policy(space: Space) -> None:
    rabbit = space.system.rabbit
    policies = {"retain": "Retain", "delete": "Delete", "if-empty": "DeleteIfEmpty"}
    for name, policy in policies.items():
        space.apply(space.scenario_queue(name, {"replicas": 0}, deletionPolicy=policy))
        space.apply(task(f"waits-{name}", name, "record"))
    for name in policies:
        space.wait_depth(name, 1)
    space.kubectl.run("delete", "tq", *policies, "--timeout=60s")
    one, none = Depth(ready=1, consumers=0), Depth(ready=0, consumers=0)
    assert rabbit.depth(space.work_queue("retain")) == one
    assert rabbit.depth(space.dead_letters("retain")) == none
    assert rabbit.depth(space.work_queue("delete")) is None
    assert rabbit.depth(space.dead_letters("delete")) is None
    assert rabbit.depth(space.work_queue("if-empty")) == one
    assert rabbit.depth(space.dead_letters("if-empty")) is None
    assert not broker_users(space)
    (event,) = space.events("QueueKept")
    assert event["involvedObject"]["name"] == "if-empty"
    assert f"queue '{space.work_queue('if-empty')}' holds 1 message, so" in event["message"]
    # What was kept is found again.
    space.apply(space.scenario_queue("retain", deletionPolicy="Delete"))
    space.wait_task("waits-retain", "Succeeded")
    assert [run.name for run in space.runs()] == ["waits-retain"]
    with rabbit.channel() as channel:
        channel.queue_delete(space.work_queue("if-empty"))


def test_taskqueue_created_anew_is_another_one(space: Space) -> None:
    space.apply(space.scenario_queue("again"))
    space.wait_queue("again")
    (before,) = broker_users(space)
    space.kubectl.run("delete", "tq", "again", "--timeout=60s")
    space.apply(space.scenario_queue("again"))
    name = f"task-{uuid.uuid4().hex[:6]}"
    space.apply(task(name, "again", "record"))
    space.wait_task(name, "Succeeded")
    assert len(broker_users(space)) == 1
    assert before not in broker_users(space)


@pytest.mark.long
def test_what_runs_is_finished_and_says_how_it_ended(space: Space) -> None:
    """However long: what the operator gives up after a minute begins once the workers are gone."""
    space.apply(space.scenario_queue("held", deletionPolicy="Delete", timeout="10m"))
    space.apply(task("at-work", "held", "hold"))
    space.wait_task("at-work", "Running")
    space.kubectl.run("delete", "tq", "held", "--wait=false")
    begun = time.monotonic()

    def is_told() -> bool:
        ready = condition_of(space.get("TaskQueue", "held"), "Ready")
        return ready.get("reason") == "Deleting" and "1 worker finishes" in ready["message"]

    space.wait("it says what it waits for", is_told)
    # It is posted after the status is written.
    (event,) = space.wait("an Event says so too", lambda: space.events("Deleting"))
    assert event["type"] == "Normal"
    space.wait("more than a minute passes", lambda: time.monotonic() - begun > 70)
    status = space.get("Task", "at-work")["status"]
    assert status["phase"] == "Running", status
    assert broker_users(space)
    space.let_go()
    body = space.wait_task("at-work", "Succeeded")
    assert body["status"]["attempts"] == 1
    space.wait_gone("TaskQueue", "held")
    assert not broker_users(space)
    assert space.system.rabbit.depth(space.work_queue("held")) is None
