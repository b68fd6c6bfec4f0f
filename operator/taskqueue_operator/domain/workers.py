"""The objects that run a TaskQueue's workers, as Kubernetes manifests."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any

from taskqueue_api import names
from taskqueue_api.durations import parse_duration
from taskqueue_api.payload_from import PayloadSourcesSpec
from taskqueue_api.retries import write_policy
from taskqueue_api.taskqueue import TaskQueueSpec
from taskqueue_operator.domain.containers import (
    DEFAULT_RESOURCES,
    SECURITY_CONTEXT,
    TMP,
    missing_mounts,
)
from taskqueue_operator.domain.sidecars import build_sidecar_volumes, build_sidecars
from taskqueue_operator.domain.tokens import name_tokens

UID = 10001
GRACE_MARGIN = timedelta(seconds=30)
_SPREAD_OVER = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
BROKER_MOUNT = f"{names.RESERVED_MOUNTS}/broker"


@dataclass(frozen=True)
class Owner:
    """The TaskQueue that owns the objects."""

    namespace: str
    name: str
    uid: str

    def reference(self) -> dict[str, Any]:
        """Return its owner reference, as the controller."""
        return {
            "apiVersion": names.API_VERSION,
            "kind": "TaskQueue",
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


def owner_of(body: Mapping[str, Any]) -> Owner:
    """Return a TaskQueue object as the owner of others."""
    metadata = body["metadata"]
    return Owner(metadata["namespace"], metadata["name"], metadata["uid"])


@dataclass(frozen=True)
class WorkerDefaults:
    """What the chart says about every worker. cluster: UID of the cluster."""

    image: str
    image_pull_policy: str
    cluster: str
    log_format: str


def build_metadata(owner: Owner, name: str) -> dict[str, Any]:
    """Return the metadata that every object of a TaskQueue carries."""
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": names.worker_labels(owner.name),
        "ownerReferences": [owner.reference()],
    }


def build_broker_secret(owner: Owner, uri: str, ca: str | None) -> dict[str, Any]:
    """Return the Secret with the workers' own broker credentials."""
    data = {"uri": uri} | ({"ca.crt": ca} if ca else {})
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": build_metadata(owner, names.broker_secret(owner.name)),
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


def build_access(owner: Owner, sources: PayloadSourcesSpec | None) -> list[dict[str, Any]]:
    """Return the workers' ServiceAccount, Role and RoleBinding: what one queue needs, no more.

    sources: what the workers may read for payloads; None: nothing.
    """
    metadata = build_metadata(owner, names.child(owner.name))
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata,
            "automountServiceAccountToken": False,
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [
                {"apiGroups": [names.GROUP], "resources": ["tasks"], "verbs": ["get"]},
                {"apiGroups": [names.GROUP], "resources": ["tasks/status"], "verbs": ["patch"]},
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
                *_source_rules(sources or PayloadSourcesSpec()),
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Role",
                "name": metadata["name"],
            },
            "subjects": [
                {
                    "kind": "ServiceAccount",
                    "name": metadata["name"],
                    "namespace": owner.namespace,
                }
            ],
        },
    ]


def _source_rules(sources: PayloadSourcesSpec) -> list[dict[str, Any]]:
    """Return what allows to read these objects, and no others of their kind."""
    listed = {"configmaps": sources.config_maps, "secrets": sources.secrets}
    return [
        {"apiGroups": [""], "resources": [kind], "resourceNames": sorted(wanted), "verbs": ["get"]}
        for kind, wanted in listed.items()
        if wanted  # a rule without names would allow all of them
    ]


def build_deployment(
    owner: Owner,
    spec: TaskQueueSpec,
    defaults: WorkerDefaults,
    secret_version: str,
    replicas: int,
) -> dict[str, Any]:
    """Return the workers' Deployment.

    secret_version: of the broker credentials; a new one rolls the pods.
    """
    labels = names.worker_labels(owner.name)
    template = spec.workers.template
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": build_metadata(owner, names.child(owner.name)),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "template": {
                "metadata": {
                    "labels": {**(template.labels or {}), **labels},
                    "annotations": {
                        **(template.annotations or {}),
                        names.BROKER_VERSION_ANNOTATION: secret_version,
                    },
                },
                "spec": _pod_spec(owner, spec, defaults),
            },
        },
    }


def build_disruption_budget(owner: Owner) -> dict[str, Any]:
    """Return what keeps a node that is drained from taking more than one worker at a time.

    Never none: a worker that is evicted finishes what it runs, and a node must not be held up for
    ever.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": build_metadata(owner, names.child(owner.name)),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": names.worker_labels(owner.name)},
            # A worker that is not ready runs nothing, or finishes what it runs all the same.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def grace_seconds(timeout: str) -> int:
    """Return how long a pod may take to stop: its longest Task and a margin, whole seconds."""
    return ceil((parse_duration(timeout) + GRACE_MARGIN).total_seconds())


def _spread(owner: Owner, key: str) -> dict[str, Any]:
    """Return that the workers stand in different places, where there are any. key: of nodes."""
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": names.worker_labels(owner.name)},
    }


def _pod_spec(owner: Owner, spec: TaskQueueSpec, defaults: WorkerDefaults) -> dict[str, Any]:
    template = spec.workers.template.to_kubernetes()
    worker = _container(owner, spec, defaults, template)
    sidecars = template.get("sidecars", [])
    pod: dict[str, Any] = {
        "serviceAccountName": names.child(owner.name),
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds(spec.timeout),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [worker],
        "topologySpreadConstraints": [_spread(owner, key) for key in _SPREAD_OVER],
        "volumes": [
            {
                "name": "taskqueue-broker",
                "secret": {"secretName": names.broker_secret(owner.name), "defaultMode": 0o440},
            },
            {"name": "taskqueue-tmp", "emptyDir": {}},
            *build_sidecar_volumes(sidecars),
            *template.get("volumes", []),
        ],
    }
    if sidecars:
        pod["initContainers"] = build_sidecars(sidecars, worker)
    for key in ("imagePullSecrets", "nodeSelector", "tolerations"):
        if key in template:
            pod[key] = template[key]
    return pod


def _container(
    owner: Owner, spec: TaskQueueSpec, defaults: WorkerDefaults, template: dict[str, Any]
) -> dict[str, Any]:
    mounts = template.get("volumeMounts", [])
    return {
        "name": names.WORKER_CONTAINER,
        "image": template.get("image", defaults.image),
        "imagePullPolicy": template.get("imagePullPolicy", defaults.image_pull_policy),
        "env": [*template.get("env", []), *_environment(owner, spec, defaults)],
        # What ended it, for the TaskQueue's condition.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "ports": [{"name": "http", "containerPort": names.WORKER_PORT, "protocol": "TCP"}],
        "resources": template.get("resources", DEFAULT_RESOURCES),
        "securityContext": SECURITY_CONTEXT,
        # Live, not ready: a broker that is away must not restart the pods.
        "startupProbe": _probe("/healthz", period=1, failures=60),
        "readinessProbe": _probe("/readyz", period=2, failures=2),
        "livenessProbe": _probe("/healthz", period=10, failures=3),
        "volumeMounts": [
            {"name": "taskqueue-broker", "mountPath": BROKER_MOUNT, "readOnly": True},
            *missing_mounts(mounts, {TMP: {"name": "taskqueue-tmp"}}),
            *mounts,
        ],
    }


def _environment(
    owner: Owner, spec: TaskQueueSpec, defaults: WorkerDefaults
) -> list[dict[str, Any]]:
    handlers = spec.workers.handlers.model_dump(by_alias=True, exclude_none=True)
    fixed = {
        "TASKQUEUE_NAMESPACE": owner.namespace,
        "TASKQUEUE_NAME": owner.name,
        "TASKQUEUE_CLUSTER": defaults.cluster,
        "TASKQUEUE_CONCURRENCY": str(spec.workers.concurrency),
        "TASKQUEUE_CLAIM": spec.workers.claim,
        "TASKQUEUE_TIMEOUT": spec.timeout,
        "TASKQUEUE_RETRY": _retry_policy(spec),
        "TASKQUEUE_HANDLERS": json.dumps(handlers, separators=(",", ":")),
        "TASKQUEUE_GRACE": str(grace_seconds(spec.timeout)),
        "TASKQUEUE_LOG_FORMAT": defaults.log_format,
        # Said, though it is the default: an image built from an earlier worker has another.
        "TASKQUEUE_PORT": str(names.WORKER_PORT),
        **name_tokens(owner.namespace, owner.name, spec.workers),
    }
    fields = {
        "TASKQUEUE_POD_NAME": "metadata.name",
        "TASKQUEUE_POD_UID": "metadata.uid",
        "TASKQUEUE_NODE_NAME": "spec.nodeName",
    }
    # The kubelet takes $(NAME) for a variable's value, and $$ for a dollar sign.
    literal = {key: value.replace("$", "$$") for key, value in fixed.items()}
    return [{"name": key, "value": value} for key, value in literal.items()] + [
        {"name": key, "valueFrom": {"fieldRef": {"fieldPath": path}}}
        for key, path in fields.items()
    ]


def _retry_policy(spec: TaskQueueSpec) -> str:
    if spec.retry is None:
        return write_policy(None)
    return write_policy(spec.retry.model_dump(by_alias=True, exclude_none=True))


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }
