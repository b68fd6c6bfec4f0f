"""What the demo expects of its examples, and how it judges what became of them."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.examples import (
    EXAMPLES,
    FAILS_ON_PURPOSE,
    find_unexpected,
    find_unsettled,
    is_finished,
    read_examples,
)
from taskqueue_api.payload_source import read_payload_from
from taskqueue_worker.sdk import Registry

ERROR = {"type": "KeyError", "message": "'text'"}


def build_task(name: str = "echo", phase: str = "Succeeded", **status: Any) -> dict[str, Any]:
    """Return a Task as the API server shows it."""
    finished = "True" if phase in ("Succeeded", "Failed") else "False"
    conditions = [{"type": "Finished", "status": finished}]
    return {
        "metadata": {"name": name},
        "spec": {"queue": "demo"},
        "status": {"phase": phase, "conditions": conditions, **status},
    }


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        pytest.param(build_task(), {}, id="success"),
        pytest.param(build_task("fails-on-purpose", "Failed", error=ERROR), {}, id="asked to fail"),
        pytest.param(
            build_task(phase="Failed", error=ERROR),
            {"echo": "Failed, but it should be Succeeded: KeyError: 'text'"},
            id="failure",
        ),
        pytest.param(
            build_task("fails-on-purpose"),
            {"fails-on-purpose": "Succeeded, but it should be Failed"},
            id="success where a failure is wanted",
        ),
    ],
)
def test_find_unexpected(task: dict[str, Any], expected: dict[str, str]) -> None:
    assert find_unexpected([build_task("other"), task]) == expected


def test_a_new_task_is_not_finished() -> None:
    fresh = {"status": {"conditions": [{"type": "Reconciling", "status": "True"}]}}
    assert not is_finished(fresh)
    assert not is_finished(build_task(phase="Running"))
    assert is_finished(build_task(phase="Failed"))


def build_queue(
    *, ready: str = "True", generation: int = 1, succeeded: int = 1, failed: int = 1
) -> dict[str, Any]:
    """Return a TaskQueue as the API server shows it."""
    return {
        "metadata": {"name": "demo", "generation": generation},
        "status": {
            "observedGeneration": 1,
            "conditions": [{"type": "Ready", "status": ready}],
            "tasks": {"succeeded": succeeded, "failed": failed},
        },
    }


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        pytest.param(build_queue(), None, id="settled"),
        pytest.param(build_queue(generation=2), "demo is not reconciled", id="edited"),
        pytest.param(build_queue(ready="False"), "demo is not ready", id="not ready"),
        pytest.param(build_queue(failed=0), "demo counts [1, 0, 0]", id="counts"),
        pytest.param(
            build_queue(succeeded=2, failed=0),
            "demo counts [2, 0, 0]",
            id="counts of an earlier run",
        ),
        pytest.param(
            {"metadata": {"name": "demo", "generation": 1}}, "demo is not reconciled", id="new"
        ),
    ],
)
def test_find_unsettled(queue: dict[str, Any], expected: str | None) -> None:
    others = build_task("other") | {"spec": {"queue": "shell"}}
    tasks = [build_task("a"), build_task("b", "Failed"), build_task("c", "Running"), others]
    found = find_unsettled([queue], tasks)
    assert len(found) == (expected is not None)
    assert not expected or found[0].startswith(expected)


def test_examples_come_with_what_they_need_first() -> None:
    documents = read_examples("abc")
    kinds = [document["kind"] for document in documents]
    tasks = [document for document in documents if document["kind"] == "Task"]
    queues = {one["metadata"]["name"] for one in documents if one["kind"] == "TaskQueue"}
    assert kinds.index("Task") > max(kinds.index("TaskQueue"), kinds.index("ConfigMap"))
    assert {task["spec"]["queue"] for task in tasks} == queues
    assert {task["metadata"]["name"] for task in tasks} > FAILS_ON_PURPOSE


def test_another_worker_build_rolls_the_workers_out() -> None:
    for document in read_examples("abc"):
        if document["kind"] == "TaskQueue":
            template = document["spec"]["workers"]["template"]
            assert template["annotations"] == {"build": "abc"}


def test_the_module_of_the_own_code_example_has_the_handler_of_its_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The demo and the end-to-end tests apply it; here its parts are held together.
    (config,) = read_example("own-code/module.yaml")
    (queue,) = read_example("own-code/taskqueue.yaml")
    (task,) = read_example("own-code/greet.yaml")
    module = queue["spec"]["workers"]["handlers"]["python"]["module"]
    assert queue["spec"]["workers"]["template"]["volumes"][0]["configMap"] == config["metadata"]
    registry = Registry()
    monkeypatch.setattr("taskqueue_worker.sdk.REGISTRY", registry)
    (tmp_path / f"{module}.py").write_text(config["data"][f"{module}.py"], encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module(module)
    model = registry.handlers[task["spec"]["handler"]].model
    assert model.model_validate(task["spec"]["payload"])


def test_payloads_that_examples_name_are_there_and_listed() -> None:
    documents = read_examples("abc")
    found = {(one["kind"], one["metadata"]["name"]): one for one in documents}
    named = [one for one in documents if "payloadFrom" in one.get("spec", {})]
    assert named
    for task in named:
        source = read_payload_from(task["spec"]["payloadFrom"])
        assert json.loads(found[source.kind, source.name]["data"][source.key])
        queue = found["TaskQueue", task["spec"]["queue"]]
        assert source.name in queue["spec"]["workers"]["payloadSources"]["configMaps"]


def read_example(path: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLES / path).read_text(encoding="utf-8")))
