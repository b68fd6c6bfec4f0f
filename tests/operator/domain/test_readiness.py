"""A TaskQueue's conditions: the first fault makes Ready, with the part's own reason."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskqueue_api.conditions import MESSAGE_MAX
from taskqueue_api.taskqueue import TaskQueueSpec
from taskqueue_operator.domain.readiness import (
    IDLE,
    PAUSED,
    SCALED_TO_ZERO,
    SCALING_UP,
    Finding,
    build_conditions,
    decide_resting,
    decide_workers_ready,
    find_fault,
    find_pod_fault,
)
from tests.operator.builders import build_deployment_status

BROKER = Finding("True", "Declared", "declared")
CREDENTIALS = Finding("True", "DedicatedUser", "own user")
LIMITS = Finding("True", "LimitsSet", "limits are set")
PRIORITIES = Finding("True", "AllLevels", "all ten")
ONE_LEVEL = Finding("False", "NotSupported", "none")
UNLIMITED = Finding("False", "ManagementUnavailable", "no limits")
WORKERS = Finding("True", "WorkersReady", "2 of 2")

REFUSED = Finding("False", "AuthenticationFailed", "wrong password")
SHARED = Finding("False", "SharedSecret", "shared")
NO_USER = Finding("False", "ManagementRefused", "no administrator")
UNCHECKED = Finding("Unknown", "BrokerNotReady", "not checked")
NONE_WANTED = Finding("True", SCALED_TO_ZERO, "none")
STARTING = Finding("False", "WorkersStarting", "0 of 2")


def build_pod(name: str = "tq-emails-a", **status: Any) -> dict[str, Any]:
    created = "2026-01-02T12:00:00Z"
    return {"metadata": {"name": name, "creationTimestamp": created}, "status": status}


def waiting(reason: str, message: str = "", last: str | None = None) -> dict[str, Any]:
    """Return the status of a pod whose container waits."""
    container: dict[str, Any] = {"state": {"waiting": {"reason": reason, "message": message}}}
    if last is not None:
        container["lastState"] = {"terminated": {"message": last}}
    return {"containerStatuses": [container]}


UNSCHEDULABLE: dict[str, Any] = {
    "conditions": [
        {"type": "PodScheduled", "reason": "Unschedulable", "message": "0/3 nodes are available"}
    ]
}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param({}, None, id="nothing known"),
        pytest.param(waiting("ContainerCreating"), None, id="being created"),
        pytest.param(waiting("PodInitializing"), None, id="being initialised"),
        pytest.param({"containerStatuses": [{"state": {"running": {}}}]}, None, id="running"),
        pytest.param(
            UNSCHEDULABLE,
            ("Unschedulable", "pod 'tq-emails-a': 0/3 nodes are available"),
            id="no node",
        ),
        pytest.param(
            waiting("ImagePullBackOff", "Back-off pulling image"),
            ("ImagePullBackOff", "pod 'tq-emails-a': Back-off pulling image"),
            id="no image",
        ),
        pytest.param(
            waiting("CrashLoopBackOff", "back-off 10s", "no module named shop\n"),
            ("CrashLoopBackOff", "pod 'tq-emails-a': no module named shop"),
            id="the last words say more than the back-off",
        ),
        pytest.param(
            waiting("CrashLoopBackOff", "back-off 10s", "no " * 200),
            ("CrashLoopBackOff", f"pod 'tq-emails-a': {'no ' * 132}no…"),
            id="long last words: as many as fit",
        ),
        pytest.param(
            waiting("CrashLoopBackOff", "", '{"level": "ERROR", "message": "cannot go on"}\n'),
            ("CrashLoopBackOff", "pod 'tq-emails-a': cannot go on"),
            id="last words in JSON",
        ),
        pytest.param(
            waiting("CreateContainerConfigError"),
            ("CreateContainerConfigError", "pod 'tq-emails-a': CreateContainerConfigError"),
            id="no message at all",
        ),
        pytest.param(
            {
                "initContainerStatuses": waiting("CrashLoopBackOff", "", "no such file")[
                    "containerStatuses"
                ],
                **waiting("PodInitializing"),
            },
            ("CrashLoopBackOff", "pod 'tq-emails-a': no such file"),
            id="a sidecar does not start",
        ),
    ],
)
def test_a_pod_says_why_it_cannot_run(
    status: dict[str, Any], expected: tuple[str, str] | None
) -> None:
    assert find_pod_fault([build_pod(**status)]) == expected


def test_the_first_pod_by_name_speaks() -> None:
    pods = [
        build_pod("b", **waiting("ErrImagePull", "b")),
        build_pod("a", **waiting("CrashLoopBackOff", "a")),
    ]
    assert find_pod_fault(pods) == ("CrashLoopBackOff", "pod 'a': a")
    assert find_pod_fault(pods[::-1]) == find_pod_fault(pods)


READY: dict[str, Any] = {"conditions": [{"type": "Ready", "status": "True"}]}
UNREADY: dict[str, Any] = {"conditions": [{"type": "Ready", "status": "False"}]}


def pod_of(
    name: str, second: int, status: dict[str, Any] = UNREADY, *, deleted: bool = False
) -> dict[str, Any]:
    """Return a pod that was created at a second of a minute."""
    pod = build_pod(name, **status)
    pod["metadata"]["creationTimestamp"] = f"2026-01-02T12:00:{second:02}Z"
    if deleted:
        pod["metadata"]["deletionTimestamp"] = "2026-01-02T12:01:00Z"
    return pod


@pytest.mark.parametrize(
    ("pods", "named"),
    [
        pytest.param([], None, id="no pods"),
        pytest.param([pod_of("a", 1, READY), pod_of("b", 1)], "b", id="not one that is ready"),
        pytest.param(
            [pod_of("a", 1, deleted=True), pod_of("b", 1)], "b", id="not one being deleted"
        ),
        pytest.param(
            [pod_of("a", 1, {"phase": "Failed"}), pod_of("b", 1)], "b", id="not an evicted one"
        ),
        pytest.param([pod_of("a", 1), pod_of("b", 2)], "b", id="the newest"),
        pytest.param([pod_of("b", 2), pod_of("a", 2)], "a", id="the first of the newest"),
        pytest.param([build_pod("a")], "a", id="a pod without a status"),
        pytest.param(
            [pod_of("a", 1, READY), pod_of("b", 1, deleted=True)], None, id="none that starts"
        ),
    ],
)
def test_the_pod_to_look_at_is_one_that_starts(
    pods: list[dict[str, Any]], named: str | None
) -> None:
    message = decide_workers_ready(
        2, 2, deployment(ready=1), pods, now=SOON, waited=NOT_LONG
    ).message
    hint = f"; `kubectl describe pod {named}` tells what it waits for" if named else ""
    assert message == f"1 of 2 workers are ready{hint}"


NOT_LONG = timedelta(seconds=1)
SOON = datetime(2026, 1, 2, 12, 0, 50, tzinfo=UTC)


@pytest.mark.parametrize(
    ("least", "seconds", "reason"),
    [
        pytest.param(1, 59, SCALING_UP, id="enough are ready"),
        pytest.param(0, 59, SCALING_UP, id="more than enough"),
        pytest.param(2, 59, "WorkersStarting", id="fewer than must be ready"),
        pytest.param(1, 60, "WorkersStarting", id="they take too long"),
    ],
)
def test_more_workers_than_must_be_ready_may_take_a_while_to_start(
    least: int, seconds: int, reason: str
) -> None:
    pods = [pod_of("a", 0, READY), pod_of("b", 0), pod_of("c", 30)]
    now = SOON.replace(second=0) + timedelta(seconds=seconds)
    finding = decide_workers_ready(3, least, deployment(ready=1), pods, now=now, waited=NOT_LONG)
    assert (finding.status, finding.reason) == ("False", reason)
    assert find_fault(finding) is None
    ready = build_conditions(1, BROKER, CREDENTIALS, finding, LIMITS, PRIORITIES)[0]
    assert ready.status == ("True" if reason == SCALING_UP else "False")


@pytest.mark.parametrize(
    ("seconds", "reason"), [pytest.param(59, SCALING_UP), pytest.param(60, "WorkersStarting")]
)
def test_pods_that_nobody_makes_may_not_take_longer(seconds: int, reason: str) -> None:
    waited = timedelta(seconds=seconds)
    finding = decide_workers_ready(3, 0, deployment(ready=0), [], now=SOON, waited=waited)
    assert (finding.status, finding.reason) == ("False", reason)


def test_a_pod_being_deleted_does_not_speak_for_the_others() -> None:
    pods = [pod_of("a", 1, waiting("ErrImagePull", "old"), deleted=True), pod_of("b", 2)]
    assert (
        decide_workers_ready(2, 2, deployment(ready=1), pods, now=SOON, waited=NOT_LONG).reason
        == "WorkersStarting"
    )


def deployment(conditions: list[dict[str, str]] | None = None, **numbers: int) -> dict[str, Any]:
    found = build_deployment_status(**numbers)
    found["status"]["conditions"] = conditions or []
    return found


REPLICA_FAILURE = [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]


@pytest.mark.parametrize(
    ("found", "pods", "expected"),
    [
        pytest.param(deployment(), [], ("True", "WorkersReady", "2 of 2"), id="all ready"),
        pytest.param(
            deployment(ready=1), [], ("False", "WorkersStarting", "1 of 2"), id="one missing"
        ),
        pytest.param(
            deployment(ready=1),
            [build_pod(**waiting("ErrImagePull", "not found"))],
            ("False", "ErrImagePull", "1 of 2 workers are ready: pod 'tq-emails-a': not found"),
            id="a pod knows why",
        ),
        pytest.param(
            deployment(REPLICA_FAILURE, ready=0),
            [],
            ("False", "PodsRefused", "exceeded quota"),
            id="pods are refused",
        ),
        pytest.param(
            deployment([{**REPLICA_FAILURE[0], "status": "False"}], ready=0),
            [],
            ("False", "WorkersStarting", "0 of 2"),
            id="pods are no longer refused",
        ),
        pytest.param(
            deployment(REPLICA_FAILURE, ready=0),
            [build_pod(**UNSCHEDULABLE)],
            ("False", "Unschedulable", "0 of 2"),
            id="a pod comes before the Deployment",
        ),
        pytest.param(
            deployment(updated=1), [], ("True", "RollingOut", "1 of 2"), id="old pods still serve"
        ),
        pytest.param(
            deployment(generation=4),
            [],
            ("True", "RollingOut", "2 of 2"),
            id="the controller has not seen the change",
        ),
        pytest.param(
            deployment(generation=4, ready=1),
            [],
            ("False", "WorkersStarting", "1 of 2"),
            id="not seen, and one missing",
        ),
        pytest.param(
            {"metadata": {"generation": 1}},
            [],
            ("False", "WorkersStarting", "0 of 2"),
            id="no status yet",
        ),
    ],
)
def test_workers_are_ready_when_all_wanted_ones_are_up_to_date(
    found: dict[str, Any], pods: list[dict[str, Any]], expected: tuple[str, str, str]
) -> None:
    finding = decide_workers_ready(2, 2, found, pods, now=SOON, waited=NOT_LONG)
    assert (finding.status, finding.reason) == expected[:2]
    assert finding.message.startswith(expected[2])


SCALED = {"handlers": {"python": {"module": "shop.tasks"}}, "scaling": {}}


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        pytest.param(
            {"workers": {**SCALED, "scaling": None, "replicas": 0}},
            SCALED_TO_ZERO,
            "nothing runs them until spec.workers.replicas is raised",
            id="fixed",
        ),
        pytest.param({"workers": SCALED}, IDLE, "workers start when there are some", id="idle"),
        pytest.param(
            {"workers": SCALED, "paused": True},
            PAUSED,
            "no more are started until spec.paused is false",
            id="paused",
        ),
    ],
)
def test_no_workers_wanted_is_ready_and_says_what_runs_the_tasks(
    spec: dict[str, Any], reason: str, words: str
) -> None:
    workers = decide_resting(TaskQueueSpec.model_validate(spec))
    assert (workers.status, workers.reason) == ("True", reason)
    ready = build_conditions(1, BROKER, CREDENTIALS, workers, LIMITS, PRIORITIES)[0]
    assert (ready.status, ready.reason) == ("True", reason)
    assert words in ready.message


def test_no_workers_for_want_of_room_is_not_ready() -> None:
    spec = TaskQueueSpec.model_validate({"workers": {**SCALED, "scaling": None}})
    assert decide_resting(spec).reason == "CapReached"


@pytest.mark.parametrize(
    ("finding", "fault"),
    [
        (Finding("True", "WorkersReady", ""), None),
        (Finding("False", "WorkersStarting", "soon"), None),
        (Finding("False", "ImagePullBackOff", "why"), ("ImagePullBackOff", "why")),
        (Finding("False", "PodsRefused", "quota"), ("PodsRefused", "quota")),
    ],
)
def test_more_pods_are_of_no_use_where_those_there_cannot_start(
    finding: Finding, fault: tuple[str, str] | None
) -> None:
    assert find_fault(finding) == fault


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        pytest.param({}, "True", "Ready", id="all is well"),
        pytest.param({"broker": REFUSED}, "False", "AuthenticationFailed", id="broker"),
        pytest.param({"credentials": NO_USER}, "False", "ManagementRefused", id="credentials"),
        pytest.param({"workers": STARTING}, "False", "WorkersStarting", id="workers"),
        pytest.param(
            {"broker": REFUSED, "credentials": UNCHECKED, "workers": STARTING},
            "False",
            "AuthenticationFailed",
            id="the broker comes first",
        ),
        pytest.param(
            {"credentials": NO_USER, "workers": STARTING},
            "False",
            "ManagementRefused",
            id="credentials come before workers",
        ),
        pytest.param({"credentials": SHARED}, "True", "Ready", id="a shared Secret only warns"),
        pytest.param(
            {"credentials": SHARED, "workers": STARTING},
            "False",
            "WorkersStarting",
            id="a shared Secret hides no fault",
        ),
        pytest.param({"credentials": UNCHECKED}, "True", "Ready", id="unknown is no fault"),
        pytest.param({"limits": UNLIMITED}, "True", "Ready", id="Tasks run without limits"),
        pytest.param({"priorities": ONE_LEVEL}, "True", "Ready", id="or without priorities"),
        pytest.param({"workers": NONE_WANTED}, "True", SCALED_TO_ZERO, id="no workers wanted"),
        pytest.param(
            {"broker": REFUSED, "workers": NONE_WANTED},
            "False",
            "AuthenticationFailed",
            id="no workers wanted, and a fault",
        ),
    ],
)
def test_ready_is_the_first_fault(changes: dict[str, Finding], status: str, reason: str) -> None:
    base = {"broker": BROKER, "credentials": CREDENTIALS, "workers": WORKERS, "limits": LIMITS}
    parts = base | {"priorities": PRIORITIES} | changes
    ready, broker, workers, credentials, limits, priorities = build_conditions(7, **parts)
    assert (ready.type, ready.status, ready.reason) == ("Ready", status, reason)
    assert (broker.type, broker.reason) == ("BrokerReady", parts["broker"].reason)
    assert (workers.type, workers.status) == ("WorkersReady", parts["workers"].status)
    assert (credentials.type, credentials.message) == (
        "WorkerCredentials",
        parts["credentials"].message,
    )
    assert (limits.type, limits.reason) == ("DeadLetterLimits", parts["limits"].reason)
    assert (priorities.type, priorities.reason) == ("Priorities", parts["priorities"].reason)
    found = (ready, broker, workers, credentials, limits, priorities)
    assert {item.observed_generation for item in found} == {7}


def test_a_message_of_any_length_fits_its_condition() -> None:
    # The API server's refusal of a Deployment lists every fault of it.
    workers = Finding("False", "ApiServerRefused", "x" * (MESSAGE_MAX + 1))
    conditions = build_conditions(1, BROKER, CREDENTIALS, workers, LIMITS, PRIORITIES)
    assert max(len(item.message) for item in conditions) == MESSAGE_MAX
