"""Whether the worker that says that it runs a Task is still there. Pure; docs/decisions/0010."""

from collections.abc import Mapping
from typing import Any

from taskqueue_api.conditions import parse_time
from taskqueue_api.names import WORKER_CONTAINER


def is_alive(
    pod_uid: str | None, start_time: str | None, pod: Mapping[str, Any] | None, now: float
) -> bool:
    """Return whether the worker that holds a Task is the process that runs in this pod now.

    pod_uid, start_time: of its pod and of the attempt, as the Task's status has them.
    pod: the pod of that name; None: there is none.
    now: the API server's time, in seconds since 1970.

    A container that started after the attempt is another process. Both times are cut to seconds
    by the clock of the same node, and a worker starts nothing in the second it was started in:
    so equal times mean that the container is younger.
    """
    if pod is None or pod_uid != pod["metadata"]["uid"]:
        return False
    container = _container(pod)
    if container is None or start_time is None:
        return False
    started = container.get("state", {}).get("running", {}).get("startedAt")
    if started is None or parse_time(started) >= parse_time(start_time):
        return False
    deletion = pod["metadata"].get("deletionTimestamp")
    if deletion is not None and parse_time(deletion).timestamp() < now:
        return False  # its grace is over; a node that is there would have removed it
    # When a node is lost, the node controller takes the pod's Ready away and leaves the
    # containers' `ready` as the kubelet reported it last. With a container that is itself unready
    # the kubelet is there, and the attempt may well be running: the worker drains, or is cut off
    # from the broker, or a sidecar fails its probe.
    return _is_ready(pod) or not all(one.get("ready", False) for one in _containers(pod))


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _container(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((one for one in _containers(pod) if one["name"] == WORKER_CONTAINER), None)


def _containers(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the states of a pod's containers, the sidecars included."""
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
