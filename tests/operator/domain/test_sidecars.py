"""The containers beside the worker: as restricted as it, and there before it."""

from typing import Any

import pytest

from taskqueue_operator.domain.workers import build_deployment
from tests.operator.builders import DEFAULTS, OWNER, build_spec

NO_TOKEN = {
    "name": "taskqueue-no-token",
    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
    "readOnly": True,
}


def pod(*sidecars: dict[str, Any], **template: Any) -> dict[str, Any]:
    """Return the spec of a worker pod with these sidecars."""
    spec = build_spec(template={"sidecars": list(sidecars), **template})
    deployment = build_deployment(OWNER, spec, DEFAULTS, "abc123", 1)
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


def container(template: dict[str, Any] | None = None, **sidecar: Any) -> dict[str, Any]:
    """Return the container of one sidecar."""
    (found,) = pod({"name": "server", **sidecar}, **(template or {}))["initContainers"]
    assert isinstance(found, dict)
    return found


def test_without_sidecars_nothing_is_there_for_them() -> None:
    assert "initContainers" not in pod()
    assert [volume["name"] for volume in pod()["volumes"]] == ["taskqueue-broker", "taskqueue-tmp"]


def test_a_sidecar_starts_before_the_worker_and_is_restarted() -> None:
    # That is what makes an init container a sidecar: it outlives the worker too.
    found = pod({"name": "one"}, {"name": "two"})
    assert [item["name"] for item in found["initContainers"]] == ["one", "two"]
    assert {item["restartPolicy"] for item in found["initContainers"]} == {"Always"}
    assert [item["name"] for item in found["containers"]] == ["worker"]


def test_a_sidecar_is_as_restricted_as_the_worker() -> None:
    found = pod({"name": "server", "securityContext": {"privileged": True}})
    (sidecar,), (worker,) = found["initContainers"], found["containers"]
    assert sidecar["securityContext"] == worker["securityContext"]
    assert sidecar["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_a_sidecar_gets_neither_the_workers_token_nor_its_broker() -> None:
    found = pod({"name": "server"})
    (sidecar,) = found["initContainers"]
    assert sidecar["volumeMounts"] == [
        {"name": "taskqueue-tmp-server", "mountPath": "/tmp"},  # noqa: S108 - inside the pod
        NO_TOKEN,
    ]
    assert "env" not in sidecar
    empty = [volume["name"] for volume in found["volumes"] if volume.get("emptyDir") == {}]
    assert empty == ["taskqueue-tmp", "taskqueue-no-token", "taskqueue-tmp-server"]


def test_a_mount_of_the_template_takes_the_place_of_ours() -> None:
    mounts = [
        {"name": "data", "mountPath": "/tmp/", "readOnly": False},  # noqa: S108 - inside the pod
        {"name": "data", "mountPath": "/data", "subPath": "x", "readOnly": True},
    ]
    volumes = [{"name": "data", "emptyDir": {}}]
    assert container({"volumes": volumes}, volumeMounts=mounts)["volumeMounts"] == [
        NO_TOKEN,
        *mounts,
    ]


@pytest.mark.parametrize(
    ("sidecar", "template", "image", "policy"),
    [
        pytest.param({}, {}, "example.org/worker:1", "IfNotPresent", id="the worker's"),
        pytest.param(
            {},
            {"image": "shop:2", "imagePullPolicy": "Always"},
            "shop:2",
            "Always",
            id="the worker's, of the template",
        ),
        pytest.param({"image": "node:24"}, {}, "node:24", None, id="its own, as Kubernetes pulls"),
        pytest.param(
            {"image": "node:24", "imagePullPolicy": "Never"}, {}, "node:24", "Never", id="all own"
        ),
    ],
)
def test_the_image_is_the_workers_unless_it_names_one(
    sidecar: dict[str, Any], template: dict[str, Any], image: str, policy: str | None
) -> None:
    found = container(template, **sidecar)
    assert (found["image"], found.get("imagePullPolicy")) == (image, policy)


def test_what_a_sidecar_says_reaches_its_container() -> None:
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}
    said: dict[str, Any] = {
        "command": ["node", "server.js"],
        "args": ["--port=8080"],
        "env": [{"name": "PYTHONPATH", "value": "/x"}],
        "resources": {"limits": {"memory": "64Mi"}},
        "startupProbe": probe,
        "readinessProbe": {**probe, "failureThreshold": 5},
    }
    found = container(ports=[{"name": "web", "containerPort": 8080}], **said)
    assert {key: found[key] for key in said} == said
    assert found["ports"] == [{"name": "web", "containerPort": 8080, "protocol": "TCP"}]
    # What ended it is shown by the TaskQueue's condition.
    assert found["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_a_sidecar_has_resources_where_quotas_ask_for_them() -> None:
    assert container()["resources"] == {"requests": {"cpu": "50m", "memory": "128Mi"}}
