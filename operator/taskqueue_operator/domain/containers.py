"""What all containers of a worker pod have in common."""

from collections.abc import Mapping, Sequence
from typing import Any

SECURITY_CONTEXT = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
DEFAULT_RESOURCES = {"requests": {"cpu": "50m", "memory": "128Mi"}}
TMP = "/tmp"  # noqa: S108 - inside the pod, a volume of its own


def missing_mounts(
    mounts: Sequence[Mapping[str, Any]], ours: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return those of our mounts, by path, in whose place a template mounts nothing itself."""
    taken = {mount["mountPath"].rstrip("/") for mount in mounts}
    return [{**mount, "mountPath": path} for path, mount in ours.items() if path not in taken]
