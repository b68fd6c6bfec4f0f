"""Objects of the cluster without what nobody asks for: hundreds of each are kept."""

from collections.abc import Mapping
from typing import Any

_OF_METADATA = ("name", "namespace", "uid", "generation", "ownerReferences")


def without_managed_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without its managedFields, which are often most of it."""
    metadata = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
    return {**body, "metadata": metadata}


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
    return {
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
