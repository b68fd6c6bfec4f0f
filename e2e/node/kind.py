"""The cluster where a Docker engine answers: kind, built from its own source.

Not tried by this project's tests, which run where there is no Docker engine. It is kept small
for that reason, and each step is a documented command of kind or Docker.
"""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

from e2e.node import paths
from e2e.node.binaries import Module, ensure_binaries, node_modules
from e2e.node.checkout import remove_checkout_files, write_checkout_files
from e2e.node.console import run, say, step
from e2e.node.project_images import PROJECT_IMAGES, RABBITMQ_VERSION, staged_context

_CLUSTER = "taskqueue"
_MODULE = Module("kind", "1 min")
_KUBECTL = "k8s.io/kubernetes/cmd/kubectl"


def up() -> None:
    """Create the cluster unless it is there, and write `.cluster/`."""
    kind = ensure_binaries(_MODULE) / "kind"
    modules = {module.name: module for module in node_modules()}
    kubectl = ensure_binaries(replace(modules["kubernetes"], package=_KUBECTL)) / "kubectl"
    helm = ensure_binaries(modules["helm"]) / "helm"
    if not _exists(kind):
        with step("Creating a kind cluster"):
            # Into a file that is not kept: kind would otherwise edit the user's kubeconfig.
            run([kind, "create", "cluster", "--name", _CLUSTER, "--kubeconfig", os.devnull])
    kubeconfig = run([kind, "get", "kubeconfig", "--name", _CLUSTER])
    write_checkout_files(kubeconfig, kubectl, helm, logs=None)
    wait = ["wait", "--for=condition=Ready", "--all", "nodes", "--timeout=180s"]
    run([kubectl, "--kubeconfig", paths.KUBECONFIG, *wait])
    say(f"The cluster is up: export KUBECONFIG={paths.KUBECONFIG}")


def down() -> None:
    """Delete the cluster; no error if there is none."""
    kind = ensure_binaries(_MODULE) / "kind"
    run([kind, "delete", "cluster", "--name", _CLUSTER, "--kubeconfig", os.devnull])
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
            run(["docker", "build", "-t", image.reference, "-f", file, context])
    rabbitmq = f"localhost/rabbitmq:{RABBITMQ_VERSION}"
    run(["docker", "pull", f"rabbitmq:{RABBITMQ_VERSION}-management"])
    run(["docker", "tag", f"rabbitmq:{RABBITMQ_VERSION}-management", rabbitmq])
    for reference in [*(image.reference for image in PROJECT_IMAGES), rabbitmq]:
        with step(f"Loading {reference}"):
            run([kind, "load", "docker-image", reference, "--name", _CLUSTER])


def _exists(kind: Path) -> bool:
    done = subprocess.run([kind, "get", "clusters"], capture_output=True, text=True, check=True)
    return _CLUSTER in done.stdout.split()
