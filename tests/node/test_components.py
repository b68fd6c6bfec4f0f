"""The command lines of the node's components, and the configuration they read."""

import json
import tomllib
from pathlib import Path

import pytest

from e2e.node import network, paths
from e2e.node.components import Component, build_components
from e2e.node.configuration import (
    PAUSE_IMAGE,
    Layout,
    cni_conflist,
    containerd_toml,
    kubelet_configuration,
)

LAYOUT = Layout("203.0.113.7", Path("/cache/k"), Path("/cache/r"))
COMPONENTS = {component.name: component for component in build_components(LAYOUT)}


def test_components_are_started_before_those_that_need_them() -> None:
    order = list(COMPONENTS)
    assert order.index("etcd") < order.index("kube-apiserver") < order.index("kubelet")
    assert order.index("containerd") < order.index("kubelet")


@pytest.mark.parametrize("component", COMPONENTS.values(), ids=lambda one: one.name)
def test_everything_a_component_writes_lies_below_the_node_s_folders(component: Component) -> None:
    for argument in component.argv[1:]:
        value = argument.partition("=")[2]
        if value.startswith("/"):
            assert value.startswith((f"{paths.STATE}/", f"{paths.RUN}/")), argument


@pytest.mark.parametrize("component", COMPONENTS.values(), ids=lambda one: one.name)
def test_a_component_inherits_no_proxy_and_no_setting(
    component: Component, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "KUBECONFIG", "ETCD_NAME", "GOGC"):
        monkeypatch.setenv(name, "x")
    assert set(component.environment()) == {"PATH", "HOME"}


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        pytest.param("kube-apiserver", "--advertise-address=203.0.113.7", id="in-cluster clients"),
        pytest.param("kube-apiserver", "--authorization-mode=Node,RBAC", id="authorization"),
        pytest.param("kube-apiserver", "--enable-admission-plugins=NodeRestriction", id="node"),
        pytest.param(
            "kube-apiserver", "--kubelet-preferred-address-types=InternalIP", id="logs and exec"
        ),
        pytest.param("kube-controller-manager", "--use-service-account-credentials", id="rights"),
        pytest.param("kubelet", "--node-ip=203.0.113.7", id="address"),
    ],
)
def test_arguments_that_mattered(name: str, argument: str) -> None:
    assert argument in COMPONENTS[name].argv


def test_containerd_keeps_to_its_own_folders() -> None:
    config = tomllib.loads(containerd_toml(LAYOUT))
    runtime = config["plugins"]["io.containerd.cri.v1.runtime"]
    assert config["root"].startswith(str(paths.STATE))
    assert config["state"].startswith(str(paths.RUN))
    assert runtime["netns_mounts_under_state_dir"] is True
    assert runtime["restrict_oom_score_adj"] is True
    assert runtime["containerd"]["runtimes"]["runc"]["options"]["Root"].startswith(str(paths.RUN))
    images = config["plugins"]["io.containerd.cri.v1.images"]
    assert images["pinned_images"] == {"sandbox": PAUSE_IMAGE}


def test_pod_network_uses_no_iptables() -> None:
    bridge, portmap = cni_conflist()["plugins"]
    assert (bridge["ipMasqBackend"], portmap["backend"]) == ("nftables", "nftables")


def test_kubelet_never_collects_images_it_could_not_pull_again() -> None:
    assert kubelet_configuration(LAYOUT)["imageGCHighThresholdPercent"] == 100


def test_configuration_is_json() -> None:
    assert json.loads(json.dumps(kubelet_configuration(LAYOUT)))["failCgroupV1"] is False


def test_only_the_node_s_firewall_tables_are_taken() -> None:
    listed = (
        "table inet filter\ntable ip kube-proxy\ntable ip6 cni_hostport\ntable ip nat\n"
        "table ip taskqueue_cut_1f\n"
    )
    assert network.ours(listed) == [
        ("ip", "kube-proxy"),
        ("ip6", "cni_hostport"),
        ("ip", "taskqueue_cut_1f"),
    ]
