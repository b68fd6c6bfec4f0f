"""What is kept of the cluster's objects is what somebody asks for."""

import copy
from typing import Any

from taskqueue_operator.domain.lean import lean_deployment, without_managed_fields, without_status
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


def test_managed_fields_go_and_nothing_else() -> None:
    body = build_taskqueue(metadata={"managedFields": [{"manager": "kubectl"}], "labels": {}})
    before = copy.deepcopy(body)
    kept = without_managed_fields(body)
    assert body == before
    assert body["metadata"].keys() - kept["metadata"].keys() == {"managedFields"}
    assert {**kept, "metadata": body["metadata"]} == body


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
