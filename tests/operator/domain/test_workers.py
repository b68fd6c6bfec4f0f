"""The worker pods' objects: restricted, owned, and ours where it matters."""

import base64
import json
from typing import Any

import pytest

from taskqueue_api.retries import parse_policy, read_policy
from taskqueue_api.taskqueue import TaskQueueSpec
from taskqueue_operator.domain.workers import (
    build_access,
    build_broker_secret,
    build_deployment,
    build_disruption_budget,
    grace_seconds,
)
from tests.operator.builders import CLUSTER, DEFAULTS, OWNER, QUEUE_UID, build_spec

LABELS = {
    "app.kubernetes.io/name": "taskqueue-worker",
    "app.kubernetes.io/managed-by": "taskqueue-operator",
    "taskqueue.dev/queue": "emails",
}


def deployment(spec: TaskQueueSpec | None = None, **template: Any) -> dict[str, Any]:
    return build_deployment(OWNER, spec or build_spec(template=template), DEFAULTS, "abc123", 2)


def pod(spec: TaskQueueSpec | None = None, **template: Any) -> dict[str, Any]:
    result: dict[str, Any] = deployment(spec, **template)["spec"]["template"]["spec"]
    return result


def container(spec: TaskQueueSpec | None = None, **template: Any) -> dict[str, Any]:
    (result,) = pod(spec, **template)["containers"]
    assert isinstance(result, dict)
    return result


def effective(env: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the environment as a container gets it: of two of a name the last one counts."""
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in env}


def test_the_pod_is_restricted() -> None:
    assert pod()["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(pod())
    assert [volume for volume in pod()["volumes"] if "hostPath" in volume] == []


def test_the_pod_uses_its_own_service_account() -> None:
    assert pod()["serviceAccountName"] == "tq-emails"
    assert pod()["automountServiceAccountToken"] is True
    assert pod()["enableServiceLinks"] is False


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        pytest.param("5m", 330, id="minutes"),
        pytest.param("100ms", 31, id="rounded up"),
        pytest.param("24h", 86_430, id="the longest"),
    ],
)
def test_the_grace_lets_the_longest_task_end(timeout: str, expected: int) -> None:
    assert grace_seconds(timeout) == expected
    spec = TaskQueueSpec.model_validate(build_spec().model_dump() | {"timeout": timeout})
    assert pod(spec)["terminationGracePeriodSeconds"] == expected
    env = effective(container(spec)["env"])
    assert (env["TASKQUEUE_GRACE"], env["TASKQUEUE_TIMEOUT"]) == (str(expected), timeout)


def test_the_environment_is_what_the_worker_reads() -> None:
    spec = build_spec(concurrency=3)
    assert effective(container(spec)["env"]) == {
        "TASKQUEUE_NAMESPACE": "shop",
        "TASKQUEUE_NAME": "emails",
        "TASKQUEUE_CLUSTER": CLUSTER,
        "TASKQUEUE_CONCURRENCY": "3",
        "TASKQUEUE_CLAIM": "Adaptive",
        "TASKQUEUE_TIMEOUT": "5m",
        "TASKQUEUE_RETRY": "",
        "TASKQUEUE_HANDLERS": '{"python":{"module":"shop.tasks"}}',
        "TASKQUEUE_GRACE": "330",
        "TASKQUEUE_LOG_FORMAT": "json",
        "TASKQUEUE_PORT": "19080",
        "TASKQUEUE_POD_NAME": {"fieldRef": {"fieldPath": "metadata.name"}},
        "TASKQUEUE_POD_UID": {"fieldRef": {"fieldPath": "metadata.uid"}},
        "TASKQUEUE_NODE_NAME": {"fieldRef": {"fieldPath": "spec.nodeName"}},
    }


@pytest.mark.parametrize(
    ("retry", "text"),
    [
        pytest.param({}, '{"maxAttempts":5}', id="all defaults"),
        pytest.param({"maxAttempts": 1}, '{"maxAttempts":1}', id="a number"),
        pytest.param(
            {"maxAttempts": 3, "backoff": {"type": "Fixed", "initial": "10s", "jitter": 0}},
            '{"backoff":{"initial":"10s","jitter":0.0,"type":"Fixed"},"maxAttempts":3}',
            id="all of it",
        ),
    ],
)
def test_the_retry_policy_reaches_the_worker_as_it_reads_it(
    retry: dict[str, Any], text: str
) -> None:
    spec = TaskQueueSpec.model_validate(build_spec().model_dump() | {"retry": retry})
    found = effective(container(spec)["env"])["TASKQUEUE_RETRY"]
    assert found == text
    assert read_policy(found) == parse_policy(retry)


def test_another_claim_is_another_pod() -> None:
    assert effective(container(build_spec(claim="Always"))["env"])["TASKQUEUE_CLAIM"] == "Always"


def test_http_handlers_reach_the_worker_as_json() -> None:
    spec = build_spec(handlers={"http": {"url": "http://localhost:8080/task"}})
    env = effective(container(spec)["env"])
    assert json.loads(env["TASKQUEUE_HANDLERS"]) == {"http": {"url": "http://localhost:8080/task"}}


def test_exec_handlers_reach_the_worker_as_json() -> None:
    spec = build_spec(handlers={"exec": {"command": ["/bin/sh", "-c", 'echo "ü"']}})
    env = effective(container(spec)["env"])
    assert json.loads(env["TASKQUEUE_HANDLERS"]) == {
        "exec": {"command": ["/bin/sh", "-c", 'echo "ü"']}
    }


def test_a_command_is_kept_from_the_kubelet_that_expands_variables() -> None:
    spec = build_spec(handlers={"exec": {"command": ["sh", "-c", "echo $$ $(date) $HOME"]}})
    env = effective(container(spec)["env"])
    assert "echo $$$$ $$(date) $$HOME" in env["TASKQUEUE_HANDLERS"]


def test_variables_of_the_template_are_added_and_ours_win() -> None:
    env = container(
        env=[
            {"name": "SMTP", "value": "mail"},
            {"name": "TASKQUEUE_NAME", "value": "theirs"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ]
    )["env"]
    found = effective(env)
    assert found["SMTP"] == "mail"
    assert found["TASKQUEUE_NAME"] == "emails"
    assert found["TOKEN"]["secretKeyRef"]["key"] == "k"


def test_the_template_cannot_override_our_labels_and_annotations() -> None:
    metadata = deployment(
        labels={"team": "a", "taskqueue.dev/queue": "theirs"},
        annotations={"note": "b", "taskqueue.dev/broker-secret-version": "theirs"},
    )["spec"]["template"]["metadata"]
    assert metadata == {
        "labels": {"team": "a", **LABELS},
        "annotations": {"note": "b", "taskqueue.dev/broker-secret-version": "abc123"},
    }


def test_the_selector_matches_the_pods() -> None:
    spec = deployment()["spec"]
    assert spec["selector"] == {"matchLabels": LABELS}
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def test_another_secret_rolls_the_pods() -> None:
    one, other = (
        build_deployment(OWNER, build_spec(), DEFAULTS, text, 2)["spec"]["template"]
        for text in ("one", "other")
    )
    assert one != other
    assert one["spec"] == other["spec"]


def test_volumes_of_the_template_are_added_to_ours() -> None:
    found = pod(
        volumes=[{"name": "data", "configMap": {"name": "words", "defaultMode": 0o755}}],
        volumeMounts=[{"name": "data", "mountPath": "/data", "readOnly": True}],
    )
    assert found["volumes"] == [
        {
            "name": "taskqueue-broker",
            "secret": {"secretName": "tq-emails-broker", "defaultMode": 0o440},
        },
        {"name": "taskqueue-tmp", "emptyDir": {}},
        {"name": "data", "configMap": {"name": "words", "defaultMode": 0o755}},
    ]
    assert found["containers"][0]["volumeMounts"] == [
        {"name": "taskqueue-broker", "mountPath": "/etc/taskqueue/broker", "readOnly": True},
        {"name": "taskqueue-tmp", "mountPath": "/tmp"},  # noqa: S108 - inside the pod
        {"name": "data", "mountPath": "/data", "readOnly": True},
    ]


def test_the_image_is_the_charts_unless_the_template_names_one() -> None:
    assert container()["image"] == "example.org/worker:1"
    assert container()["imagePullPolicy"] == "IfNotPresent"
    named = container(image="example.org/shop:2", imagePullPolicy="Always")
    assert (named["image"], named["imagePullPolicy"]) == ("example.org/shop:2", "Always")


def test_resources_are_modest_unless_the_template_names_them() -> None:
    assert container()["resources"] == {"requests": {"cpu": "50m", "memory": "128Mi"}}
    wanted = {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}}
    assert container(resources=wanted)["resources"] == wanted


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("imagePullSecrets", [{"name": "registry"}]),
        ("nodeSelector", {"disk": "ssd"}),
        ("tolerations", [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]),
    ],
)
def test_scheduling_of_the_template_reaches_the_pod(key: str, value: Any) -> None:
    assert pod(**{key: value})[key] == value
    assert key not in pod()


def test_only_readiness_depends_on_the_broker() -> None:
    # A broker that is away must not restart the pods.
    found = container()
    (port,) = found["ports"]
    assert (port["name"], port["containerPort"]) == ("http", 19080)
    paths = {
        key: found[key]["httpGet"] for key in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert paths == {
        "startupProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
        "livenessProbe": {"path": "/healthz", "port": "http"},
    }


def test_replicas_are_as_asked() -> None:
    for replicas in (0, 3):
        body = build_deployment(OWNER, build_spec(), DEFAULTS, "hash", replicas)
        assert body["spec"]["replicas"] == replicas


def test_a_node_that_is_drained_takes_one_worker_at_a_time() -> None:
    budget = build_disruption_budget(OWNER)
    assert budget["metadata"]["name"] == "tq-emails"
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"] == {"matchLabels": LABELS}


def test_workers_stand_in_different_places_where_there_are_any() -> None:
    constraints = pod()["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in constraints] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]
    for one in constraints:
        assert one["whenUnsatisfiable"] == "ScheduleAnyway"
        assert one["labelSelector"] == {"matchLabels": LABELS}


def test_a_rollout_never_runs_with_fewer_workers() -> None:
    assert deployment()["spec"]["strategy"]["rollingUpdate"] == {
        "maxSurge": 1,
        "maxUnavailable": 0,
    }


def test_everything_is_owned_and_labelled() -> None:
    everything = [
        deployment(),
        build_broker_secret(OWNER, "amqp://u:p@h", None),
        *build_access(OWNER, None),
    ]
    assert {item["kind"] for item in everything} == {
        "Deployment",
        "Secret",
        "ServiceAccount",
        "Role",
        "RoleBinding",
    }
    for item in everything:
        assert item["metadata"]["namespace"] == "shop"
        assert item["metadata"]["labels"] == LABELS
        assert item["metadata"]["ownerReferences"] == [
            {
                "apiVersion": "taskqueue.dev/v1beta1",
                "kind": "TaskQueue",
                "name": "emails",
                "uid": QUEUE_UID,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]


def test_workers_may_read_tasks_and_pods_and_write_status_and_no_more() -> None:
    account, role, binding = build_access(OWNER, None)
    assert role["rules"] == [
        {"apiGroups": ["taskqueue.dev"], "resources": ["tasks"], "verbs": ["get"]},
        {"apiGroups": ["taskqueue.dev"], "resources": ["tasks/status"], "verbs": ["patch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    ]
    assert account["automountServiceAccountToken"] is False
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": "shop"}
    ]


def rights(sources: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return what workers may do besides what all may."""
    spec = build_spec(payloadSources=sources)
    _, role, _ = build_access(OWNER, spec.workers.payload_sources)
    rules: list[dict[str, Any]] = role["rules"]
    return rules[3:]


def test_workers_may_read_what_is_listed_for_payloads_by_its_name_alone() -> None:
    get = {"apiGroups": [""], "verbs": ["get"]}
    assert rights({"configMaps": ["orders"], "secrets": ["visa", "amex"]}) == [
        {**get, "resources": ["configmaps"], "resourceNames": ["orders"]},
        {**get, "resources": ["secrets"], "resourceNames": ["amex", "visa"]},
    ]


@pytest.mark.parametrize(
    "sources", [None, {}, {"secrets": []}, {"configMaps": [], "secrets": []}], ids=repr
)
def test_no_names_mean_no_right(sources: dict[str, Any] | None) -> None:
    # To Kubernetes, a rule with an empty list of names is one about all objects.
    assert rights(sources) == []


def test_what_is_listed_for_payloads_rolls_no_pods() -> None:
    assert deployment(build_spec(payloadSources={"secrets": ["visa"]})) == deployment()


@pytest.mark.parametrize(
    ("ca", "expected"),
    [
        pytest.param(None, {"uri": "amqp://u:p@h"}, id="no CA"),
        pytest.param("PEM", {"uri": "amqp://u:p@h", "ca.crt": "PEM"}, id="with a CA"),
    ],
)
def test_the_secret_holds_the_uri_and_the_ca(ca: str | None, expected: dict[str, str]) -> None:
    secret = build_broker_secret(OWNER, "amqp://u:p@h", ca)
    assert secret["metadata"]["name"] == "tq-emails-broker"
    decoded = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert decoded == expected
