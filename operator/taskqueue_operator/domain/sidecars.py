"""The containers beside the worker, as the pod's spec has them.

They are sidecars as Kubernetes knows them since 1.29: init containers that are restarted. So they
start before the worker, and end after it, when it has finished what it ran by their help.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from taskqueue_operator.domain.containers import (
    DEFAULT_RESOURCES,
    SECURITY_CONTEXT,
    TMP,
    missing_mounts,
)

TOKEN_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
_NO_TOKEN = "taskqueue-no-token"  # noqa: S105 - a volume's name
_COPIED = ("command", "args", "env", "startupProbe", "readinessProbe")


def build_sidecars(
    sidecars: Sequence[Mapping[str, Any]], worker: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the sidecars of a template as init containers. worker: the worker's container."""
    return [_build_sidecar(sidecar, worker) for sidecar in sidecars]


def build_sidecar_volumes(sidecars: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the volumes that the sidecars have besides those of the template."""
    if not sidecars:
        return []
    names = [_tmp_volume(sidecar) for sidecar in sidecars]
    return [{"name": name, "emptyDir": {}} for name in (_NO_TOKEN, *names)]


def _build_sidecar(sidecar: Mapping[str, Any], worker: Mapping[str, Any]) -> dict[str, Any]:
    image = sidecar.get("image")
    policy = sidecar.get("imagePullPolicy", None if image else worker["imagePullPolicy"])
    ports = [{**port, "protocol": "TCP"} for port in sidecar.get("ports", [])]
    mounts = sidecar.get("volumeMounts", [])
    ours: dict[str, dict[str, Any]] = {
        TMP: {"name": _tmp_volume(sidecar)},
        # In the place of the worker's token, which is none of a sidecar's business.
        TOKEN_MOUNT: {"name": _NO_TOKEN, "readOnly": True},
    }
    return {
        "name": sidecar["name"],
        "image": image or worker["image"],
        **({"imagePullPolicy": policy} if policy else {}),
        "restartPolicy": "Always",
        **{key: sidecar[key] for key in _COPIED if key in sidecar},
        **({"ports": ports} if ports else {}),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": sidecar.get("resources", DEFAULT_RESOURCES),
        "securityContext": SECURITY_CONTEXT,
        "volumeMounts": [*missing_mounts(mounts, ours), *mounts],
    }


def _tmp_volume(sidecar: Mapping[str, Any]) -> str:
    return f"taskqueue-tmp-{sidecar['name']}"
