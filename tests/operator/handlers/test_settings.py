"""Kopf compares what has changed of TaskQueues, and copies nothing of Tasks."""

from typing import Any, cast

import kopf
import pytest

from taskqueue_operator.handlers import settings

HANDLED = {"spec": {"queue": "old"}}


def body_of(kind: str) -> kopf.Body:
    """Return an object that was handled once, and has changed since."""
    seen = f"{settings.PREFIX}/last-handled-configuration"
    metadata = {"name": "a", "annotations": {seen: '{"spec":{"queue":"old"}}'}}
    return kopf.Body(cast(Any, {"kind": kind, "metadata": metadata, "spec": {"queue": "new"}}))


@pytest.fixture
def storage() -> kopf.DiffBaseStorage:
    return settings.build().persistence.diffbase_storage


def test_what_was_handled_of_a_taskqueue_is_compared(storage: kopf.DiffBaseStorage) -> None:
    body = body_of("TaskQueue")
    assert storage.fetch(body=body) == HANDLED
    assert storage.build(body=body)["spec"] == {"queue": "new"}


def test_of_a_task_nothing_is(storage: kopf.DiffBaseStorage) -> None:
    body = body_of("Task")
    assert storage.fetch(body=body) is None
    assert storage.build(body=body) == {}
