"""What the documents say is what the code does."""

import ast
import json
import os
import re
import subprocess
from pathlib import Path
from typing import get_args

import pytest
import yaml

from e2e.demo import SYSTEM_NAMESPACE
from e2e.docs import read_command
from e2e.system import RABBITMQ
from taskqueue_api import names
from taskqueue_api.payload_source import read_payload_from
from taskqueue_api.task import Task
from taskqueue_api.taskqueue import TaskQueue
from taskqueue_operator.domain.scaling import Reason
from taskqueue_worker.runners import Job, describe_job


def run_as_shown(command: str) -> list[str]:
    """Return the arguments that a command of the documentation gives to kubectl."""
    script = f"kubectl() {{ printf '%s\\0' \"$@\"; }}\nNAMESPACE=shop QUEUE=emails\n{command}"
    done = subprocess.run(
        ["bash", "-euc", script], capture_output=True, check=True, timeout=5, text=True
    )
    return done.stdout.split("\0")[:-1]


def test_the_redrive_moves_from_the_dead_letters_to_the_queue_and_ends() -> None:
    *start, definition = run_as_shown(read_command("dead-letters.md", "set_parameter shovel"))
    assert start == [
        *("-n", SYSTEM_NAMESPACE, "exec", f"{RABBITMQ}-0", "--"),
        *("rabbitmqctl", "set_parameter", "shovel", "redrive.shop.emails"),
    ]
    assert json.loads(definition) == {
        "src-protocol": "amqp091",
        "src-uri": "amqp://",
        "src-queue": names.dead_letter_queue("shop", "emails"),
        "src-delete-after": "queue-length",
        "ack-mode": "on-confirm",
        "dest-protocol": "amqp091",
        "dest-uri": "amqp://",
        "dest-queue": names.work_queue("shop", "emails"),
    }


def test_all_failed_tasks_of_a_queue_are_run_again_one_by_one(tmp_path: Path) -> None:
    # A program, since xargs knows no functions.
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/calls\n'
        'case "$*" in *" get "*) echo task.taskqueue.dev/a; echo task.taskqueue.dev/b;; esac\n'
    )
    kubectl.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "NAMESPACE": "shop", "QUEUE": "emails"}
    command = ["bash", "-euc", read_command("rerun.md", "xargs")]
    subprocess.run(command, env=env, check=True, timeout=5)
    patch = (
        """--namespace shop patch --type=merge --patch {"spec": {"rerun": 1}} task.taskqueue.dev/"""
    )
    assert (tmp_path / "calls").read_text().splitlines() == [
        "--namespace shop get tasks --output=name "
        "--field-selector=spec.queue=emails,status.phase=Failed",
        f"{patch}a",
        f"{patch}b",
    ]


def test_a_command_that_is_not_there_is_said() -> None:
    with pytest.raises(LookupError, match="0 commands with 'no such thing'"):
        read_command("dead-letters.md", "no such thing")


def test_the_payload_that_is_shown_is_there_and_listed() -> None:
    text = (ROOT / "docs/payloads.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    secret, queue, task = yaml.safe_load_all(block)
    assert Task.model_validate(task).spec.payload_from
    source = read_payload_from(task["spec"]["payloadFrom"])
    listed = TaskQueue.model_validate(queue).spec.workers.payload_sources
    assert listed is not None
    assert listed.secrets == [source.name] == [secret["metadata"]["name"]]
    assert json.loads(secret["stringData"][source.key])


ROOT = Path(__file__).parent.parent
PACKAGES = ("operator/taskqueue_operator", "worker_image/taskqueue_worker")

NO_REASONS = {
    # Of Kubernetes, of Python, or our own values that no status shows.
    "AlwaysAllow",
    "ApiServerUnavailable",
    "BearerToken",
    "BeingDeleted",
    "ContainerCreating",
    "DeleteIfEmpty",
    "FallbackToLogsOnError",
    "HandlersSettings",
    "IfNotPresent",
    "NamespaceTerminating",
    "NotLeader",
    "PodDisruptionBudget",
    "PodInitializing",
    "ReplicaFailure",
    "RoleBinding",
    "RollingUpdate",
    "RuntimeDefault",
    "ScheduleAnyway",
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
    # Those of a single word, too.
    assert set(get_args(Reason)) - explained == set()


def test_every_variable_of_a_program_is_explained() -> None:
    job = Job("echo", b"", 1.0, "uid", 1, "shop", "name", "emails")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {name for name in describe_job(job) if f"`TASK_{name.upper()}`" not in readme} == set()
