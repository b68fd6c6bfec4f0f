"""Tasks whose status is written by the test, with no worker and no operator."""

import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from e2e.api import Api, ApiError, Object
from e2e.kubectl import Kubectl
from e2e.manifests import task

ME = {"pod": "p", "instance": "me"}
OTHER = {"pod": "q", "instance": "other"}
TIME = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T00:00:01Z"
RUNNING = {"phase": "Running", "attempts": 2, "worker": ME, "startTime": TIME}
ERROR = {"type": "KeyError", "message": "'x'"}


def conditions(**statuses: str) -> list[Object]:
    """Return conditions of these types and statuses."""
    words = {"reason": "Test", "message": ""}
    return [{"type": kind, "status": status, **words} for kind, status in statuses.items()]


WELL = conditions(Succeeded="True", Finished="True")
ILL = conditions(Succeeded="False", Finished="True")
SUCCEEDED = {
    "phase": "Succeeded",
    "attempts": 2,
    "worker": ME,
    "completionTime": TIME,
    "conditions": WELL,
}
FAILED = {**SUCCEEDED, "phase": "Failed", "error": ERROR, "conditions": ILL}
FINISHED_RULE = "must not be changed: the Task is finished"
OUTCOME_RULE = "the outcome must come from the worker and attempt that are running"


class Stage:
    """Makes Tasks with a given status."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace

    def put(self, *statuses: Mapping[str, Any]) -> Object:
        """Return a new Task that has gone through these statuses."""
        document = task(f"t-{uuid.uuid4().hex[:10]}", "nowhere")
        document["metadata"]["namespace"] = self._namespace
        body = self._api.create(document)
        for status in statuses:
            body = self.write(body, status)
        return body

    def write(self, body: Object, status: Mapping[str, Any]) -> Object:
        """Write fields of a Task's status."""
        name = body["metadata"]["name"]
        return self._api.merge("Task", self._namespace, name, {"status": status}, sub="status")

    def refusal(self, body: Object, status: Mapping[str, Any]) -> str:
        """Return what the API server says of fields that it must refuse."""
        with pytest.raises(ApiError) as error:
            self.write(body, status)
        assert error.value.status == 422
        return error.value.message

    def patch(self, body: Object, *steps: Object) -> Object:
        """Apply a JSON Patch to a Task's status."""
        name = body["metadata"]["name"]
        return self._api.json_patch("Task", self._namespace, name, steps, sub="status")


@pytest.fixture(scope="module")
def stage(release: Api, kubectl: Kubectl) -> Stage:
    """Give the place where Tasks get their status."""
    return Stage(release, kubectl.namespace)
