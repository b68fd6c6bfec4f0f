"""What a cluster leaves in the checkout: `.cluster/` with a kubeconfig and two programs.

The user's own kubeconfig and current context are never touched.
"""

import contextlib
from pathlib import Path
from typing import Any

import yaml

from e2e.node import paths
from e2e.node.configuration import write_private

_LINKS = ("bin/kubectl", "bin/helm", "logs")


def write_checkout_files(kubeconfig: str, kubectl: Path, helm: Path, logs: Path | None) -> None:
    """Write `.cluster/`; logs: None where the cluster keeps its logs elsewhere.

    A kubeconfig that leads to this cluster already is left as it is: a person may have set the
    namespace of its context, or added another.
    """
    folder = paths.CLUSTER
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    if not _leads_there(kubeconfig):
        write_private(paths.KUBECONFIG, kubeconfig)
    for name, target in zip(_LINKS, (kubectl, helm, logs), strict=True):
        if target:
            # Renamed into place, since others may be using the program at this moment.
            partial = folder / ".link"
            partial.unlink(missing_ok=True)
            partial.symlink_to(target)
            partial.rename(folder / name)


def _leads_there(kubeconfig: str) -> bool:
    """Return whether the kubeconfig in the checkout has the same cluster and user, and uses them.

    The rest of the project reads the first of each.
    """
    wanted = yaml.safe_load(kubeconfig)
    with contextlib.suppress(OSError, yaml.YAMLError, KeyError, IndexError, TypeError):
        found = yaml.safe_load(paths.KUBECONFIG.read_text(encoding="utf-8"))
        return _way(found) == _way(wanted)
    return False


def _way(document: dict[str, Any]) -> tuple[Any, ...]:
    context = {one["name"]: one["context"] for one in document["contexts"]}[
        document["current-context"]
    ]
    return (
        document["clusters"][0],
        document["users"][0],
        context["cluster"],
        context["user"],
    )


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
