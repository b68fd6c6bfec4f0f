"""The cluster where a Docker engine answers: kind, built from its own source.

Not tried by this project's tests, which run where there is no Docker engine. It is kept small
for that reason, and each step is a documented command of kind or Docker.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from e2e.node import paths
from e2e.node.binaries import Module, ensure_binaries, node_modules
from e2e.node.checkout import remove_checkout_files, write_checkout_files
from e2e.node.console import is_successful, run, say, step
from e2e.node.project_images import PROJECT_IMAGES, RABBITMQ_VERSION, staged_context

_CLUSTER = "taskqueue"
_MODULE = Module("kind", "1 min")
_KUBECTL = "k8s.io/kubernetes/cmd/kubectl"
_PULL_HINT = "Can the Docker engine pull from Docker Hub (`docker pull python:3.13-slim`)?"


def up() -> None:
    """Create the cluster unless it is there, and write `.cluster/`."""
    kind = ensure_binaries(_MODULE) / "kind"
    modules = {module.name: module for module in node_modules()}
    only_kubectl = replace(modules["kubernetes"], minutes="1 min", package=_KUBECTL)
    kubectl = ensure_binaries(only_kubectl) / "kubectl"
    helm = ensure_binaries(modules["helm"]) / "helm"
    get_kubeconfig: list[str | Path] = [kind, "get", "kubeconfig", "--name", _CLUSTER]
    if _exists(kind) and not is_successful(get_kubeconfig):
        say("Removing what an interrupted start left of the cluster")
        _change_cluster(kind, "delete")
    if not _exists(kind):
        with step("Creating a kind cluster"):
            _change_cluster(kind, "create", hint=_PULL_HINT)
    write_checkout_files(run(get_kubeconfig), kubectl, helm, logs=None)
    wait = ["wait", "--for=condition=Ready", "--all", "nodes", "--timeout=180s"]
    run([kubectl, "--kubeconfig", paths.KUBECONFIG, *wait])
    say(f"The cluster is up: export KUBECONFIG={paths.KUBECONFIG}")


def down() -> None:
    """Delete the cluster; no error if there is none."""
    kind = ensure_binaries(_MODULE) / "kind"
    _change_cluster(kind, "delete")
    remove_checkout_files(paths.CHECKOUT)
    say("The cluster is down")


def status() -> int:
    """Say whether the cluster is there; return how many are not."""
    is_there = _exists(ensure_binaries(_MODULE) / "kind")
    print(f"kind cluster {_CLUSTER}: {'running' if is_there else 'stopped'}")
    return 0 if is_there else 1


def load_project_images() -> None:
    """Build the project's images from public bases and load them, and a public RabbitMQ."""
    kind = ensure_binaries(_MODULE) / "kind"
    for image in PROJECT_IMAGES:
        with step(f"Building {image.reference}"), staged_context(image, paths.CHECKOUT) as context:
            file = context / image.containerfile
            run(["docker", "build", "-t", image.reference, "-f", file, context], hint=_PULL_HINT)
    rabbitmq = f"localhost/rabbitmq:{RABBITMQ_VERSION}"
    with step(f"Building {rabbitmq}"), tempfile.TemporaryDirectory() as folder:
        # Not pulled and tagged: of a pulled image Docker's containerd store saves an index of all
        # platforms with the content of one, which `kind load` refuses (kubernetes-sigs/kind#3795).
        Path(folder, "Dockerfile").write_text(f"FROM rabbitmq:{RABBITMQ_VERSION}-management\n")
        run(["docker", "build", "-t", rabbitmq, folder], hint=_PULL_HINT)
    for reference in [*(image.reference for image in PROJECT_IMAGES), rabbitmq]:
        with step(f"Loading {reference}"):
            run([kind, "load", "docker-image", reference, "--name", _CLUSTER])


def _exists(kind: Path) -> bool:
    return _CLUSTER in run([kind, "get", "clusters"]).split()


def _change_cluster(kind: Path, verb: str, *, hint: str = "") -> None:
    """Create or delete the cluster, away from the user's kubeconfig, which kind would edit."""
    # Not /dev/null: kind makes a lock beside the file, which in /dev only root may.
    with tempfile.TemporaryDirectory(prefix="taskqueue-kind-") as folder:
        file = Path(folder) / "kubeconfig"
        run([kind, verb, "cluster", "--name", _CLUSTER, "--kubeconfig", file], hint=hint)
