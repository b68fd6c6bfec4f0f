"""The chart as helm renders it; no cluster is asked."""

from datetime import timedelta

import pytest
import yaml

from e2e.chart.conftest import CHART, Render
from e2e.chart.rendered import (
    HELM_TIMEOUT,
    OPTIONS,
    SERVICE_ACCOUNT,
    granted,
    keys,
    of_kind,
    operator_environment,
    pods,
    without_lease,
)
from e2e.kubectl import CHECKOUT, CommandError, Helm
from taskqueue_api.names import NOT_BEFORE_MAX

pytestmark = HELM_TIMEOUT


@pytest.mark.parametrize("settings", OPTIONS)
def test_lint_has_no_complaint(helm: Helm, settings: list[str]) -> None:
    flags = [f"--set={setting}" for setting in settings]
    helm.run("lint", "--strict", CHART, *flags)


@pytest.mark.parametrize(
    ("release", "settings", "name"),
    [
        pytest.param("taskqueue", [], "taskqueue-operator", id="short"),
        pytest.param("taskqueue-operator", [], "taskqueue-operator", id="nothing twice"),
        pytest.param("tq", [], "tq-taskqueue-operator", id="another name"),
        pytest.param("tq", ["--set=fullnameOverride=mine"], "mine", id="override"),
        pytest.param("r" * 53, [], f"{'r' * 40}-taskqueue-operator", id="longest"),
    ],
)
def test_names_follow_the_release(helm: Helm, release: str, settings: list[str], name: str) -> None:
    flags = ["--set=rabbitmq.enabled=true", *settings]
    objects = list(yaml.safe_load_all(helm.run("template", release, CHART, *flags)))
    (deployment,) = of_kind(objects, "Deployment")
    assert deployment["metadata"]["name"] == name
    (broker,) = of_kind(objects, "StatefulSet")
    # Its pods' label `controller-revision-hash` is longer by 11 and must fit 63.
    assert len(broker["metadata"]["name"]) <= 52


@pytest.mark.parametrize("settings", OPTIONS)
def test_pods_are_restricted(render: Render, settings: list[str]) -> None:
    found = pods(render(*settings))
    assert found
    for pod in found:
        security = pod["securityContext"]
        assert security["runAsNonRoot"]
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["enableServiceLinks"]
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert "memory" in container["resources"]["limits"]


def test_only_the_operator_gets_a_token(render: Render) -> None:
    objects = render("rabbitmq.enabled=true")
    operator, broker = pods(objects)
    assert operator["automountServiceAccountToken"]
    assert not broker["automountServiceAccountToken"]
    (account,) = of_kind(objects, "ServiceAccount")
    assert not account["automountServiceAccountToken"]


@pytest.mark.parametrize("settings", OPTIONS)
def test_rights_are_few(render: Render, settings: list[str]) -> None:
    objects = render(*settings)
    rules = [
        rule
        for role in of_kind(objects, "ClusterRole") + of_kind(objects, "Role")
        for rule in role["rules"]
    ]
    everything = {value for rule in rules for field in rule.values() for value in field}
    assert "*" not in everything
    assert not everything & {"escalate", "bind", "impersonate", "deletecollection"}
    assert {verb for name, verb in granted(rules) if name == "configmaps"} == {"get"}
    assert {name for name, verb in granted(rules) if verb == "delete"} <= {"deployments", "tasks"}
    assert {verb for name, verb in granted(rules) if name == "secrets"} == {
        "get",
        "create",
        "patch",
    }
    namespaces = [rule for rule in rules if "namespaces" in rule["resources"]]
    assert namespaces == [
        {
            "apiGroups": [""],
            "resources": ["namespaces"],
            "resourceNames": ["kube-system"],
            "verbs": ["get"],
        }
    ]


def test_rights_cover_what_workers_are_granted(render: Render) -> None:
    """Else the API server refuses the Role that the operator makes for them."""
    (role,) = of_kind(render(), "ClusterRole")
    needed = {("tasks", "get"), ("tasks/status", "patch"), ("pods", "get")}
    listed = {("configmaps", "get"), ("secrets", "get")}
    assert needed | listed <= granted(role["rules"])


def test_named_namespaces_get_roles_of_their_own(render: Render) -> None:
    (everywhere,) = of_kind(render(), "ClusterRole")
    objects = render("watchNamespaces={shop,mail}")
    (cluster_role,) = of_kind(objects, "ClusterRole")
    assert granted(cluster_role["rules"]) == {("namespaces", "get")}
    roles = without_lease(of_kind(objects, "Role"))
    bindings = without_lease(of_kind(objects, "RoleBinding"))
    wanted = {("shop", SERVICE_ACCOUNT["name"]), ("mail", SERVICE_ACCOUNT["name"])}
    assert keys(roles) == keys(bindings) == wanted
    for role in roles:
        assert cluster_role["rules"] + role["rules"] == everywhere["rules"]
    for binding in bindings:
        assert binding["subjects"] == [SERVICE_ACCOUNT]
    assert operator_environment(objects)["TASKQUEUE_WATCH_NAMESPACES"] == "shop,mail"


def test_a_broker_elsewhere_gets_a_role_for_its_secret_alone(render: Render) -> None:
    objects = render(
        "watchNamespaces={shop}",
        "broker.secretRef.name=bunny",
        "broker.secretRef.namespace=rabbits",
    )
    (role,) = (one for one in of_kind(objects, "Role") if one["metadata"]["namespace"] == "rabbits")
    assert role["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": ["bunny"],
            "verbs": ["get"],
        },
        {"apiGroups": [""], "resources": ["services"], "verbs": ["get"]},
    ]
    assert ("rabbits", role["metadata"]["name"]) in keys(of_kind(objects, "RoleBinding"))


def test_a_broker_in_a_named_namespace_needs_no_role_more(render: Render) -> None:
    objects = render(
        "watchNamespaces={shop}", "broker.secretRef.name=bunny", "broker.secretRef.namespace=shop"
    )
    assert keys(without_lease(of_kind(objects, "Role"))) == {("shop", SERVICE_ACCOUNT["name"])}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param([], "", id="none"),
        pytest.param(["broker.secretRef.name=bunny"], "system/bunny", id="the release's namespace"),
        pytest.param(
            ["broker.secretRef.name=bunny", "broker.secretRef.namespace=rabbits"],
            "rabbits/bunny",
            id="another namespace",
        ),
        pytest.param(
            ["rabbitmq.enabled=true"], "system/tq-rabbitmq-default-user", id="the chart's broker"
        ),
        pytest.param(
            ["rabbitmq.enabled=true", "broker.secretRef.name=bunny"],
            "system/bunny",
            id="a named one wins",
        ),
    ],
)
def test_default_broker(render: Render, settings: list[str], expected: str) -> None:
    environment = operator_environment(render(*settings))
    assert environment["TASKQUEUE_DEFAULT_BROKER_SECRET"] == expected


@pytest.mark.parametrize(
    ("settings", "operator", "worker"),
    [
        pytest.param(
            [], "taskqueue-operator:0.1.0", "taskqueue-worker:0.1.0", id="of the chart's version"
        ),
        pytest.param(
            ["image.registry=example.com/a/", "image.tag=x", "workerImage.tag=y"],
            "example.com/a/taskqueue-operator:x",
            "example.com/a/taskqueue-worker:y",
            id="one registry for both",
        ),
        pytest.param(
            ["image.registry=a", "workerImage.registry=b"],
            "a/taskqueue-operator:0.1.0",
            "b/taskqueue-worker:0.1.0",
            id="a registry for workers",
        ),
    ],
)
def test_images(render: Render, settings: list[str], operator: str, worker: str) -> None:
    objects = render(*settings)
    (pod,) = pods(objects)
    assert pod["containers"][0]["image"] == operator
    assert operator_environment(objects)["TASKQUEUE_WORKER_IMAGE"] == worker


def test_placement_reaches_the_pod(render: Render) -> None:
    (pod,) = pods(
        render(
            "priorityClassName=high",
            "nodeSelector.disk=ssd",
            "tolerations[0].key=dedicated",
            "affinity.nodeAffinity.x=y",
            "imagePullSecrets[0].name=pull",
        )
    )
    assert pod["priorityClassName"] == "high"
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert pod["tolerations"] == [{"key": "dedicated"}]
    assert pod["affinity"] == {"nodeAffinity": {"x": "y"}}
    assert pod["imagePullSecrets"] == [{"name": "pull"}]


def test_rabbitmq_is_off_by_default(render: Render) -> None:
    assert not of_kind(render(), "StatefulSet")


def test_rabbitmq_password_is_in_its_secret_only(render: Render) -> None:
    objects = render("rabbitmq.enabled=true")
    (secret,) = of_kind(objects, "Secret")
    assert secret["stringData"]["host"] == "tq-rabbitmq.system.svc"
    password = secret["stringData"]["password"]
    assert len(password) == 32
    others = [one for one in objects if one is not secret]
    assert password not in yaml.safe_dump(others)


def test_rabbitmq_can_put_dead_letters_back(render: Render) -> None:
    (config,) = of_kind(render("rabbitmq.enabled=true"), "ConfigMap")
    plugins = config["data"]["enabled_plugins"].strip()
    assert plugins == "[rabbitmq_management, rabbitmq_shovel, rabbitmq_shovel_management]."


def test_rabbitmq_knows_its_memory_limit(render: Render) -> None:
    limit = "rabbitmq.resources.limits.memory"
    texts = {}
    for value in ("1Gi", "1000000000"):
        (config,) = of_kind(render("rabbitmq.enabled=true", f"{limit}={value}"), "ConfigMap")
        texts[value] = config["data"]["rabbitmq.conf"]
    assert "total_memory_available_override_value = 1GiB\n" in texts["1Gi"] + "\n"
    assert "total_memory_available_override_value" not in texts["1000000000"]


def test_crds_are_those_of_the_models_and_kept(render: Render) -> None:
    rendered = of_kind(render(), "CustomResourceDefinition")
    sources = sorted((CHECKOUT / "crds").glob("*.yaml"))
    assert len(rendered) == len(sources) == 2
    expected = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sources]
    for crd in expected:
        crd["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    by_name = {one["metadata"]["name"]: one for one in rendered}
    assert by_name == {one["metadata"]["name"]: one for one in expected}


def test_crds_can_be_left_out(render: Render) -> None:
    assert not of_kind(render("crds.install=false"), "CustomResourceDefinition")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        pytest.param("replica=2", "additional properties 'replica' not allowed", id="unknown"),
        pytest.param("replicas=two", "at '/replicas'", id="replicas"),
        pytest.param("replicas=99", "at '/replicas'", id="too many replicas"),
        pytest.param("rabbitmq.enable=true", "at '/rabbitmq'", id="unknown below"),
        pytest.param("log.level=loud", "'debug', 'info', 'warning', 'error'", id="log level"),
        pytest.param("image.pullPolicy=Sometimes", "at '/image/pullPolicy'", id="pull policy"),
        pytest.param("image.tag=a:b", "at '/image/tag'", id="tag"),
        pytest.param("watchNamespaces=shop", "want array", id="one namespace, no list"),
        pytest.param("watchNamespaces={Shop}", "at '/watchNamespaces/0'", id="no namespace"),
        pytest.param("watchNamespaces={shop,shop}", "are equal", id="namespace twice"),
        pytest.param("broker.secretRef.namespace=a", "at '/broker/secretRef/name'", id="no name"),
        pytest.param("shard=0/3", "at '/shard'", id="shards count from 1"),
        pytest.param("shard=2", "at '/shard'", id="shard of how many"),
        pytest.param("shard=1/100", "at '/shard'", id="too many shards"),
    ],
)
def test_wrong_values_are_refused(render: Render, setting: str, message: str) -> None:
    with pytest.raises(CommandError, match=r"values don't meet the specifications") as error:
        render(setting)
    assert message in str(error.value)


def test_values_of_a_parent_chart_are_let_through(render: Render) -> None:
    assert render("global.imageRegistry=x", "enabled=true")


def test_the_policy_of_tasks_knows_the_reach_of_the_ladder(render: Render) -> None:
    (policy,) = of_kind(render(), "ValidatingAdmissionPolicy")
    (binding,) = of_kind(render(), "ValidatingAdmissionPolicyBinding")
    hours = NOT_BEFORE_MAX // timedelta(hours=1)
    rules = [one["expression"] for one in policy["spec"]["validations"]]
    assert [f"duration('{hours}h')" in rule for rule in rules].count(True) == 1
    assert f"at most {NOT_BEFORE_MAX.days} days" in str(policy["spec"]["validations"])
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    assert not of_kind(render("crds.install=false"), "ValidatingAdmissionPolicy")
