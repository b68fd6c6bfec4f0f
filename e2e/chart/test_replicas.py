"""How many operators there are, and what they agree by; rendered, no cluster is asked."""

import pytest

from e2e.chart.conftest import RELEASE_NAMESPACE, Render
from e2e.chart.rendered import (
    HELM_TIMEOUT,
    OPTIONS,
    SERVICE_ACCOUNT,
    granted,
    keys,
    of_kind,
    operator_environment,
    pods,
)

pytestmark = HELM_TIMEOUT


def test_one_operator_needs_no_budget_and_no_other_node(render: Render) -> None:
    objects = render()
    (deployment,) = of_kind(objects, "Deployment")
    assert deployment["spec"]["replicas"] == 1
    assert "affinity" not in deployment["spec"]["template"]["spec"]
    assert not of_kind(objects, "PodDisruptionBudget")


def test_a_new_operator_stands_by_before_the_old_one_ends(render: Render) -> None:
    (deployment,) = of_kind(render(), "Deployment")
    assert deployment["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }


def test_several_operators_prefer_different_nodes_and_go_one_by_one(render: Render) -> None:
    objects = render("replicas=2")
    (deployment,) = of_kind(objects, "Deployment")
    labels = deployment["spec"]["selector"]
    (preferred,) = deployment["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert preferred["podAffinityTerm"] == {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": labels,
    }
    (budget,) = of_kind(objects, "PodDisruptionBudget")
    assert budget["spec"] == {"maxUnavailable": 1, "selector": labels}


def test_an_affinity_of_one_s_own_replaces_ours(render: Render) -> None:
    (pod,) = pods(render("replicas=2", "affinity.nodeAffinity.x=y"))
    assert pod["affinity"] == {"nodeAffinity": {"x": "y"}}


@pytest.mark.parametrize("settings", OPTIONS)
def test_the_lease_is_the_release_s_own_and_no_other_may_be_changed(
    render: Render, settings: list[str]
) -> None:
    objects = render(*settings)
    name = SERVICE_ACCOUNT["name"]
    (lease,) = of_kind(objects, "Lease")
    assert lease["metadata"]["name"] == name
    assert lease["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert not lease["spec"]  # nobody holds it
    environment = operator_environment(objects)
    assert environment["TASKQUEUE_LEASE_NAMESPACE"] == RELEASE_NAMESPACE
    assert environment["TASKQUEUE_LEASE_NAME"] == name
    rules = [
        (role["metadata"]["namespace"], rule)
        for role in of_kind(objects, "Role")
        for rule in role["rules"]
        if "leases" in rule["resources"]
    ]
    group = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    assert rules == [
        (RELEASE_NAMESPACE, {**group, "resourceNames": [name], "verbs": ["get", "update"]}),
        (RELEASE_NAMESPACE, {**group, "verbs": ["create"]}),
    ]
    assert (RELEASE_NAMESPACE, f"{name}-lease") in keys(of_kind(objects, "RoleBinding"))
    (cluster_role,) = of_kind(objects, "ClusterRole")
    assert "leases" not in {resource for resource, _ in granted(cluster_role["rules"])}
