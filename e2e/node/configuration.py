"""The configuration files of the node's components, as pure functions of the layout."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.node import network, paths

PAUSE_IMAGE = "localhost/pause:3.10"
API_PORT = 6443
CNI_NETWORK = "taskqueue"


@dataclass(frozen=True)
class Layout:
    """What the configuration depends on: where the programs lie, and the node's address."""

    node_ip: str
    kubernetes: Path
    runtime: Path
    resolv_conf: Path = Path("/etc/resolv.conf")

    @property
    def server(self) -> str:
        """The API server's address for everything on this machine."""
        return f"https://127.0.0.1:{API_PORT}"


def containerd_toml(layout: Layout) -> str:
    """Return containerd's configuration (version 3: containerd 2)."""
    runtime = "plugins.'io.containerd.cri.v1.runtime'"
    return f"""\
version = 3
root = '{paths.STATE}/containerd'
state = '{paths.RUN}/containerd'
# It would listen below /var/run, where another containerd's may be.
disabled_plugins = ['io.containerd.nri.v1.nri']

[grpc]
address = '{paths.CONTAINERD_SOCKET}'

[plugins.'io.containerd.internal.v1.opt']
path = '{paths.STATE}/opt'

[plugins.'io.containerd.shim.v1.manager']
socket_dir = '{paths.SHIM_SOCKETS}'

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{PAUSE_IMAGE}'

[{runtime}]
# Without it runc fails where this process may not lower its own score:
# "failed to update /proc/self/oom_score_adj".
restrict_oom_score_adj = true
# So that all mounts of the node lie below its own folders.
netns_mounts_under_state_dir = true
cdi_spec_dirs = []

[{runtime}.cni]
# Else the plugin `loopback` is needed, started once more for each pod.
use_internal_loopback = true
bin_dirs = ['{layout.runtime}']
conf_dir = '{paths.CONFIG}/cni'

[{runtime}.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
runtime_path = '{layout.runtime}/containerd-shim-runc-v2'

[{runtime}.containerd.runtimes.runc.options]
BinaryName = '{layout.runtime}/runc'
Root = '{paths.RUN}/runc'
SystemdCgroup = false
"""


def cni_conflist() -> dict[str, Any]:
    """Return the network of the pods: one bridge, addresses from a list, host ports."""
    bridge = {
        "type": "bridge",
        "bridge": network.BRIDGE,
        "isGateway": True,
        "hairpinMode": True,
        "ipMasq": True,
        # nftables, like kube-proxy: its rules are in tables of their own, so all are found again.
        "ipMasqBackend": "nftables",
        "ipam": {
            "type": "host-local",
            "dataDir": f"{paths.RUN}/addresses",
            "ranges": [[{"subnet": network.POD_SUBNET}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "backend": "nftables"}
    return {"cniVersion": "1.0.0", "name": CNI_NETWORK, "plugins": [bridge, portmap]}


def kubelet_configuration(layout: Layout) -> dict[str, Any]:
    """Return the kubelet's configuration."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{paths.CONTAINERD_SOCKET}",
        "tlsCertFile": f"{paths.PKI}/kubelet-server.crt",
        "tlsPrivateKeyFile": f"{paths.PKI}/kubelet-server.key",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{paths.PKI}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "address": layout.node_ip,
        "healthzBindAddress": "127.0.0.1",
        "clusterDNS": [network.SERVICE_DNS_IP],
        "clusterDomain": "cluster.local",
        "resolvConf": str(layout.resolv_conf),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "podLogsDir": f"{paths.LOGS}/pods",
        "volumePluginDir": f"{paths.STATE}/volume-plugins",
        "makeIPTablesUtilChains": False,
        # A developer's disk is often full, and no image could be pulled again: never collect them.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def kube_proxy_configuration(node_name: str) -> dict[str, Any]:
    """Return kube-proxy's configuration."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": f"{paths.CONFIG}/kube-proxy.kubeconfig"},
        "hostnameOverride": node_name,
        "clusterCIDR": network.POD_SUBNET,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        # Zero: leave the machine's own limits as they are.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def audit_policy() -> dict[str, Any]:
    """Return what the API server writes down of requests: who did what to Tasks, and no content."""
    tasks = {"group": "taskqueue.dev", "resources": ["tasks", "tasks/status"]}
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{"level": "Metadata", "resources": [tasks]}, {"level": "None"}],
    }


def kubeconfig(server: str, user: str, pki: Path) -> dict[str, Any]:
    """Return a kubeconfig that holds its certificates itself, so that it can be copied."""
    name = "taskqueue-node"

    def data(file_name: str) -> str:
        return base64.b64encode((pki / file_name).read_bytes()).decode()

    cluster = {"server": server, "certificate-authority-data": data("ca.crt")}
    credentials = {
        "client-certificate-data": data(f"{user}.crt"),
        "client-key-data": data(f"{user}.key"),
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }


def write_configuration(layout: Layout, node_name: str) -> None:
    """Write every configuration file below the state folder."""
    folder = paths.CONFIG
    (folder / "cni").mkdir(parents=True, exist_ok=True)
    (folder / "containerd.toml").write_text(containerd_toml(layout))
    # JSON is YAML: what Kubernetes reads may be either.
    documents = {
        "cni/10-taskqueue.conflist": cni_conflist(),
        "kubelet.yaml": kubelet_configuration(layout),
        "audit.yaml": audit_policy(),
        "kube-proxy.yaml": kube_proxy_configuration(node_name),
    }
    for user in ("admin", "controller-manager", "scheduler", "kubelet", "kube-proxy"):
        documents[f"{user}.kubeconfig"] = kubeconfig(layout.server, user, paths.PKI)
    for file_name, document in documents.items():
        write_private(folder / file_name, json.dumps(document, indent=1))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read; who reads meanwhile sees the former content."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    partial.write_text(text)
    partial.rename(path)
