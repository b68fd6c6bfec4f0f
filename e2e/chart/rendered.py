"""What the chart renders, and ways to look at it."""

import itertools
from typing import Any

import pytest

from e2e.chart.conftest import RELEASE_NAMESPACE

Objects = list[dict[str, Any]]

# Each test starts helm, which takes its time where the processors are busy.
HELM_TIMEOUT = pytest.mark.timeout(60)

OPTIONS = [
    pytest.param([], id="default"),
    pytest.param(["rabbitmq.enabled=true"], id="rabbitmq"),
    pytest.param(["watchNamespaces={shop,mail}"], id="watchNamespaces"),
    pytest.param(["watchNamespaces={shop}", "rabbitmq.enabled=true"], id="both"),
    pytest.param(["replicas=3"], id="replicas"),
    pytest.param(["shard=2/3"], id="shard"),
    pytest.param(
        ["broker.secretRef.name=bunny", "broker.secretRef.namespace=rabbits"], id="broker"
    ),
]
SERVICE_ACCOUNT = {
    "kind": "ServiceAccount",
    "name": "tq-taskqueue-operator",
    "namespace": RELEASE_NAMESPACE,
}


def of_kind(objects: Objects, kind: str) -> Objects:
    """Return the objects of a kind, in their order."""
    return [one for one in objects if one["kind"] == kind]


def keys(objects: Objects) -> set[tuple[str, str]]:
    """Return the namespace (empty: none) and name of objects."""
    return {(one["metadata"].get("namespace", ""), one["metadata"]["name"]) for one in objects}


def pods(objects: Objects) -> Objects:
    """Return the specs of all pods."""
    workloads = of_kind(objects, "Deployment") + of_kind(objects, "StatefulSet")
    return [one["spec"]["template"]["spec"] for one in workloads]


def operator_environment(objects: Objects) -> dict[str, str]:
    """Return the operator's plain environment variables."""
    (deployment,) = of_kind(objects, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


def without_lease(objects: Objects) -> Objects:
    """Return the objects but for those about the Lease."""
    return [one for one in objects if not one["metadata"]["name"].endswith("-lease")]


def granted(rules: Objects) -> set[tuple[str, str]]:
    """Return every resource and verb of RBAC rules."""
    return {pair for rule in rules for pair in itertools.product(rule["resources"], rule["verbs"])}
