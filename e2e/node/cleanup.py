"""Take down whatever a node left on this machine, however it ended.

Nothing here asks a component to cooperate, so one path serves a running node, a crashed one, a
start that was killed halfway, and a checkout that is gone. Every step may find nothing to do.
"""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from e2e.node import network, paths
from e2e.node.configuration import CNI_NETWORK
from e2e.node.console import NodeError, say
from e2e.node.processes import (
    Identity,
    Processes,
    container_processes,
    end_all,
    marked_processes,
)

# First those that would start something again.
_STOPPED_FIRST = ("kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy")
_CGROUPS = Path("/sys/fs/cgroup")
_KUBELET_CGROUP = "kubepods"
_CNI_RESULTS = Path("/var/lib/cni/results")
# The kubelet's socket for device plugins, whatever its root folder: fixed in its code too.
_KUBELET = Path("/var/lib/kubelet")
_DEVICE_PLUGINS = _KUBELET / "device-plugins"
# Links that the kubelet makes to the logs of containers; the folder is fixed in its code.
_CONTAINER_LOGS = Path("/var/log/containers")


def remove_everything(processes: Processes) -> None:
    """End the node's processes and remove its mounts, links, tables, cgroups and files."""
    _end_processes(processes)
    _unmount_below(paths.RUN, paths.STATE)
    network.remove_links()
    network.remove_firewall_tables()
    network.restore_kernel()
    _remove_cgroups()
    _remove_strays()
    for folder in (paths.RUN, paths.STATE):
        if folder.exists():
            shutil.rmtree(folder)


def _end_processes(processes: Processes) -> None:
    for name in _STOPPED_FIRST:
        processes.stop(name, grace_seconds=0)
    for name in processes.names():
        processes.stop(name, grace_seconds=0)
    # Shims and what no pid file tells of; then the containers, whose shims can't restart them.
    _end_until_none(marked_processes)
    _end_until_none(lambda: container_processes(paths.STATE))


def _end_until_none(find: Callable[[], list[Identity]]) -> None:
    # Again and again, since one of them may have started another after it was listed.
    while found := find():
        end_all(found, grace_seconds=0)


def _unmount_below(*folders: Path) -> None:
    deadline = time.monotonic() + 10
    while points := mount_points_below(folders, Path("/proc/self/mountinfo").read_text()):
        for point in points:
            subprocess.run(["umount", "--", point], capture_output=True, check=False)
        if time.monotonic() > deadline:
            # Held by a process that is not ours, such as a shell in that folder.
            for point in points:
                subprocess.run(["umount", "--lazy", "--", point], capture_output=True, check=False)
            break


def mount_points_below(folders: tuple[Path, ...], mountinfo: str) -> list[str]:
    """Return the mount points below some folders, those mounted last first."""
    found = []
    for line in mountinfo.splitlines():
        # Spaces and such are written in octal: proc_pid_mountinfo(5).
        point = line.split()[4].encode().decode("unicode_escape")
        if any(point == str(folder) or point.startswith(f"{folder}/") for folder in folders):
            found.append(point)
    return found[::-1]


def _remove_cgroups() -> None:
    # cgroup v1 has a tree for each controller, v2 a single one. A cgroup that still holds a
    # process refuses to be removed, so another kubelet's on this machine stays.
    trees = [_CGROUPS, *(path for path in _CGROUPS.glob("*") if path.is_dir())]
    for tree in trees:
        top = tree / _KUBELET_CGROUP
        if top.is_dir():
            deepest_first = sorted(top.rglob("*"), key=lambda path: -len(path.parts))
            for folder in [*(path for path in deepest_first if path.is_dir()), top]:
                _remove_cgroup(folder)


def _remove_cgroup(folder: Path) -> None:
    for _ in range(20):
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)  # the kernel needs a moment after the last process
    say(f"Left behind, since it is in use: {folder}")


def _remove_strays() -> None:
    if _CNI_RESULTS.is_dir():
        for path in _CNI_RESULTS.glob(f"{CNI_NETWORK}-*"):
            path.unlink()
    for link in _CONTAINER_LOGS.glob("*.log"):
        if link.is_symlink() and str(link.readlink()).startswith(f"{paths.LOGS}/"):
            link.unlink()
    # More in there would mean another kubelet, with its default root folder.
    if _DEVICE_PLUGINS.is_dir() and list(_KUBELET.iterdir()) == [_DEVICE_PLUGINS]:
        (_DEVICE_PLUGINS / "kubelet.sock").unlink(missing_ok=True)
    empty = (_DEVICE_PLUGINS, _KUBELET, _CNI_RESULTS, _CNI_RESULTS.parent, _CONTAINER_LOGS)
    for folder in empty:
        try:
            folder.rmdir()
        except OSError:
            continue  # not there, or in use by somebody else


def check_nothing_left() -> None:
    """Raise NodeError naming what could not be taken away."""
    mounts = mount_points_below((paths.RUN, paths.STATE), Path("/proc/self/mountinfo").read_text())
    left = [f"pid {one.pid}" for one in marked_processes()] + mounts
    if left:
        raise NodeError("Could not be removed: " + ", ".join(left))
