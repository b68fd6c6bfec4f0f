"""The node: bring it up, take it down, and restart a single part of it."""

import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.node import network, paths
from e2e.node.archives import Image
from e2e.node.base_images import coredns_image, pause_image
from e2e.node.binaries import ensure_binaries, node_modules
from e2e.node.certificates import NODE_NAME, write_certificates
from e2e.node.checkout import remove_checkout_files, write_checkout_files
from e2e.node.cleanup import check_nothing_left, remove_everything
from e2e.node.components import Component, build_components
from e2e.node.configuration import Layout, kubeconfig, write_configuration
from e2e.node.console import NodeError, run, say, step
from e2e.node.images import load_images
from e2e.node.packages import install_packages
from e2e.node.processes import Processes

# What is looked up (a command, or a file), and the Debian package that brings it.
_PACKAGES = {
    "ip": "iproute2",
    "nft": "nftables",
    # kubelet and containerd call them.
    "mount": "mount",
    "unshare": "util-linux",
    "gcc": "gcc",
    "pkg-config": "pkg-config",
    "/usr/include/seccomp.h": "libseccomp-dev",
    "/usr/include/stdlib.h": "libc6-dev",
    "mmdebstrap": "mmdebstrap",
    "buildah": "buildah",
}
_READY_SECONDS = 120


def processes() -> Processes:
    """Return the node's processes."""
    return Processes(paths.PIDS, paths.LOGS)


@contextmanager
def exclusive() -> Iterator[None]:
    """Hold the machine-wide lock, so that no two commands change the node at once."""
    with paths.LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another command that changes the node ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_machine() -> None:
    """Raise NodeError where the node cannot run, saying what would help."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        raise NodeError(
            "A cluster needs either a Docker engine that answers `docker info` (install one and "
            "start it; on this system that is the way), or Linux as root (try `sudo`)."
        )


def up() -> None:
    """Bring the node up; what runs already is left alone, what has died is started again."""
    check_machine()
    with exclusive():
        _refuse_other_checkout()
        install_packages(_PACKAGES)
        folders = {module.name: ensure_binaries(module) for module in node_modules()}
        images = [pause_image(), coredns_image()]
        known = processes()
        if not _is_alive(known) or not paths.PREPARED.exists():
            if known.names():
                say("Removing what an earlier node left behind")
            remove_everything(known)
            _prepare(_layout(folders))
        _start_missing(known, _layout(folders), images)
        _write_checkout_files(folders)
        _finish(folders)
    say(f"The cluster is up: export KUBECONFIG={paths.KUBECONFIG}")


def down() -> None:
    """Take the node down, whoever started it and whatever is left of it."""
    check_machine()
    with exclusive():
        had_any = paths.STATE.exists() or paths.RUN.exists()
        checkout = Path(paths.OWNER.read_text()) if paths.OWNER.exists() else paths.CHECKOUT
        remove_everything(processes())
        check_nothing_left()
        for folder in {checkout, paths.CHECKOUT}:
            remove_checkout_files(folder)
    say("The cluster is down" if had_any else "There was no cluster")


def status() -> int:
    """Print one line per component; return how many are not running."""
    known = processes()
    names = [component.name for component in build_components(_unbuilt_layout())]
    stopped = 0
    for name in names:
        pid = known.pid(name)
        stopped += pid is None
        state = f"running  pid {pid:<8}" if pid else f"stopped  {'':<12}"
        print(f"{name:<24} {state} {known.log(name)}")
    return stopped


def restart(name: str, *, grace_seconds: float = 10) -> None:
    """Stop a component (0: by SIGKILL at once), start it, and wait until it is ready."""
    with exclusive():
        component = _component(name)
        processes().stop(name, grace_seconds=grace_seconds)
        _start([component], processes())


def stop(name: str, *, grace_seconds: float = 10) -> None:
    """Stop a component (0: by SIGKILL at once) and leave it so until `restart` or `up`."""
    with exclusive():
        _component(name)
        processes().stop(name, grace_seconds=grace_seconds)


def _component(name: str) -> Component:
    if not paths.PREPARED.exists():
        raise NodeError("There is no node here; bring it up first: `python -m e2e.node up`.")
    folders = {module.name: ensure_binaries(module) for module in node_modules()}
    components = {component.name: component for component in build_components(_layout(folders))}
    if name not in components:
        raise NodeError(f"There is no component {name!r}; there are {', '.join(components)}.")
    return components[name]


def ctr() -> Path:
    """Return containerd's own client."""
    runtime = next(module for module in node_modules() if module.name == "runtime")
    return ensure_binaries(runtime) / "ctr"


def is_up() -> bool:
    """Return whether containerd runs, so that images can be loaded."""
    return processes().pid("containerd") is not None


def _is_alive(known: Processes) -> bool:
    return any(known.pid(name) for name in known.names())


def _refuse_other_checkout() -> None:
    owner = paths.OWNER.read_text() if paths.OWNER.exists() else ""
    if _is_alive(processes()) and owner not in {"", str(paths.CHECKOUT)}:
        raise NodeError(
            f"The node of this machine belongs to the checkout {owner}. "
            "Take it down first, here or there: `python -m e2e.node down`."
        )


def _layout(folders: dict[str, Path]) -> Layout:
    # Kept while the node is up: its certificates hold the address it had at first.
    if paths.PREPARED.exists():
        node_ip = str(json.loads(paths.PREPARED.read_text())["nodeIP"])
    else:
        node_ip = network.find_node_ip()
    resolv_conf = network.usable_resolv_conf()
    return Layout(node_ip, folders["kubernetes"], folders["runtime"], resolv_conf)


def _unbuilt_layout() -> Layout:
    return Layout("", Path(), Path())


def _prepare(layout: Layout) -> None:
    paths.STATE.mkdir(parents=True, mode=0o755)
    paths.RUN.mkdir(parents=True, mode=0o711)
    paths.OWNER.write_text(str(paths.CHECKOUT))
    network.prepare_kernel()
    write_certificates(paths.PKI, layout.node_ip)
    write_configuration(layout, NODE_NAME)
    # Last: without this file the next `up` starts from nothing.
    paths.PREPARED.write_text(json.dumps({"nodeIP": layout.node_ip}))


def _start_missing(known: Processes, layout: Layout, images: list[Image]) -> None:
    components = build_components(layout)
    needed = {"etcd", "containerd", "kube-apiserver"}
    _start([component for component in components if component.name in needed], known)
    # Before the kubelet, which needs the image of the first process of every pod.
    load_images(layout.runtime / "ctr", images)
    _start([component for component in components if component.name not in needed], known)


def _start(components: list[Component], known: Processes) -> None:
    """Start components together, then wait for each."""
    missing = [component for component in components if known.pid(component.name) is None]
    for component in missing:
        known.start(component.name, component.argv, component.environment())
    for component in missing:
        known.wait_until(
            component.name, component.is_ready, timeout_seconds=component.timeout_seconds
        )
        say(f"{component.name} is ready")


def _write_checkout_files(folders: dict[str, Path]) -> None:
    document = kubeconfig(_layout(folders).server, "admin", paths.PKI)
    write_checkout_files(
        json.dumps(document, indent=1),
        folders["kubernetes"] / "kubectl",
        folders["helm"] / "helm",
        paths.LOGS,
    )


def _finish(folders: dict[str, Path]) -> None:
    kubectl: list[str | Path] = [
        folders["kubernetes"] / "kubectl",
        "--kubeconfig",
        paths.KUBECONFIG,
    ]
    timeout = f"--timeout={_READY_SECONDS}s"
    run([*kubectl, "apply", "--server-side", "-f", paths.MANIFESTS / "cluster.yaml"])
    with step("Waiting for the node and the name server"):
        run([*kubectl, "wait", "--for=create", f"node/{NODE_NAME}", timeout])
        run([*kubectl, "wait", "--for=condition=Ready", f"node/{NODE_NAME}", timeout])
        run([*kubectl, "-n", "kube-system", "rollout", "status", "deployment/coredns", timeout])
        run([*kubectl, "wait", "--for=create", "serviceaccount/default", timeout])
