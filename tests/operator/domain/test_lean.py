"""What is kept of the cluster's objects is what somebody asks for."""

import copy
import json
from typing import Any

from taskqueue_operator.domain.lean import lean_deployment, lean_taskqueue, shared, without_status
from tests.operator.builders import build_taskqueue

DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "tq-emails",
        "namespace": "shop",
        "uid": "d",
        "generation": 3,
        "ownerReferences": [],
        "managedFields": [{}],
    },
    "spec": {
        "replicas": 2,
        "template": {
            "metadata": {"annotations": {"a": "1"}, "labels": {"b": "2"}},
            "spec": {
                "containers": [
                    {"name": "worker", "image": "x", "env": [{"name": "A", "value": "1"}]}
                ]
            },
        },
    },
    "status": {"replicas": 1},
}


def test_of_a_taskqueues_metadata_stays_what_is_read_and_all_of_the_rest() -> None:
    gone = {"managedFields": [{"manager": "kubectl"}], "annotations": {"a": "b"}}
    stays = {"uid": "u", "generation": 2, "deletionTimestamp": "2026-01-02T12:00:00Z"}
    body = build_taskqueue(metadata={**gone, **stays}, status={"backlog": 1, "conditions": []})
    before = copy.deepcopy(body)
    kept = lean_taskqueue(body)
    assert body == before
    assert kept["metadata"] == {"name": "emails", "namespace": "shop", **stays}
    assert {**kept, "metadata": body["metadata"]} == body


def test_strings_of_many_objects_are_kept_once() -> None:
    text = '{"kind": "TaskQueue", "list": [{"reason": "not so short a sentence"}], "n": [1, null]}'
    first, second = shared(json.loads(text)), shared(json.loads(text))
    assert first == second == json.loads(text)
    assert first["list"][0]["reason"] is second["list"][0]["reason"]
    assert [id(name) for name in first] == [id(name) for name in second]


def test_the_status_goes_and_nothing_else() -> None:
    body = build_taskqueue(status={"backlog": 1})
    assert without_status(body) == {name: body[name] for name in body if name != "status"}


def test_of_a_deployment_stays_what_is_read() -> None:
    kept = lean_deployment(DEPLOYMENT)
    assert kept["status"] == {"replicas": 1}
    assert kept["metadata"].keys() == DEPLOYMENT["metadata"].keys() - {"managedFields"}
    assert kept["spec"] == {
        "replicas": 2,
        "template": {
            "metadata": {"annotations": {"a": "1"}},
            "spec": {"containers": [{"name": "worker", "env": [{"name": "A", "value": "1"}]}]},
        },
    }


def test_a_deployment_that_is_hardly_one_is_taken_too() -> None:
    kept = lean_deployment({"kind": "Deployment", "metadata": {"name": "a", "namespace": "b"}})
    assert kept["spec"]["replicas"] == 1
    assert kept["spec"]["template"]["spec"]["containers"] == []
