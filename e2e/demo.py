"""The demo: `python -m e2e.demo up` shows the product at work on a cluster of its own.

Everything in it is real: the API server, RabbitMQ, the chart, the images and the examples.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from e2e.examples import (
    BUILD_ANNOTATION,
    find_unexpected,
    find_unsettled,
    is_finished,
    read_examples,
)
from e2e.kubectl import (
    BIN,
    CHECKOUT,
    KUBECONFIG,
    CommandError,
    Helm,
    Kubectl,
    WaitTimeoutError,
    wait_for,
)
from e2e.node.console import NodeError, say, step
from e2e.node.project_images import PROJECT_IMAGES, folder_digest, staged_context

RELEASE = "taskqueue"
SYSTEM_NAMESPACE = "taskqueue-system"
DEMO_NAMESPACE = "demo"
CHART = CHECKOUT / "charts" / "taskqueue-operator"

# A broker's first start takes up to a minute where the processors are busy.
_ROLLOUT_SECONDS = 180
_TASKS_SECONDS = 120
_QUEUES_SECONDS = 60


class DemoError(Exception):
    """The demo did not end as it should; the text says which part and what is known."""


def up() -> None:
    """Bring everything up, run the examples and show them."""
    run_node("up")
    run_node("images")
    builds = image_builds()
    with step("Installing the chart with Helm"):
        install_chart(Helm(), builds["operator"])
    system = Kubectl(SYSTEM_NAMESPACE)
    with step("Waiting for RabbitMQ"):
        system.wait_rollout(f"statefulset/{RELEASE}-rabbitmq", timeout_seconds=_ROLLOUT_SECONDS)
    with step("Waiting for the operator"):
        system.wait_rollout(f"deployment/{RELEASE}-operator", timeout_seconds=_ROLLOUT_SECONDS)
    demo = Kubectl(DEMO_NAMESPACE)
    with step("Applying examples/"):
        apply_examples(demo, read_examples(builds["worker"]))
    with step("Waiting for the Tasks"):
        tasks = wait_for_tasks(demo)
        unexpected = find_unexpected(tasks)
    if not unexpected:
        with step("Waiting for the TaskQueues' status"):
            wait_for_queues(demo, tasks)
    say(f"{len(tasks)} Tasks have finished. kubectl get tq,tasks -n {DEMO_NAMESPACE} -o wide:\n")
    print(demo.run("get", "taskqueues.taskqueue.dev,tasks.taskqueue.dev", "-o", "wide"))
    if unexpected:
        raise DemoError(explain(demo, unexpected))
    print("To look around:\n")
    print(f"  export KUBECONFIG={KUBECONFIG} PATH={BIN}:$PATH")
    print(f"  kubectl get tq,tasks -n {DEMO_NAMESPACE}")


def down() -> None:
    """Take everything down."""
    if Kubectl().is_successful("get", "--raw=/readyz", "--request-timeout=5s"):
        with step("Uninstalling the chart"):
            Helm().run("uninstall", RELEASE, "-n", SYSTEM_NAMESPACE, "--ignore-not-found")
    run_node("down")


def run_node(*command: str) -> None:
    """Run `python -m e2e.node COMMAND`, which says itself what it does."""
    done = subprocess.run([sys.executable, "-m", "e2e.node", *command], cwd=CHECKOUT)
    if done.returncode != 0:
        raise DemoError(f"`python -m e2e.node {' '.join(command)}` failed; see above.")


def image_builds() -> dict[str, str]:
    """Return what each image was made of, by `operator` and `worker`, as a short digest.

    The images' tag is always the same: without this a pod would keep running the old content.
    """
    builds = {}
    for image in PROJECT_IMAGES:
        name = image.reference.rpartition("-")[2].partition(":")[0]
        with staged_context(image, CHECKOUT) as context:
            builds[name] = folder_digest(context)
    return builds


def install_chart(
    helm: Helm,
    operator_build: str,
    *more: str,
    namespace: str = SYSTEM_NAMESPACE,
    release: str = RELEASE,
) -> None:
    """Install or upgrade the chart, with a RabbitMQ and the images of this checkout.

    more: other settings, as `--set` takes them. namespace, release: where, and of which name.
    """
    values = {
        "image.registry": "localhost",
        "image.tag": "dev",
        "workerImage.tag": "dev",
        "rabbitmq.image": "localhost/rabbitmq:4.0",
        f"podAnnotations.{BUILD_ANNOTATION}": operator_build,
    }
    settings = [f"--set-string={key}={value}" for key, value in values.items()]
    settings += [f"--set={value}" for value in ("rabbitmq.enabled=true", *more)]
    target = ("--namespace", namespace, "--create-namespace")
    # Definitions that somebody applied with kubectl are taken over.
    ownership = ("--take-ownership", "--force-conflicts")
    helm.run("upgrade", "--install", release, CHART, *target, *ownership, *settings)


def apply_examples(kubectl: Kubectl, documents: Sequence[Mapping[str, Any]]) -> None:
    """Create the examples in a namespace that takes restricted pods only.

    Tasks of an earlier demo have finished and cannot be changed: they are created anew.
    """
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": kubectl.namespace, "labels": labels}
    kubectl.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
    # Nothing holds them back; to wait for each of many would take minutes.
    kubectl.run("delete", "tasks.taskqueue.dev", "--all", "--wait=false")
    kubectl.apply(documents)


def wait_for_tasks(kubectl: Kubectl) -> list[dict[str, Any]]:
    """Return the namespace's Tasks, once all have finished."""
    tasks: list[dict[str, Any]] = []

    def all_finished() -> bool:
        tasks[:] = kubectl.get_json("tasks.taskqueue.dev")
        return bool(tasks) and all(is_finished(task) for task in tasks)

    def describe() -> str:
        return explain(
            kubectl,
            {
                task["metadata"]["name"]: f"still {task['status']['phase']}"
                for task in tasks
                if not is_finished(task)
            },
        )

    wait_for(all_finished, timeout_seconds=_TASKS_SECONDS, describe=describe)
    return tasks


def wait_for_queues(kubectl: Kubectl, tasks: Sequence[Mapping[str, Any]]) -> None:
    """Wait until the TaskQueues' status, written every few seconds, shows how things are."""

    def unsettled() -> list[str]:
        return find_unsettled(kubectl.get_json("taskqueues.taskqueue.dev"), tasks)

    wait_for(
        lambda: not unsettled(),
        timeout_seconds=_QUEUES_SECONDS,
        describe=lambda: "\n".join([*unsettled(), kubectl.diagnose()]),
    )


def explain(kubectl: Kubectl, unexpected: Mapping[str, str]) -> str:
    """Return what is known about Tasks that did not end as expected."""
    names = [f"task.taskqueue.dev/{name}" for name in unexpected]
    return "\n".join(
        [
            "these Tasks did not end as expected:",
            *(f"  {kubectl.namespace}/{name}: {how}" for name, how in unexpected.items()),
            kubectl.run("describe", "taskqueues.taskqueue.dev"),
            kubectl.run("describe", *names),
            kubectl.diagnose(),
            kubectl.in_namespace(SYSTEM_NAMESPACE).diagnose(),
            "these Tasks did not end as expected: " + ", ".join(unexpected),
        ]
    )


def main() -> int:
    """Run one command; 1, and what is known, when it fails."""
    parser = argparse.ArgumentParser(prog="python -m e2e.demo", description=__doc__)
    parser.add_argument("command", choices=["up", "down"])
    command = up if parser.parse_args().command == "up" else down
    try:
        command()
    except (CommandError, DemoError, NodeError, WaitTimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
