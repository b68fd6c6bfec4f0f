"""The chart on the real cluster, next to whatever else is installed there.

The operator's image is not needed: its pod is only created, which shows that it is restricted.
"""

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.chart.conftest import CHART
from e2e.kubectl import Helm, Kubectl, wait_for

pytestmark = pytest.mark.timeout(300)

RELEASE = "tq"
SERVICE_ACCOUNT = f"{RELEASE}-taskqueue-operator"
NO_IMAGES = ("--set", "image.pullPolicy=Never")
WIDGETS = "widgets.chart-test.example.com"


def widgets(*columns: str) -> dict[str, Any]:
    """Return a small CustomResourceDefinition, so that the real ones are left alone."""
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [
            {"name": name, "type": "string", "jsonPath": f".spec.{name}"} for name in columns
        ],
        "schema": {
            "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        },
    }
    plural, _, group = WIDGETS.partition(".")
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": WIDGETS},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": plural},
            "versions": [version],
        },
    }


@pytest.fixture
def chart_of_widgets(tmp_path: Path, helm: Helm, kubectl: Kubectl) -> Iterator[Path]:
    """Give a copy of the chart whose only definition is that of widgets."""
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    # It is for the whole cluster, and belongs to the release of the real definitions.
    (chart / "templates/policies.yaml").unlink()
    for path in (chart / "files/crds").iterdir():
        path.unlink()
    yield chart
    helm.run("uninstall", "widgets", "-n", kubectl.namespace, "--ignore-not-found")
    kubectl.run("delete", "crd", WIDGETS, "--ignore-not-found")


def printed_columns(kubectl: Kubectl) -> list[str]:
    """Return the columns that the stored definition of widgets names."""
    (version,) = kubectl.get_json("crd", WIDGETS)["spec"]["versions"]
    return [column["name"] for column in version.get("additionalPrinterColumns", [])]


def test_crds_are_updated_by_upgrade_and_kept_by_uninstall(
    chart_of_widgets: Path, helm: Helm, kubectl: Kubectl
) -> None:
    def install(*columns: str) -> None:
        file = chart_of_widgets / "files/crds/widgets.yaml"
        file.write_text(yaml.safe_dump(widgets(*columns), sort_keys=False), encoding="utf-8")
        target = ("widgets", chart_of_widgets, "-n", kubectl.namespace)
        helm.run("upgrade", "--install", *target, *NO_IMAGES)

    install("size")
    assert printed_columns(kubectl) == ["size"]
    uid = kubectl.get_json("crd", WIDGETS)["metadata"]["uid"]
    install("size", "colour")
    assert printed_columns(kubectl) == ["size", "colour"]
    helm.run("uninstall", "widgets", "-n", kubectl.namespace, "--wait")
    assert printed_columns(kubectl) == ["size", "colour"]
    install("colour")
    assert printed_columns(kubectl) == ["colour"]
    # Never deleted in between: that would have deleted every object of the kind.
    assert kubectl.get_json("crd", WIDGETS)["metadata"]["uid"] == uid


def test_real_crds_are_accepted_as_helm_sends_them(kubectl: Kubectl) -> None:
    """By server-side apply, which keeps a null that `kubectl apply` would drop unseen."""
    command = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f")
    kubectl.run(*command, str(CHART / "files/crds"))


@pytest.fixture(scope="module")
def release(helm: Helm, kubectl: Kubectl) -> Iterator[Kubectl]:
    """Give a release with RabbitMQ that serves its own namespace only."""
    install_release(helm, kubectl)
    yield kubectl
    helm.run("uninstall", RELEASE, "-n", kubectl.namespace)


def install_release(helm: Helm, kubectl: Kubectl, *settings: str) -> None:
    """Install or upgrade the release."""
    values = [
        "crds.install=false",
        "rabbitmq.enabled=true",
        "rabbitmq.image=localhost/rabbitmq:4.0",
        f"watchNamespaces={{{kubectl.namespace}}}",
        *settings,
    ]
    flags = [f"--set={value}" for value in values]
    target = (RELEASE, CHART, "-n", kubectl.namespace)
    helm.run("upgrade", "--install", *target, *NO_IMAGES, *flags)


def read_password(kubectl: Kubectl) -> str:
    """Return the password in the broker's Secret."""
    secret = kubectl.get_json("secret", f"{RELEASE}-rabbitmq-default-user")
    return base64.b64decode(secret["data"]["password"]).decode()


def may_log_in(kubectl: Kubectl, password: str) -> bool:
    """Ask RabbitMQ whether the password is right."""
    command = ("rabbitmqctl", "authenticate_user", "taskqueue")
    pod = f"{RELEASE}-rabbitmq-0"
    return kubectl.is_successful("exec", "-i", pod, "--", *command, stdin=f"{password}\n")


def test_rabbitmq_takes_the_password_of_its_secret_and_keeps_it(
    release: Kubectl, helm: Helm
) -> None:
    release.wait_rollout(f"statefulset/{RELEASE}-rabbitmq", timeout_seconds=120)
    password = read_password(release)
    assert may_log_in(release, password)
    assert not may_log_in(release, "wrong")
    pod = release.get_json("pod", f"{RELEASE}-rabbitmq-0")["metadata"]["uid"]
    install_release(helm, release, "log.level=debug")
    release.wait_rollout(f"statefulset/{RELEASE}-rabbitmq", timeout_seconds=120)
    assert read_password(release) == password
    assert release.get_json("pod", f"{RELEASE}-rabbitmq-0")["metadata"]["uid"] == pod


def test_operator_pod_is_admitted_where_pods_must_be_restricted(release: Kubectl) -> None:
    # Refused pods are not there at all; another may replace one while the release is changed.
    selector = "--selector=app.kubernetes.io/component=operator"
    where = "jsonpath={.items[*].spec.nodeName}"
    wait_for(
        lambda: release.run("get", "pods", selector, "-o", where).strip(),
        timeout_seconds=60,
        describe=lambda: "no pod of the operator has a node\n" + release.diagnose(),
    )


@pytest.mark.parametrize(
    ("verb", "resource", "where", "allowed"),
    [
        pytest.param("get", "namespaces/kube-system", "", True, id="the cluster's identity"),
        pytest.param("get", "namespaces/default", "", False, id="another namespace's object"),
        pytest.param("list", "namespaces", "", False, id="all namespaces"),
        pytest.param("get", "secrets", "own", True, id="a Secret by name"),
        pytest.param("list", "secrets", "own", False, id="all Secrets"),
        pytest.param("watch", "secrets", "own", False, id="all Secrets, later"),
        pytest.param("get", "secrets", "default", False, id="a Secret elsewhere"),
        pytest.param("patch", "deployments.apps", "own", True, id="a Deployment"),
        pytest.param("patch", "deployments.apps", "default", False, id="a Deployment elsewhere"),
        pytest.param("delete", "pods", "own", False, id="delete a pod"),
        pytest.param("escalate", "roles.rbac.authorization.k8s.io", "own", False, id="escalate"),
    ],
)
def test_operator_may(
    release: Kubectl, verb: str, resource: str, where: str, allowed: bool
) -> None:
    user = f"system:serviceaccount:{release.namespace}:{SERVICE_ACCOUNT}"
    place = release if where == "own" else release.in_namespace(where or "default")
    assert place.is_successful("auth", "can-i", verb, resource, f"--as={user}") == allowed


def test_operator_may_grant_workers_what_they_need_and_no_more(release: Kubectl) -> None:
    user = f"system:serviceaccount:{release.namespace}:{SERVICE_ACCOUNT}"

    def is_granted(resource: str, verb: str) -> bool:
        group = "taskqueue.dev" if resource.startswith("tasks") else ""
        role = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "tq-test", "namespace": release.namespace},
            "rules": [{"apiGroups": [group], "resources": [resource], "verbs": [verb]}],
        }
        command = ("apply", "--server-side", "--dry-run=server", f"--as={user}", "-f", "-")
        return release.is_successful(*command, stdin=yaml.safe_dump(role))

    assert is_granted("tasks", "get")
    assert is_granted("tasks/status", "patch")
    assert is_granted("pods", "get")
    assert not is_granted("secrets", "list")
    assert not is_granted("pods", "delete")
