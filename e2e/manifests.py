"""Objects for scenarios: valid by default, each caller gives what differs."""

import copy
from collections.abc import Mapping
from typing import Any

from e2e.kubectl import CHECKOUT

API_VERSION = "taskqueue.dev/v1beta1"
HANDLERS_CONFIG = "handlers"
"""ConfigMap with the modules of `e2e/mounted`, which are mounted at /app of workers."""

SIDECAR_PORT = 8080
WORKER_IMAGE = "localhost/taskqueue-worker:dev"
ABSENT = object()
"""As a change of `edited`: the field is taken away."""

_MOUNTED = CHECKOUT / "e2e" / "mounted"


def taskqueue(name: str, workers: Mapping[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a TaskQueue of the example handlers. workers: merged over these, field by field."""
    handlers = {"python": {"module": "taskqueue_worker.examples"}}
    return {
        "apiVersion": API_VERSION,
        "kind": "TaskQueue",
        "metadata": {"name": name},
        "spec": {"timeout": "20s", "workers": {"handlers": handlers, **(workers or {})}, **spec},
    }


def task(name: str, queue: str, handler: str = "echo", **spec: Any) -> dict[str, Any]:
    """Return a Task. spec: payload, priority, timeout."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Task",
        "metadata": {"name": name},
        "spec": {"queue": queue, "handler": handler, **spec},
    }


def scenario_workers(recorder_url: str, **workers: Any) -> dict[str, Any]:
    """Return `spec.workers` that run the handlers of `e2e/mounted/handlers.py`."""
    return {
        "handlers": {"python": {"module": "handlers"}},
        "template": mounted_template(recorder_url),
        **workers,
    }


def mounted_template(recorder_url: str) -> dict[str, Any]:
    """Return a worker template that mounts `e2e/mounted` and says where runs are recorded."""
    return {
        "env": [{"name": "RECORDER_URL", "value": recorder_url}],
        "volumes": [{"name": "handlers", "configMap": {"name": HANDLERS_CONFIG}}],
        "volumeMounts": [{"name": "handlers", "mountPath": "/app", "readOnly": True}],
    }


def http_workers(
    recorder_url: str, env: Mapping[str, str] | None = None, **workers: Any
) -> dict[str, Any]:
    """Return `spec.workers` whose Tasks `e2e/mounted/sidecar.py` runs. env: more for it."""
    mounted = mounted_template(recorder_url)
    variables = {"RECORDER_URL": recorder_url, **(env or {})}
    sidecar = {
        "name": "server",
        "command": ["python3", "/app/sidecar.py"],
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "ports": [{"containerPort": SIDECAR_PORT}],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "volumeMounts": mounted["volumeMounts"],
        "startupProbe": {
            "httpGet": {"port": SIDECAR_PORT},
            "periodSeconds": 1,
            "failureThreshold": 60,
        },
        "readinessProbe": {"httpGet": {"port": SIDECAR_PORT}},
    }
    return {
        "handlers": {"http": {"url": f"http://localhost:{SIDECAR_PORT}/task"}},
        "template": {"volumes": mounted["volumes"], "sidecars": [sidecar]},
        **workers,
    }


def mounted_config(name: str = HANDLERS_CONFIG) -> dict[str, Any]:
    """Return the ConfigMap with what lies in `e2e/mounted`."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {path.name: path.read_text(encoding="utf-8") for path in _MOUNTED.iterdir()},
    }


def secret(name: str, data: Mapping[str, str]) -> dict[str, Any]:
    """Return a Secret with text values."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": dict(data),
    }


def config_map(name: str, data: Mapping[str, str], **fields: Any) -> dict[str, Any]:
    """Return a ConfigMap. fields: others than `data`."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": dict(data),
        **fields,
    }


def broker_service(name: str, endpoints: Mapping[str, tuple[str, int]]) -> list[dict[str, Any]]:
    """Return a Service that leads to a broker, or to what stands before it.

    endpoints: address and port by the name of the Service's port, `amqp` or `management`; without
        the latter the management API is hidden.
    """
    numbers = {"amqp": 5672, "management": 15672}
    ports = [{"name": one, "port": numbers[one], "protocol": "TCP"} for one in endpoints]
    slices = [
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-{port}",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "ports": [{"name": port, "port": number, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        }
        for port, (address, number) in endpoints.items()
    ]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": ports},
    }
    return [service, *slices]


def namespace(name: str) -> dict[str, Any]:
    """Return a namespace that takes restricted pods only."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "e2e": "true"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def restricted_pod(container: Mapping[str, Any], **pod: Any) -> dict[str, Any]:
    """Return the spec of a pod of one container that a restricted namespace takes."""
    security = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"securityContext": security, **container}],
        **pod,
    }


def edited(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of an object with fields set, by dotted path."""
    document = copy.deepcopy(dict(base))
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = document
        for key in parents:
            place = place.setdefault(key, {})
        if value is ABSENT:
            place.pop(last)
        else:
            place[last] = value
    return document
