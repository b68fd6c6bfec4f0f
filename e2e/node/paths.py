"""Where everything lies: the machine-wide state of the node, the cache, the checkout.

There is one node per machine (it owns a bridge, firewall tables and ports), so its state is
machine-wide and any checkout can take it down, even when the one that started it is gone.
"""

import os
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
MANIFESTS = HERE / "manifests"

STATE = Path("/var/lib/taskqueue-node")
RUN = Path("/run/taskqueue-node")
# Outside RUN: `down` deletes that folder while it holds the lock.
LOCK = Path("/run/taskqueue-node.lock")

PKI = STATE / "pki"
CONFIG = STATE / "config"
LOGS = STATE / "logs"
AUDIT_LOG = LOGS / "audit.log"
PIDS = STATE / "pids"
OWNER = STATE / "checkout"
PREPARED = STATE / "prepared"
SYSCTLS = STATE / "sysctls.json"
LOADED_IMAGES = STATE / "images.json"
CONTAINERD_SOCKET = RUN / "containerd.sock"
# Short on purpose: a socket's whole path is limited to 108 characters.
SHIM_SOCKETS = RUN / "s"

CLUSTER = CHECKOUT / ".cluster"
KUBECONFIG = CLUSTER / "kubeconfig"


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of built binaries and images, kept outside the checkout.

    `TASKQUEUE_CACHE` names it; otherwise `taskqueue` under the user's XDG cache folder.
    """
    if chosen := environ.get("TASKQUEUE_CACHE"):
        return Path(chosen)
    xdg = environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "taskqueue"
