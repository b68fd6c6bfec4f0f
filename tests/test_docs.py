"""What the documents say is what the code does."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("operator/taskqueue_operator", "worker_image/taskqueue_worker")

NO_REASONS = {
    # Of Kubernetes, of Python, or our own values that no status shows.
    "ApiServerUnavailable",
    "BearerToken",
    "BeingDeleted",
    "ContainerCreating",
    "DeleteIfEmpty",
    "FallbackToLogsOnError",
    "FixedReplicas",
    "HandlersSettings",
    "IfNotPresent",
    "NamespaceTerminating",
    "PodInitializing",
    "ReplicaFailure",
    "RoleBinding",
    "RollingUpdate",
    "RuntimeDefault",
    "ServiceAccount",
}
"""Texts in CamelCase that are no reason of a condition or Event, and no type of an error."""


def find_reasons() -> set[str]:
    """Return the texts of several words in CamelCase, but for the names of classes of ours."""
    found, classes = set(), set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    classes.add(node.name)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    reasons = {text for text in found if re.fullmatch(r"([A-Z][a-z]+){2,}", text)}
    return reasons - classes - NO_REASONS


def test_every_reason_and_error_type_is_explained() -> None:
    explained = set(re.findall(r"\w+", (ROOT / "docs/conditions.md").read_text(encoding="utf-8")))
    reasons = find_reasons()
    assert {"QueueKept", "ScaledToZero", "InvalidPayload"} <= reasons
    assert reasons - explained == set()


def test_every_variable_of_a_program_is_explained() -> None:
    runners = (ROOT / "worker_image/taskqueue_worker/runners.py").read_text(encoding="utf-8")
    variables = set(re.findall(r'"(TASK_\w+)":', runners))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(variables) == 6
    assert {name for name in variables if f"`{name}`" not in readme} == set()
