"""Fields that cannot be changed once an object is there, on the real API server."""

from typing import Any

import pytest

from e2e.kubectl import CommandError, Kubectl
from e2e.manifests import ABSENT, edited, task, taskqueue

QUEUE = taskqueue("good")
TASK = task("good", "emails")

FIXED = [
    pytest.param("spec.broker", "vhost", ("one", "two"), "another vhost", id="vhost"),
    pytest.param("spec.queue", "type", ("Classic", "Quorum"), "another type of queue", id="type"),
]


@pytest.mark.parametrize(("parent", "field", "values", "words"), FIXED)
def test_what_rabbitmq_cannot_change_cannot_be_changed(
    kubectl: Kubectl, parent: str, field: str, values: tuple[str, str], words: str
) -> None:
    path = f"{parent}.{field}"
    queue = edited(QUEUE, {"metadata.name": f"fixed-{field}", path: values[0]})
    kubectl.apply([queue])
    with pytest.raises(CommandError) as error:
        kubectl.apply([edited(queue, {path: values[1]})])
    assert path in str(error.value)
    assert f"must not be changed: create another TaskQueue for {words}" in str(error.value)
    # The default takes its place then.
    with pytest.raises(CommandError, match="must not be changed"):
        kubectl.apply([edited(queue, {parent: ABSENT})])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"spec.queue": "others"}, id="queue"),
        pytest.param({"spec.handler": "other"}, id="handler"),
        pytest.param({"spec.priority": 5}, id="priority"),
        pytest.param({"spec.timeout": "2s"}, id="timeout"),
        pytest.param({"spec.timeout": ABSENT}, id="timeout taken away"),
        pytest.param({"spec.payload": {"a": 2, "b": [1]}}, id="value in the payload"),
        pytest.param({"spec.payload": {"a": 1, "b": [1, 2]}}, id="list in the payload"),
        pytest.param({"spec.payload": {"a": 1, "b": [1], "c": 0}}, id="more payload"),
        pytest.param({"spec.payload": {"a": 1}}, id="less payload"),
        pytest.param({"spec.payload": "text"}, id="another kind of payload"),
        pytest.param({"spec.payload": ABSENT}, id="payload taken away"),
    ],
)
def test_task_cannot_be_changed(kubectl: Kubectl, changes: dict[str, Any]) -> None:
    document = edited(
        TASK,
        {
            "metadata.name": "immutable",
            "spec.timeout": "1s",
            "spec.payload": {"a": 1, "b": [1]},
        },
    )
    kubectl.apply([document])
    with pytest.raises(CommandError) as error:
        kubectl.apply([edited(document, changes)])
    assert "spec: Invalid value" in str(error.value)
    assert "a Task's spec is immutable" in str(error.value)


def test_labels_of_a_task_can_be_changed(kubectl: Kubectl) -> None:
    document = edited(TASK, {"metadata.name": "labelled"})
    kubectl.apply([document])
    kubectl.apply([edited(document, {"metadata.labels.a": "b", "metadata.annotations.c": "d"})])
    assert kubectl.get_json("tqt", "labelled")["metadata"]["labels"] == {"a": "b"}
