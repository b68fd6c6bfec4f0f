"""A node is lost: what its worker ran is run again elsewhere, once."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from e2e.api import Object
from e2e.kubectl import Kubectl
from e2e.manifests import WORKER_IMAGE, restricted_pod, task
from e2e.space import Space, holds_for
from e2e.system import name_of
from taskqueue_api.conditions import rfc3339

HELD_SECONDS = 15.0
"""Less than the node controller waits for a sign of life."""
LOST_SECONDS = 150.0


@pytest.fixture
def node() -> Iterator[str]:
    """Give a node that has just been alive, and gives no sign of it any more.

    It takes no pods but those that name it.
    """
    name, cluster = f"lost-{uuid.uuid4().hex[:6]}", Kubectl()
    spec = {"taints": [{"key": "example.com/lost", "effect": "NoSchedule"}]}
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec}
    cluster.apply([body])
    alive = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
    times = dict.fromkeys(("lastHeartbeatTime", "lastTransitionTime"), rfc3339(datetime.now(UTC)))
    patch_status(cluster, "node", name, {"conditions": [alive | times]})
    yield name
    cluster.run("delete", "node", name)


def patch_status(kubectl: Kubectl, kind: str, name: str, status: dict[str, Any]) -> None:
    """Say how an object is, as its kubelet would."""
    change = json.dumps({"status": status})
    kubectl.run("patch", kind, name, "--subresource=status", "--type=merge", "-p", change)


def start_worker(space: Space, node: str) -> Object:
    """Return a worker's pod on that node, as its kubelet has reported it last."""
    container = {"name": "worker", "image": WORKER_IMAGE}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "gone"}}
    space.apply({**pod, "spec": restricted_pod(container, nodeName=node)})
    began = rfc3339(datetime.now(UTC) - timedelta(minutes=1))
    state = {"running": {"startedAt": began}}
    report = {"name": "worker", "image": WORKER_IMAGE, "imageID": "", "restartCount": 0}
    status = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": began}],
        "containerStatuses": [report | {"ready": True, "started": True, "state": state}],
    }
    patch_status(space.kubectl, "pod", "gone", status)
    return space.get("Pod", "gone")


@pytest.mark.long
def test_its_task_is_run_again_as_the_next_attempt(space: Space, node: str) -> None:
    space.apply(space.scenario_queue("spread", {"replicas": 0}))
    space.wait_queue("spread")
    space.apply(task("taken", "spread", "record"))
    space.wait_depth("spread", 1)
    pod = start_worker(space, node)
    worker = {"pod": "gone", "podUid": pod["metadata"]["uid"], "instance": "lost"}
    running = {"phase": "Running", "attempts": 1, "startTime": rfc3339(datetime.now(UTC))}
    change = {"status": running | {"worker": worker}}
    space.system.api.merge("Task", space.name, "taken", change, sub="status")
    space.edit_queue("spread", workers={"replicas": 1})
    space.wait_workers("spread", 1)
    # As far as anybody knows, the other worker lives.
    assert holds_for(lambda: not space.runs(), HELD_SECONDS)
    space.wait("it is taken over", lambda: space.runs(), LOST_SECONDS)
    body = space.wait_task("taken", "Succeeded")
    assert body["status"]["attempts"] == 2
    (run,) = space.runs()
    assert (run.attempt, run.pod) == (2, name_of(space.pods("spread")[0]))
    space.wait_depth("spread", 0)
