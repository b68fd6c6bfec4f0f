"""A TaskQueue's conditions, from what was found."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from taskqueue_api.conditions import MESSAGE_MAX, Condition, ConditionStatus, parse_time
from taskqueue_api.taskqueue import TaskQueueSpec
from taskqueue_operator.domain.last_words import last_words
from taskqueue_operator.domain.scaling_history import Fault


class Finding(NamedTuple):
    """A verdict on one part of a TaskQueue; reason and message reach conditions unchanged."""

    status: ConditionStatus
    reason: str
    message: str

    @property
    def ok(self) -> bool:
        """Whether it holds."""
        return self.status == "True"


READY = "Ready"
BROKER_READY = "BrokerReady"
WORKERS_READY = "WorkersReady"
WORKER_CREDENTIALS = "WorkerCredentials"
DEAD_LETTER_LIMITS = "DeadLetterLimits"
PRIORITIES = "Priorities"

SCALED_TO_ZERO = "ScaledToZero"
PAUSED = "Paused"
WORKERS_STARTING = "WorkersStarting"
SCALING_UP = "ScalingUp"
CAP_REACHED = "CapReached"
IDLE = "Idle"
AT_REST = (READY, SCALED_TO_ZERO, PAUSED, IDLE)
"""Reasons of a TaskQueue with which all is as asked for."""

_RESTING = {
    SCALED_TO_ZERO: Finding(
        "True",
        SCALED_TO_ZERO,
        "the queue takes Tasks, and nothing runs them until spec.workers.replicas is raised",
    ),
    PAUSED: Finding(
        "True",
        PAUSED,
        "the queue takes Tasks, and no more are started until spec.paused is false",
    ),
    IDLE: Finding("True", IDLE, "the queue takes Tasks, and workers start when there are some"),
}
"""What `Ready` says where no workers are wanted."""

_NO_FAULTS = ("SharedSecret", SCALING_UP)
"""Reasons that only warn: Tasks are run all the same."""

STARTING_SECONDS = 60.0
"""Longer than any worker takes to start that has what it needs."""

_POD_MESSAGE_MAX = 400


def decide_workers_ready(
    desired: int,
    least: int,
    deployment: Mapping[str, Any],
    pods: Sequence[Mapping[str, Any]],
    *,
    now: datetime,
    waited: timedelta,
) -> Finding:
    """Return whether the wanted workers consume, and the pods' own reason when they do not.

    least: how many must be ready, whatever the backlog. deployment: the object as last seen.
    pods: the worker pods; may be empty when all is well. waited: since so many are wanted; for it
    counts how long a pod takes, once there is one.
    """
    status = deployment.get("status", {})
    ready = status.get("readyReplicas", 0)
    updated = status.get("updatedReplicas", 0)
    if is_rolled_out(desired, deployment):
        return Finding("True", "WorkersReady", f"{ready} of {desired} workers are ready")
    pods = [pod for pod in pods if _is_staying(pod)]
    fault = find_pod_fault(pods)
    if fault and ready >= desired:
        return Finding(
            "False", fault[0], f"enough workers are ready, but newer ones are not: {fault[1]}"
        )
    if fault:
        return Finding("False", fault[0], f"{ready} of {desired} workers are ready: {fault[1]}")
    for condition in status.get("conditions", []):
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return Finding("False", "PodsRefused", str(condition.get("message", "")))
    if ready >= desired:
        return Finding("True", "RollingOut", f"{updated} of {desired} workers are up to date")
    name = find_starting_pod(pods)
    if ready >= least and start_seconds(pods, now, waited) < STARTING_SECONDS:
        return Finding("False", SCALING_UP, f"{ready} of {desired} workers are ready, more start")
    hint = f"; `kubectl describe pod {name}` tells what it waits for" if name else ""
    return Finding("False", WORKERS_STARTING, f"{ready} of {desired} workers are ready{hint}")


def decide_resting(spec: TaskQueueSpec) -> Finding:
    """Return why no workers are wanted."""
    if spec.paused:
        return Finding("True", PAUSED, "no workers are wanted: spec.paused is true")
    if spec.workers.scaling is not None:
        return Finding("True", IDLE, "no workers are wanted: there is nothing to do")
    if spec.workers.replicas == 0:
        return Finding("True", SCALED_TO_ZERO, "no workers are wanted: spec.workers.replicas is 0")
    return Finding("False", CAP_REACHED, "no workers: the operator's limit of pods is reached")


def find_fault(finding: Finding) -> Fault | None:
    """Return why more pods would not start, from how the workers are; None: they would."""
    if finding.status != "False" or finding.reason in (WORKERS_STARTING, SCALING_UP):
        return None
    return Fault(finding.reason, finding.message)


def internal_error(generation: int) -> Condition:
    """Return the condition of a TaskQueue whose reconcile has failed as nobody foresaw."""
    return Condition(
        type=READY,
        status="False",
        reason="InternalError",
        message="the operator met an error of its own; its log has the details",
        observed_generation=generation,
    )


def is_rolled_out(desired: int, deployment: Mapping[str, Any]) -> bool:
    """Return whether all wanted workers are ready, of the newest template, and no others left."""
    status = deployment.get("status", {})
    if deployment["metadata"].get("generation") != status.get("observedGeneration"):
        return False
    numbers = {status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas")}
    return numbers == {desired}


def find_pod_fault(pods: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """Return (reason, message) of the first pod that cannot run; None: none says so."""
    for pod in sorted(pods, key=lambda item: str(item["metadata"]["name"])):
        name = pod["metadata"]["name"]
        status = pod.get("status", {})
        for condition in status.get("conditions", []):
            if condition.get("reason") == "Unschedulable":
                return "Unschedulable", f"pod '{name}': {condition.get('message', '')}"
        # The sidecars first: the worker waits for them.
        for container in (
            *status.get("initContainerStatuses", []),
            *status.get("containerStatuses", []),
        ):
            waiting = container.get("state", {}).get("waiting") or {}
            reason = waiting.get("reason", "")
            if reason in ("", "ContainerCreating", "PodInitializing"):
                continue
            return reason, f"pod '{name}': {_container_message(container, waiting)}"
    return None


def find_starting_pod(pods: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the name of a pod that is not ready yet: one of the newest; None: all are ready."""
    starting = [
        (str(pod["metadata"].get("creationTimestamp", "")), str(pod["metadata"]["name"]))
        for pod in pods
        if not _is_ready(pod)
    ]
    # The newest pods are those of the newest ReplicaSet.
    newest = max((created for created, _ in starting), default="")
    return min((name for created, name in starting if created == newest), default=None)


def start_seconds(pods: Sequence[Mapping[str, Any]], now: datetime, waited: timedelta) -> float:
    """Return for how long the oldest pod has been there that is not ready yet.

    waited: the answer while there is none, since nobody has made it yet.
    """
    created = [
        parse_time(pod["metadata"]["creationTimestamp"]) for pod in pods if not _is_ready(pod)
    ]
    return max(
        ((now - moment).total_seconds() for moment in created), default=waited.total_seconds()
    )


def _is_staying(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod is neither being deleted nor over, and so could still become ready."""
    over = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return not over and "deletionTimestamp" not in pod["metadata"]


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _container_message(container: Mapping[str, Any], waiting: Mapping[str, Any]) -> str:
    """Return a container's last words: they say more than that it is started again."""
    last = container.get("lastState", {}).get("terminated") or {}
    message = str(last.get("message") or waiting.get("message") or waiting.get("reason", ""))
    return last_words(message, _POD_MESSAGE_MAX)


def build_conditions(
    generation: int,
    broker: Finding,
    credentials: Finding,
    workers: Finding,
    limits: Finding,
    priorities: Finding,
) -> list[Condition]:
    """Return the conditions of a TaskQueue; `Ready` is the first fault, or that there is none.

    limits: of dead letters. Tasks run without them and without priorities, which have no part in
    `Ready` therefore.
    """
    faults = [finding for finding in (broker, credentials, workers) if finding.status == "False"]
    faults = [finding for finding in faults if finding.reason not in _NO_FAULTS]
    if faults:
        ready = faults[0]
    elif workers.reason in _RESTING:
        ready = _RESTING[workers.reason]
    else:
        ready = Finding("True", READY, "the queue takes and runs Tasks")
    findings = {
        READY: ready,
        BROKER_READY: broker,
        WORKERS_READY: workers,
        WORKER_CREDENTIALS: credentials,
        DEAD_LETTER_LIMITS: limits,
        PRIORITIES: priorities,
    }
    return [
        Condition(
            type=kind,
            status=finding.status,
            reason=finding.reason,
            message=finding.message[:MESSAGE_MAX],
            observed_generation=generation,
        )
        for kind, finding in findings.items()
    ]
