"""What operator and workers show and may do, and how they live through outages."""

import json
from functools import partial
from threading import Thread

import pytest

from e2e.api import Api, Object
from e2e.demo import SYSTEM_NAMESPACE
from e2e.kubectl import Kubectl
from e2e.manifests import task
from e2e.space import Space, count_runs
from e2e.system import (
    OPERATOR,
    RABBITMQ,
    System,
    ask_pod,
    is_ready,
    name_of,
    parse_log,
    restarts_of,
    stop_process,
)
from taskqueue_api.conditions import parse_time

STATUS_WRITE_SECONDS = 5.0


@pytest.mark.own_operator
def test_operator_and_worker_answer_probes_and_give_metrics(space: Space) -> None:
    space.apply(space.scenario_queue("seen"))
    space.wait_queue("seen")
    space.apply(task("good", "seen", "record"), task("bad", "seen", "raise"))
    for name in ("good", "bad"):
        space.wait_task(name)
    system = space.system
    (worker,) = space.pods("seen")
    assert system.metric("taskqueue_leader") == 1
    for path in ("/healthz", "/readyz"):
        assert system.get(path).status_code == 200
        assert ask_pod(worker, path).status_code == 200
    labels = f'namespace="{space.name}",queue="seen"'
    assert system.metric(f'taskqueue_dispatches_total{{{labels},verdict="confirmed"}}') == 2
    for phase in ("succeeded", "failed"):
        gauge = f'taskqueue_tasks{{namespace="{space.name}",phase="{phase}",queue="seen"}}'
        space.wait(f"one Task {phase}", partial(has_value, system, gauge, 1))
    broker = f'host="{system.rabbit.host}",vhost="{system.rabbit.vhost}"'
    assert system.metric(f"taskqueue_broker_connected{{{broker}}}") == 1
    assert (system.metric('taskqueue_reconciles_total{result="Ready"}') or 0) > 0
    for histogram in ("dispatch", "reconcile"):
        assert (system.metric(f"taskqueue_{histogram}_duration_seconds_count") or 0) > 0
    text = ask_pod(worker, "/metrics").text
    for outcome, handler in (("succeeded", "record"), ("failed", "raise")):
        name = f'finished_total{{handler="{handler}",outcome="{outcome}"}}'
        assert f"taskqueue_worker_tasks_{name} 1.0" in text


def has_value(system: System, metric: str, value: float) -> bool:
    """Return whether a metric of the operator has a value."""
    return system.metric(metric) == value


def test_logs_are_json_with_namespace_and_name(space: Space) -> None:
    space.apply(space.scenario_queue("logged"))
    space.wait_queue("logged")
    space.apply(task("good", "logged", "record"))
    uid = space.wait_task("good")["metadata"]["uid"]
    operator_pod, (worker,) = space.system.operator_pod(), space.pods("logged")
    texts = {
        "operator": space.system.api.log(space.system.namespace, name_of(operator_pod)),
        "worker": space.system.api.log(space.name, name_of(worker)),
    }
    for text in texts.values():
        assert [json.loads(line) for line in text.splitlines()]
    about = [one for one in parse_log(texts["operator"]) if one.get("namespace") == space.name]
    assert {one["queue"] for one in about} == {"logged"}
    assert all(one["level"] and one["time"] and one["message"] for one in about)
    (line,) = (one for one in parse_log(texts["worker"]) if one["message"] == "succeeded")
    assert (line["namespace"], line["task"], line["uid"]) == (space.name, "good", uid)
    assert (line["attempt"], line["handler"], line["level"]) == (1, "record", "INFO")


@pytest.mark.own_operator
def test_operator_writes_seldom_and_not_at_all_to_tasks_that_go_well(space: Space) -> None:
    space.apply(space.scenario_queue("busy", {"concurrency": 8}))
    space.wait_queue("busy")
    names = [f"task-{n:03}" for n in range(200)]
    creating = Thread(
        target=space.create_all, args=[[task(name, "busy", "record") for name in names]]
    )
    creating.start()
    writes: dict[str, Object] = {}

    def all_done() -> bool:
        body = space.get("TaskQueue", "busy")
        writes[body["metadata"]["resourceVersion"]] = body
        return bool(body["status"]["tasks"]["succeeded"] == len(names))

    space.wait("all are counted", all_done)
    creating.join()
    tasks = space.tasks()
    managers = {
        one["manager"]
        for body in tasks
        for one in body["metadata"]["managedFields"]
        if one.get("subresource") == "status"
    }
    assert not [name for name in managers if "operator" in name]
    # 5 s at least between two writes; what the first looks like is not counted.
    started = min(one["metadata"]["creationTimestamp"] for one in tasks)
    span = seconds_between(started, latest_write(space.get("TaskQueue", "busy")))
    assert len(writes) <= 2 + span / STATUS_WRITE_SECONDS


def seconds_between(start: str, end: str) -> float:
    """Return the seconds between two moments as Kubernetes writes them."""
    return (parse_time(end) - parse_time(start)).total_seconds()


def latest_write(body: Object) -> str:
    """Return when a status was last written, by the API server's clock."""
    entries = body["metadata"]["managedFields"]
    return max(str(one["time"]) for one in entries if one.get("subresource") == "status")


# Outages


@pytest.mark.disruptive
def test_broker_gone_and_back(space: Space) -> None:
    """Its data is lost with it: Tasks are put back from their objects."""
    system = space.system
    space.apply(space.scenario_queue("outage"))
    space.wait_queue("outage")
    (worker,) = space.pods("outage")
    space.apply(task("running", "outage", "hold"))
    space.wait_task("running", "Running")
    space.apply(task("waiting", "outage", "record"))
    space.wait("it is published", lambda: space.dispatched("outage") == 2)
    operator = system.operator_pod()
    system.kubectl.run("scale", "statefulset", RABBITMQ, "--replicas=0")
    try:
        space.wait_queue("outage", "BrokerUnreachable")
        space.apply(task("meanwhile", "outage", "record"))
        space.wait_dispatched("meanwhile", "False", "QueueNotReady")
        assert system.get("/healthz").status_code == 200
        assert ask_pod(worker, "/healthz").status_code == 200
        space.wait("it takes no Tasks", lambda: ask_pod(worker, "/readyz").status_code == 503)
        space.let_go()
        # The outcome needs no broker.
        space.wait_task("running", "Succeeded")
    finally:
        system.kubectl.run("scale", "statefulset", RABBITMQ, "--replicas=1")
        system.kubectl.wait_rollout(f"statefulset/{RABBITMQ}", timeout_seconds=120)
    space.wait_tasks(3)
    space.wait_queue("outage")
    assert count_runs(space.runs()) == {"waiting": 1, "meanwhile": 1}
    assert len(space.runs("start")) == len(space.runs("end")) == 1
    for pod, now in ((operator, system.operator_pod()), (worker, space.pods("outage")[0])):
        assert now["metadata"]["uid"] == pod["metadata"]["uid"]
        assert restarts_of(now) == restarts_of(pod)
    space.wait_depth("outage", 0)


@pytest.mark.own_operator
def test_both_stop_cleanly_on_sigterm(space: Space) -> None:
    space.apply(space.scenario_queue("stopped"))
    space.wait_queue("stopped")
    system = space.system
    (worker,), operator = space.pods("stopped"), system.operator_pod()
    stop_process(worker, "taskqueue_worker")
    stop_process(operator, "taskqueue_operator")
    for pod, words in ((worker, '"drained"'), (operator, '"the operator has stopped"')):
        name, namespace = name_of(pod), pod["metadata"]["namespace"]
        space.wait(f"{name} is ready again", partial(is_restarted, system, pod))
        (container,) = system.api.get("Pod", namespace, name)["status"]["containerStatuses"]
        assert container["lastState"]["terminated"]["exitCode"] == 0
        assert words in system.api.log(namespace, name, previous=True)
    space.apply(task("after", "stopped", "record"))
    space.wait_task("after", "Succeeded")


def is_restarted(system: System, pod: Object) -> bool:
    """Return whether the container of a pod has been restarted since, and is ready."""
    now = system.api.get("Pod", pod["metadata"]["namespace"], name_of(pod))
    return restarts_of(now) > restarts_of(pod) and is_ready(now)


# Rights


@pytest.mark.parametrize(
    ("verb", "resource", "allowed"),
    [
        pytest.param("list", "tasks.taskqueue.dev", True, id="see Tasks"),
        pytest.param("patch", "tasks.taskqueue.dev/status", True, id="write their status"),
        pytest.param("delete", "tasks.taskqueue.dev", True, id="delete finished Tasks"),
        pytest.param("deletecollection", "tasks.taskqueue.dev", False, id="delete all Tasks"),
        pytest.param("create", "tasks.taskqueue.dev", False, id="create Tasks"),
        pytest.param("patch", "tasks.taskqueue.dev", False, id="change Tasks"),
        pytest.param("delete", "taskqueues.taskqueue.dev", False, id="delete TaskQueues"),
        pytest.param("list", "secrets", False, id="list Secrets"),
        pytest.param("delete", "secrets", False, id="delete Secrets"),
        pytest.param("list", "configmaps", False, id="list ConfigMaps"),
        pytest.param("create", "pods", False, id="create pods"),
        pytest.param("create", "pods/exec", False, id="run commands in pods"),
        pytest.param("get", "nodes", False, id="see nodes"),
        pytest.param("update", "leases.coordination.k8s.io", False, id="take Leases elsewhere"),
        pytest.param("delete", "namespaces", False, id="delete namespaces"),
        pytest.param("create", "serviceaccounts/token", False, id="make tokens"),
        pytest.param("impersonate", "users", False, id="be somebody else"),
        pytest.param("escalate", "roles.rbac.authorization.k8s.io", False, id="grant more"),
        pytest.param("create", "clusterrolebindings.rbac.authorization.k8s.io", False, id="bind"),
    ],
)
def test_operator_may(system: System, verb: str, resource: str, allowed: bool) -> None:
    account = system.api.get("Deployment", SYSTEM_NAMESPACE, OPERATOR)["spec"]["template"]["spec"]
    user = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{account['serviceAccountName']}"
    assert may(Kubectl("default"), user, verb, resource) == allowed


def may(kubectl: Kubectl, user: str, verb: str, resource: str) -> bool:
    """Ask the API server whether a user may do something in a namespace."""
    kind, _, sub = resource.partition("/")
    return kubectl.is_successful(
        "auth", "can-i", verb, kind, f"--subresource={sub}", f"--as={user}"
    )


WORKER_MAY = {
    ("get", "tasks.taskqueue.dev"): True,
    ("patch", "tasks.taskqueue.dev/status"): True,
    ("get", "pods"): True,
    ("list", "tasks.taskqueue.dev"): False,
    ("create", "tasks.taskqueue.dev"): False,
    ("patch", "tasks.taskqueue.dev"): False,
    ("delete", "tasks.taskqueue.dev"): False,
    ("get", "taskqueues.taskqueue.dev"): False,
    ("get", "secrets"): False,
    ("get", "configmaps"): False,
    ("list", "pods"): False,
    ("delete", "pods"): False,
    ("create", "pods"): False,
    ("create", "pods/exec"): False,
}


def test_worker_may(space: Space) -> None:
    space.apply(space.scenario_queue("rights"))
    space.wait_queue("rights")
    user = f"system:serviceaccount:{space.name}:tq-rights"
    here = {act: may(space.kubectl, user, *act) for act in WORKER_MAY}
    assert here == WORKER_MAY
    elsewhere = {act: may(Kubectl("default"), user, *act) for act in WORKER_MAY}
    assert not any(elsewhere.values())


def test_pods_are_restricted_and_healthy(system: System, cluster: Api) -> None:
    """Spaces enforce the restricted standard; the release's own pods follow it too."""
    for pod in cluster.list("Pod", SYSTEM_NAMESPACE):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
    assert is_ready(system.operator_pod())
