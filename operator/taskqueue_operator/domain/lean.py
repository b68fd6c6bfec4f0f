"""Objects of the cluster without what nobody asks for: hundreds of each are kept."""

import sys
from collections.abc import Mapping
from typing import Any

_OF_METADATA = ("name", "namespace", "uid", "generation", "ownerReferences")
_OF_TASKQUEUES = ("name", "namespace", "uid", "generation", "deletionTimestamp")


def shared(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with strings that are kept once, however many objects have them.

    Each object that is read brings all its field names, reasons and sentences along anew.
    """
    return {sys.intern(name): _shared(value) for name, value in body.items()}


def _shared(value: Any) -> Any:
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, Mapping):
        return shared(value)
    return [_shared(one) for one in value] if isinstance(value, list) else value


def lean_taskqueue(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a TaskQueue all but the rest of its metadata, which is often most of it."""
    metadata = {name: body["metadata"][name] for name in _OF_TASKQUEUES if name in body["metadata"]}
    return shared({**body, "metadata": metadata})


def without_status(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without its status."""
    return {name: value for name, value in body.items() if name != "status"}


def lean_deployment(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a Deployment its identity, its number of pods, its status, and of its template the
    annotations and the variables of the containers.
    """
    spec = body.get("spec", {})
    template = spec.get("template", {})
    annotations = template.get("metadata", {}).get("annotations", {})
    containers = [
        {name: one[name] for name in ("name", "env") if name in one}
        for one in template.get("spec", {}).get("containers", [])
    ]
    lean = {
        "kind": body["kind"],
        "metadata": {name: body["metadata"].get(name) for name in _OF_METADATA},
        "spec": {
            "replicas": spec.get("replicas", 1),
            "template": {
                "metadata": {"annotations": annotations},
                "spec": {"containers": containers},
            },
        },
        "status": body.get("status", {}),
    }
    return shared(lean)
