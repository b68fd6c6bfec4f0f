"""What a cluster leaves in the checkout: `.cluster/` with a kubeconfig and two programs.

The user's own kubeconfig and current context are never touched.
"""

from pathlib import Path

from e2e.node import paths
from e2e.node.configuration import write_private

_LINKS = ("bin/kubectl", "bin/helm", "logs")


def write_checkout_files(kubeconfig: str, kubectl: Path, helm: Path, logs: Path | None) -> None:
    """Write `.cluster/`; logs: None where the cluster keeps its logs elsewhere."""
    folder = paths.CLUSTER
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    write_private(paths.KUBECONFIG, kubeconfig)
    for name, target in zip(_LINKS, (kubectl, helm, logs), strict=True):
        if target:
            # Renamed into place, since others may be using the program at this moment.
            partial = folder / ".link"
            partial.unlink(missing_ok=True)
            partial.symlink_to(target)
            partial.rename(folder / name)


def remove_checkout_files(checkout: Path) -> None:
    """Remove from a checkout, perhaps gone, what was written there, and nothing else."""
    folder = checkout / paths.CLUSTER.name
    for name in (*_LINKS, "kubeconfig"):
        (folder / name).unlink(missing_ok=True)
    for empty in (folder / "bin", folder):
        try:
            empty.rmdir()
        except OSError:
            continue  # not there, or it holds something of somebody else
