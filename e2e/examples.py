"""The examples, as objects, and how to judge what became of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from e2e.kubectl import CHECKOUT
from taskqueue_api.task import FINISHED_PHASES

EXAMPLES = CHECKOUT / "examples"

FAILS_ON_PURPOSE = frozenset({"fails-on-purpose"})
"""Examples that show a failure. All others must succeed."""

BUILD_ANNOTATION = "build"


def expected_phase(task: str) -> str:
    """Return the phase in which an example Task must end."""
    return "Failed" if task in FAILS_ON_PURPOSE else "Succeeded"


def find_unexpected(tasks: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the Tasks that are not as expected, each with a sentence saying how they are."""
    found = {}
    for task in tasks:
        name, status = task["metadata"]["name"], task.get("status", {})
        phase, wanted = status.get("phase"), expected_phase(name)
        if phase != wanted:
            error = status.get("error", {})
            why = f": {error.get('type')}: {error.get('message')}" if error else ""
            found[name] = f"{phase}, but it should be {wanted}{why}"
    return found


def find_unsettled(
    queues: Sequence[Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return a sentence for each TaskQueue whose status does not show yet how things are.

    That is: ready, for its newest spec, with as many finished Tasks as there are.
    """
    found = []
    for queue in queues:
        name, status = queue["metadata"]["name"], queue.get("status", {})
        ready = [one for one in status.get("conditions", []) if one["type"] == "Ready"]
        said = [status.get("tasks", {}).get(phase.lower(), 0) for phase in FINISHED_PHASES]
        own = [task for task in tasks if task["spec"]["queue"] == name]
        counted = [
            sum(task["status"]["phase"] == phase for task in own) for phase in FINISHED_PHASES
        ]
        if status.get("observedGeneration") != queue["metadata"]["generation"]:
            found.append(f"{name} is not reconciled")
        elif [one["status"] for one in ready] != ["True"]:
            found.append(f"{name} is not ready: {ready}")
        elif said != counted:
            found.append(f"{name} counts {said} as {FINISHED_PHASES}, but it is {counted}")
    return found


def is_finished(task: Mapping[str, Any]) -> bool:
    """Return whether a Task has ended, well or not."""
    conditions = task.get("status", {}).get("conditions", [])
    return any(one["type"] == "Finished" and one["status"] == "True" for one in conditions)


def read_examples(worker_build: str) -> list[dict[str, Any]]:
    """Return the objects of all examples, those that others need first.

    worker_build: put on the worker pods, so that another image under the same tag rolls out.
    """
    documents = [
        document
        for path in sorted(EXAMPLES.rglob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]
    for document in documents:
        if document["kind"] == "TaskQueue":
            template = document["spec"]["workers"].setdefault("template", {})
            template.setdefault("annotations", {})[BUILD_ANNOTATION] = worker_build
    return sorted(documents, key=lambda document: document["kind"] == "Task")
