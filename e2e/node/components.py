"""The node's components: the command line of each, and how to see that it is ready."""

import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from e2e.node import network, paths
from e2e.node.certificates import NODE_NAME, TOKEN_KEY
from e2e.node.configuration import API_PORT, Layout
from e2e.node.console import is_successful, system_path

_ETCD = "http://127.0.0.1:2379"
_PROBE_SECONDS = 2
# Probes go to this machine only, whatever proxy the caller's environment names.
_NO_PROXY = urllib.request.ProxyHandler({})


@dataclass(frozen=True)
class Component:
    """One process of the node."""

    name: str
    argv: list[str]
    is_ready: Callable[[], bool]
    timeout_seconds: float = 60
    env: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """Return its whole environment: little of the caller's, whose proxies must not apply."""
        return {"PATH": system_path(), "HOME": os.environ.get("HOME", "/root"), **self.env}


def build_components(layout: Layout) -> list[Component]:
    """Return the components in the order in which they are started."""
    return [
        _etcd(layout),
        _containerd(layout),
        _api_server(layout),
        _controller_manager(layout),
        _scheduler(layout),
        _kubelet(layout),
        _kube_proxy(layout),
    ]


def _etcd(layout: Layout) -> Component:
    # Loopback without TLS, and no fsync: the data is worth nothing once the node is down. A
    # killed etcd loses nothing by that, since what it wrote is in the kernel already.
    argv = [
        str(layout.runtime / "server"),  # `go install` names it after its folder
        "--name=default",
        f"--data-dir={paths.STATE}/etcd",
        f"--listen-client-urls={_ETCD}",
        f"--advertise-client-urls={_ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
        "--quota-backend-bytes=4294967296",
        "--auto-compaction-retention=5m",
    ]
    return Component("etcd", argv, lambda: _etcd_is_healthy(f"{_ETCD}/health"))


def _containerd(layout: Layout) -> Component:
    argv = [str(layout.runtime / "containerd"), f"--config={paths.CONFIG}/containerd.toml"]
    # On PATH: runc, which the shims look up, and the machine's own nft, mount and so on.
    env = {"PATH": f"{layout.runtime}:{system_path()}"}
    probe = [layout.runtime / "ctr", "-a", paths.CONTAINERD_SOCKET, "version"]
    return Component("containerd", argv, lambda: is_successful(list(map(str, probe))), env=env)


def _api_server(layout: Layout) -> Component:
    pki = paths.PKI
    argv = [
        str(layout.kubernetes / "kube-apiserver"),
        f"--etcd-servers={_ETCD}",
        f"--secure-port={API_PORT}",
        # Not loopback: it is what Service `kubernetes` leads to.
        f"--advertise-address={layout.node_ip}",
        f"--service-cluster-ip-range={network.SERVICE_SUBNET}",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
        # The node's name is in no name server.
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki}/{TOKEN_KEY}",
        f"--service-account-signing-key-file={pki}/{TOKEN_KEY}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        # It tells whose requests each Task costs. Two files at most, since scenarios make many.
        f"--audit-policy-file={paths.CONFIG}/audit.yaml",
        f"--audit-log-path={paths.AUDIT_LOG}",
        "--audit-log-maxsize=100",
        "--audit-log-maxbackup=1",
    ]
    url = f"https://127.0.0.1:{API_PORT}/readyz"
    return Component("kube-apiserver", argv, lambda: _answers(url, pki / "ca.crt"))


def _controller_manager(layout: Layout) -> Component:
    argv = [
        str(layout.kubernetes / "kube-controller-manager"),
        *_control_loop_flags("controller-manager"),
        "--use-service-account-credentials",
        f"--service-account-private-key-file={paths.PKI}/{TOKEN_KEY}",
        f"--root-ca-file={paths.PKI}/ca.crt",
        f"--flex-volume-plugin-dir={paths.STATE}/volume-plugins",
        f"--cluster-signing-cert-file={paths.PKI}/ca.crt",
        f"--cluster-signing-key-file={paths.PKI}/ca.key",
    ]
    url = "https://127.0.0.1:10257/healthz"
    return Component("kube-controller-manager", argv, lambda: _answers(url))


def _scheduler(layout: Layout) -> Component:
    argv = [str(layout.kubernetes / "kube-scheduler"), *_control_loop_flags("scheduler")]
    return Component("kube-scheduler", argv, lambda: _answers("https://127.0.0.1:10259/healthz"))


def _control_loop_flags(user: str) -> list[str]:
    config = f"{paths.CONFIG}/{user}.kubeconfig"
    return [
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        # No aggregated API here, hence no requestheader settings to wait for.
        "--authentication-tolerate-lookup-failure",
        "--bind-address=127.0.0.1",
        # There is one of each; a lease would only delay its restart.
        "--leader-elect=false",
    ]


def _kubelet(layout: Layout) -> Component:
    argv = [
        str(layout.kubernetes / "kubelet"),
        f"--config={paths.CONFIG}/kubelet.yaml",
        f"--kubeconfig={paths.CONFIG}/kubelet.kubeconfig",
        f"--root-dir={paths.STATE}/kubelet",
        f"--cert-dir={paths.STATE}/kubelet/pki",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={layout.node_ip}",
    ]
    return Component(
        "kubelet",
        argv,
        lambda: _answers("http://127.0.0.1:10248/healthz"),
    )


def _kube_proxy(layout: Layout) -> Component:
    argv = [str(layout.kubernetes / "kube-proxy"), f"--config={paths.CONFIG}/kube-proxy.yaml"]
    return Component(
        "kube-proxy",
        argv,
        lambda: _answers("http://127.0.0.1:10256/healthz"),
    )


def _etcd_is_healthy(url: str) -> bool:
    try:
        opener = urllib.request.build_opener(_NO_PROXY)
        with opener.open(url, timeout=_PROBE_SECONDS) as answer:
            return bool(json.load(answer).get("health") == "true")
    except (OSError, ValueError):
        return False


def _answers(url: str, authority: Path | None = None) -> bool:
    """Return whether a URL answers 200. authority: None accepts any certificate (loopback)."""
    context = None
    if url.startswith("https:"):
        if authority is None:
            # These two make themselves a certificate at start that nobody has signed.
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            context = ssl.create_default_context(cafile=str(authority))
    try:
        https = urllib.request.HTTPSHandler(context=context)
        opener = urllib.request.build_opener(_NO_PROXY, https)
        with opener.open(url, timeout=_PROBE_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
