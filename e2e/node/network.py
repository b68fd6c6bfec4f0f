"""The node's addresses, kernel settings and firewall tables, and how they are taken away."""

import json
import socket
from pathlib import Path

from e2e.node.console import NodeError, is_successful, run
from e2e.node.paths import SYSCTLS

POD_SUBNET = "10.244.0.0/24"
SERVICE_SUBNET = "10.96.0.0/16"
SERVICE_API_IP = "10.96.0.1"
SERVICE_DNS_IP = "10.96.0.10"
BRIDGE = "tqnode0"

CUT_PREFIX = "taskqueue_cut_"
"""Begins the names of tables by which scenarios cut connections."""

# Made by kube-proxy and by the CNI plugins bridge and portmap (their nftables back ends).
_NFT_TABLES = frozenset(
    {
        ("ip", "kube-proxy"),
        ("ip6", "kube-proxy"),
        ("inet", "cni_plugins_masquerade"),
        ("ip", "cni_hostport"),
        ("ip6", "cni_hostport"),
    }
)
_WANTED_SYSCTLS = {
    "net/ipv4/ip_forward": 1,
    # Else an answer from a pod on the same bridge skips the translation of a Service's address.
    "net/bridge/bridge-nf-call-iptables": 1,
}
# At least these: many pods with a watcher each use up the usual 128 instances.
_LOWEST_SYSCTLS = {"fs/inotify/max_user_instances": 8192, "fs/inotify/max_user_watches": 524288}
# The kubelet sets these by itself.
_KUBELET_SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_PROC_SYS = Path("/proc/sys")


def find_node_ip() -> str:
    """Return the address this machine uses towards others; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # any address behind the default route: RFC 5737
        except OSError as error:
            raise NodeError(
                "This machine has no IPv4 default route, and the node takes its address from it. "
                "Add one, for instance `ip route add default dev eth0`."
            ) from error
        return str(probe.getsockname()[0])


def prepare_kernel() -> None:
    """Set what the node needs of the kernel, after noting down what it was."""
    for module in ("overlay", "br_netfilter"):
        # Often built in, and then there may be no modprobe at all: the check follows below.
        is_successful(["modprobe", module])
    if not (_PROC_SYS / "net/bridge").is_dir():
        raise NodeError(
            "This kernel has no br_netfilter; install it or run `modprobe br_netfilter`."
        )
    names = [*_WANTED_SYSCTLS, *_LOWEST_SYSCTLS, *_KUBELET_SYSCTLS]
    if not SYSCTLS.exists():
        former = {name: (_PROC_SYS / name).read_text().strip() for name in names}
        SYSCTLS.write_text(json.dumps(former))
    for name, value in _WANTED_SYSCTLS.items():
        (_PROC_SYS / name).write_text(str(value))
    for name, lowest in _LOWEST_SYSCTLS.items():
        if int((_PROC_SYS / name).read_text()) < lowest:
            (_PROC_SYS / name).write_text(str(lowest))


def restore_kernel() -> None:
    """Give the kernel settings back their values from before the node."""
    if SYSCTLS.exists():
        for name, value in json.loads(SYSCTLS.read_text()).items():
            if (_PROC_SYS / name).read_text().strip() != value:
                (_PROC_SYS / name).write_text(value)


def remove_links() -> None:
    """Delete the bridge of the pods and this end of their cables."""
    if not Path("/sys/class/net", BRIDGE).exists():
        return
    for link in json.loads(run(["ip", "-json", "link", "show", "master", BRIDGE]) or "[]"):
        # Gone already where the pod's network namespace has just ended.
        is_successful(["ip", "link", "delete", link["ifname"]])
    run(["ip", "link", "delete", BRIDGE])


def remove_firewall_tables() -> None:
    """Delete the nftables tables of kube-proxy, of the CNI plugins and of scenarios."""
    try:
        listed = run(["nft", "list", "tables"])
    except NodeError:
        return  # nft is not installed, so nothing here ever made a table
    for table in ours(listed):
        run(["nft", "delete", "table", *table])


def ours(listed: str) -> list[tuple[str, str]]:
    """Return (family, name) of the node's tables in the output of `nft list tables`."""
    tables = [line.split()[1:3] for line in listed.splitlines()]
    return [
        (family, name)
        for family, name in tables
        if (family, name) in _NFT_TABLES or name.startswith(CUT_PREFIX)
    ]


def usable_resolv_conf() -> Path:
    """Return a resolv.conf whose servers a pod can reach.

    systemd-resolved's stub listens on loopback, which in a pod is the pod itself.
    """
    behind_stub = Path("/run/systemd/resolve/resolv.conf")
    return behind_stub if behind_stub.exists() else Path("/etc/resolv.conf")
