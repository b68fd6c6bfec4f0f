"""Worker templates and sidecars that the real API server must refuse, and what it says of them."""

from typing import Any

import pytest

from e2e.manifests import edited, taskqueue
from e2e.refusals import Refusal, refusal

__all__ = ["refusal"]

TEMPLATE = "spec.workers.template"
SIDECARS = f"{TEMPLATE}.sidecars"


@pytest.mark.parametrize(
    ("changes", "field", "must"),
    [
        pytest.param(
            {f"{TEMPLATE}.hostNetwork": True},
            f"{TEMPLATE}.hostNetwork",
            "unknown field",
            id="pod field that is not allowed",
        ),
        pytest.param(
            {f"{TEMPLATE}.labels": {"taskqueue.dev/queue": "zzz"}},
            f"{TEMPLATE}.labels",
            "must not have keys under 'taskqueue.dev/', nor 'app.kubernetes.io/name' or",
            id="label of ours",
        ),
        pytest.param(
            {f"{TEMPLATE}.labels": {"app.kubernetes.io/managed-by": "me"}},
            f"{TEMPLATE}.labels",
            "must not have keys under 'taskqueue.dev/'",
            id="label that we set",
        ),
        pytest.param(
            {f"{TEMPLATE}.resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}},
            f"{TEMPLATE}.resources",
            "requests.cpu must be at most limits.cpu",
            id="min over max, CPU",
        ),
        pytest.param(
            {f"{TEMPLATE}.resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1G"}}},
            f"{TEMPLATE}.resources",
            "requests.memory must be at most limits.memory",
            id="min over max, memory",
        ),
        pytest.param(
            {f"{TEMPLATE}.resources.limits.cpu": "lots"},
            f"{TEMPLATE}.resources.limits.cpu",
            "should match",
            id="bad quantity",
        ),
        pytest.param(
            {f"{TEMPLATE}.env": [{"name": "TASKQUEUE_X", "value": "1"}]},
            f"{TEMPLATE}.env[0]",
            "name must not begin with 'TASKQUEUE_', which is the worker's own: 'TASKQUEUE_X'",
            id="reserved variable",
        ),
        pytest.param(
            {
                f"{TEMPLATE}.env": [
                    {"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}
                ]
            },
            f"{TEMPLATE}.env[0]",
            "only one of value and valueFrom must be set",
            id="variable set twice",
        ),
        pytest.param(
            {f"{TEMPLATE}.env": [{"name": "PYTHONPATH", "value": "/app/lib"}]},
            f"{TEMPLATE}.env[0]",
            "PYTHONPATH must not be set: mount or copy your modules to /app",
            id="variable that hides our code",
        ),
        pytest.param(
            {f"{TEMPLATE}.env": [{"name": "A"}, {"name": "A"}]},
            f"{TEMPLATE}.env[1]",
            "Duplicate value",
            id="variable named twice",
        ),
        pytest.param(
            {f"{TEMPLATE}.volumeMounts": [{"name": "a", "mountPath": "/etc/taskqueue/broker"}]},
            f"{TEMPLATE}.volumeMounts[0].mountPath",
            "must be absolute and outside '/etc/taskqueue' and '/opt/taskqueue', "
            "not '/etc/taskqueue/broker'",
            id="reserved mount path",
        ),
        pytest.param(
            {f"{TEMPLATE}.volumeMounts": [{"name": "a", "mountPath": "data"}]},
            f"{TEMPLATE}.volumeMounts[0].mountPath",
            "must be absolute",
            id="relative mount path",
        ),
        pytest.param(
            {f"{TEMPLATE}.volumes": [{"name": "taskqueue-broker", "emptyDir": {}}]},
            f"{TEMPLATE}.volumes[0]",
            "name must not begin with 'taskqueue-', which is the worker's own",
            id="reserved volume",
        ),
        pytest.param(
            {f"{TEMPLATE}.volumes": [{"name": "a"}]},
            f"{TEMPLATE}.volumes[0]",
            "exactly one of secret, configMap, emptyDir and persistentVolumeClaim must be set",
            id="volume without a source",
        ),
        pytest.param(
            {SIDECARS: [{"name": "worker"}]},
            f"{SIDECARS}[0].name",
            "must not be 'worker', which is the worker's own",
            id="sidecar with the worker's name",
        ),
        pytest.param(
            {SIDECARS: [{"name": "a"}, {"name": "a"}]},
            f"{SIDECARS}[1]",
            "Duplicate value",
            id="sidecar named twice",
        ),
        pytest.param(
            {SIDECARS: [{"name": name} for name in "abcde"]},
            SIDECARS,
            "must have at most 4 items",
            id="too many sidecars",
        ),
        pytest.param(
            {SIDECARS: [{"name": "a", "securityContext": {"privileged": True}}]},
            f"{SIDECARS}[0].securityContext",
            "unknown field",
            id="sidecar with rights",
        ),
        pytest.param(
            {SIDECARS: [{"name": "a", "startupProbe": {"httpGet": {"port": 1, "host": "b"}}}]},
            f"{SIDECARS}[0].startupProbe.httpGet.host",
            "unknown field",
            id="probe of another host",
        ),
        pytest.param(
            {SIDECARS: [{"name": "a", "ports": [{"containerPort": 19080}]}]},
            f"{SIDECARS}[0].ports[0].containerPort",
            "must not be 19080, which is the worker's own",
            id="sidecar on the worker's port",
        ),
        pytest.param(
            {SIDECARS: [{"name": "a", "volumeMounts": [{"name": "b", "mountPath": "/b"}]}]},
            TEMPLATE,
            "each of volumeMounts of sidecars must name one of volumes",
            id="sidecar that mounts what is not there",
        ),
    ],
)
def test_wrong_template_is_refused(
    refusal: Refusal, changes: dict[str, Any], field: str, must: str
) -> None:
    said = refusal(edited(taskqueue("good"), changes))
    assert field in said
    assert must in said
