"""A TaskQueue edited, and what it owns changed behind the operator's back."""

import base64
import subprocess
from functools import partial
from typing import Any

import pytest

from e2e.api import Object
from e2e.manifests import secret, task
from e2e.node import node, paths
from e2e.rabbit import WORKER_CONSUMERS
from e2e.space import Space, condition_of, count_runs, error_of, message_of
from e2e.system import name_of

CHILDREN = {
    "Deployment": "tq-own",
    "ServiceAccount": "tq-own",
    "Role": "tq-own",
    "RoleBinding": "tq-own",
    "Secret": "tq-own-broker",
}


def test_replicas_follow_the_spec(space: Space) -> None:
    space.apply(space.scenario_queue("scaled"))
    space.wait_queue("scaled")
    for count in (3, 0):
        space.kubectl.run("scale", "tq", "scaled", f"--replicas={count}")
        space.wait_workers("scaled", count)
        space.wait(f"the status shows {count} workers", partial(shows_workers, space, count))
        space.wait(f"{count} consume", partial(has_consumers, space, count))
    assert "nothing runs them" in message_of(space.wait_queue("scaled", "ScaledToZero"))
    assert space.get("TaskQueue", "scaled")["status"]["workers"]["selector"]


def shows_workers(space: Space, count: int) -> bool:
    """Return whether the status of the TaskQueue shows so many workers, and all well."""
    body = space.get("TaskQueue", "scaled")
    workers = body["status"]["workers"]
    seen = {workers["desired"], workers["replicas"], workers["ready"]}
    return seen == {count} and condition_of(body, "Ready")["status"] == "True"


def has_consumers(space: Space, count: int) -> bool:
    """Return whether RabbitMQ knows so many consumers of the queue."""
    depth = space.system.rabbit.depth(space.work_queue("scaled"))
    return depth is not None and depth.consumers == WORKER_CONSUMERS * count


def test_template_edit_rolls_out(space: Space) -> None:
    queue = space.scenario_queue("edited")
    space.apply(queue)
    space.wait_queue("edited")
    before = name_of(space.pods("edited")[0])
    queue["spec"]["workers"]["template"]["env"].append({"name": "COLOUR", "value": "grün"})
    space.apply(queue)
    space.wait(
        "a new worker alone", lambda: [name_of(one) for one in space.pods("edited")] != [before]
    )
    space.wait_workers("edited", 1)
    space.wait_queue("edited")
    space.apply(task("after", "edited", "variable", payload="COLOUR"))
    assert space.wait_task("after", "Succeeded")["status"]["result"] == "grün"
    assert name_of(space.pods("edited")[0]) != before


def test_lowered_timeout_counts_for_tasks_that_wait(space: Space) -> None:
    space.apply(space.scenario_queue("hasty", {"replicas": 0}, timeout="1h"))
    space.wait_queue("hasty", "ScaledToZero")
    space.apply(task("before", "hasty", "hang"))
    space.wait_depth("hasty", 1)
    space.edit_queue("hasty", timeout="1s", workers={"replicas": 1})
    body = space.wait_task("before", "Failed")
    assert error_of(body) == ("Timeout", "the handler ran longer than its timeout of 1 s")


@pytest.mark.skipif(
    not paths.PREPARED.exists(), reason="the second name of the image needs our own containerd"
)
def test_new_image_rolls_out(space: Space) -> None:
    second = f"localhost/taskqueue-worker:{space.name}"
    client = [str(node.ctr()), "-a", str(paths.CONTAINERD_SOCKET), "-n", "k8s.io"]
    images = [*client, "images"]
    subprocess.run([*images, "tag", "localhost/taskqueue-worker:dev", second], check=True)
    try:
        space.apply(space.scenario_queue("image"))
        space.wait_queue("image")
        space.edit_queue("image", workers={"template": {"image": second}})
        space.wait(
            "a worker of the new image alone",
            lambda: [image_of(pod) for pod in space.pods("image")] == [second],
        )
        space.wait_queue("image")
        space.apply(task("after", "image", "record"))
        space.wait_task("after", "Succeeded")
    finally:
        subprocess.run([*images, "rm", second], check=True)


def image_of(pod: Object) -> str:
    """Return the image of a pod's only container."""
    (container,) = pod["spec"]["containers"]
    return str(container["image"])


def test_changed_secret_rolls_out(space: Space) -> None:
    """Without a management API the workers use the Secret itself, so they must follow it."""
    admin = space.system.rabbit
    old, new = (admin.for_user(f"{space.name}-{word}", f"{word} @:/ü") for word in ("old", "new"))
    for user in (old, new):
        admin.add_user(user)
    try:
        old_there, new_there = space.amqp_only(old), space.amqp_only(new)
        space.apply(secret("broker", {"uri": old_there.uri}))
        broker = {"secretRef": {"name": "broker"}}
        space.apply(space.scenario_queue("rotated", broker=broker))
        space.wait_queue("rotated")
        before = space.get("Deployment", "tq-rotated")["metadata"]["generation"]
        space.apply(secret("broker", {"uri": new_there.uri}))
        admin.remove_user(old.username)
        space.apply(task("after", "rotated", "record"))
        space.wait_task("after", "Succeeded")
        space.wait_queue("rotated")
        space.wait_workers("rotated", 1)
        assert space.get("Deployment", "tq-rotated")["metadata"]["generation"] > before
        assert worker_uri(space, "rotated") == f"{new_there.uri}/%2F"
    finally:
        for user in (old, new):
            admin.remove_user(user.username)


def worker_uri(space: Space, queue: str) -> str:
    """Return the address that the workers of a TaskQueue are given."""
    data = space.get("Secret", f"tq-{queue}-broker")["data"]
    return base64.b64decode(data["uri"]).decode()


def test_what_is_deleted_by_hand_comes_back(space: Space) -> None:
    space.apply(space.scenario_queue("own"))
    space.wait_queue("own")
    uids = {kind: space.get(kind, name)["metadata"]["uid"] for kind, name in CHILDREN.items()}
    username = broker_user(space)
    space.system.rabbit.remove_user(username)
    for kind, name in CHILDREN.items():
        space.system.api.delete(kind, space.name, name)
    for kind, name in CHILDREN.items():
        space.wait(f"{kind} '{name}' is back", partial(is_another, space, kind, uids[kind]))
    space.wait_queue("own")
    space.wait_workers("own", 1)
    assert broker_user(space) == username
    space.apply(task("after", "own", "record"))
    space.wait_task("after", "Succeeded")


def broker_user(space: Space) -> str:
    """Return the user in RabbitMQ of the namespace's one TaskQueue."""
    (name,) = (name for name in space.system.rabbit.users() if f".{space.name}." in name)
    return name


def is_another(space: Space, kind: str, uid: str) -> bool:
    """Return whether an object of the TaskQueue is there that is not the one of a UID."""
    body = space.find(kind, CHILDREN[kind])
    return body is not None and body["metadata"]["uid"] != uid


NO_ADDRESS = base64.b64encode(b"amqp://a:b@nowhere").decode()
CHANGES: dict[str, dict[str, Any]] = {
    "Deployment": {"spec": {"replicas": 4}},
    "ServiceAccount": {"automountServiceAccountToken": True},
    "Role": {"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}]},
    "RoleBinding": {"subjects": [{"kind": "ServiceAccount", "name": "default"}]},
    "Secret": {"data": {"uri": NO_ADDRESS}},
}


def test_what_is_changed_by_hand_is_changed_back(space: Space) -> None:
    space.apply(space.scenario_queue("own"))
    space.wait_queue("own")
    rabbit = space.system.rabbit
    username = broker_user(space)
    permissions = rabbit.manage("GET", "permissions", "/", username)
    access = {kind: content_of(space.get(kind, CHILDREN[kind])) for kind in ACCESS}
    for kind, change in CHANGES.items():
        space.system.api.merge(kind, space.name, CHILDREN[kind], change)
    rabbit.permit(rabbit.for_user(username, ""))
    for kind in ACCESS:
        space.wait(
            f"the {kind} is as before",
            partial(has_content, space, kind, access[kind]),
        )
    space.wait(
        "one replica is wanted", lambda: space.get("Deployment", "tq-own")["spec"]["replicas"] == 1
    )
    space.wait(
        "the Secret names the broker", lambda: worker_uri(space, "own") != "amqp://a:b@nowhere"
    )
    space.wait(
        "the permissions are as before",
        lambda: rabbit.manage("GET", "permissions", "/", username) == permissions,
    )
    space.wait_queue("own")
    space.wait_workers("own", 1)
    space.apply(task("after", "own", "record"))
    space.wait_task("after", "Succeeded")


ACCESS = ("ServiceAccount", "Role", "RoleBinding")


def has_content(space: Space, kind: str, wanted: Object) -> bool:
    """Return whether an object of the TaskQueue says what it should."""
    return content_of(space.get(kind, CHILDREN[kind])) == wanted


def content_of(body: Object) -> Object:
    """Return what an object says, without what the API server adds."""
    return {key: value for key, value in body.items() if key != "metadata"}


def test_task_that_loses_its_queue_and_then_its_worker_is_run_again(space: Space) -> None:
    space.apply(space.scenario_queue("both", timeout="2m"))
    space.wait_queue("both")
    space.apply(task("held", "both", "hold"))
    space.wait_task("held", "Running")
    (pod,) = space.pods("both")
    with space.system.rabbit.channel() as channel:
        channel.queue_delete(space.work_queue("both"))
    space.wait(
        "it is published again", lambda: space.get("Task", "held")["status"]["dispatches"] == 2
    )
    space.system.api.delete("Pod", space.name, name_of(pod), grace=0)
    space.wait("another runs it", lambda: [run.attempt for run in space.runs("start")] == [1, 2])
    space.let_go()
    body = space.wait_task("held", "Succeeded")
    assert body["status"]["attempts"] == 2
    assert [run.attempt for run in space.runs("end")] == [2]
    space.wait_depth("both", 0)


def test_queue_deleted_under_its_workers_comes_back(space: Space) -> None:
    space.apply(space.scenario_queue("lost"))
    space.wait_queue("lost")
    (pod,) = space.pods("lost")
    with space.system.rabbit.channel() as channel:
        channel.queue_delete(space.work_queue("lost"))
    space.apply(task("after", "lost", "record"))
    space.wait_task("after", "Succeeded")
    assert count_runs(space.runs()) == {"after": 1}
    assert [name_of(one) for one in space.pods("lost")] == [name_of(pod)]
