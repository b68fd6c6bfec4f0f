"""The model's rules of a status against the rows that are tried on a real API server."""

from collections.abc import Mapping
from typing import Any

import pytest

from e2e import test_task_status as on_a_cluster
from taskqueue_api.task import TaskStatus
from tests.protocol.rules import status_fault, translate

DEFAULT = TaskStatus().model_dump(by_alias=True, exclude_none=True)


def rows(test: Any) -> list[Any]:
    """Return the rows of a table test."""
    (mark,) = [mark for mark in test.pytestmark if mark.name == "parametrize"]
    return list(mark.args[1])


def merged(status: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return a status after a merge patch."""
    result = dict(status)
    for field, value in change.items():
        if value is None:
            result.pop(field, None)
        elif isinstance(value, dict) and isinstance(result.get(field), dict):
            result[field] = merged(result[field], value)
        else:
            result[field] = value
    return result


@pytest.mark.parametrize(("before", "change", "message"), rows(on_a_cluster.test_status_cannot))
def test_what_a_real_api_server_refuses_is_refused(
    before: list[dict[str, Any]], change: dict[str, Any], message: str
) -> None:
    status = DEFAULT
    for step in before:
        following = merged(status, step)
        assert status_fault(status, following) is None
        status = following
    assert status_fault(status, merged(status, change)) is not None


@pytest.mark.parametrize("statuses", rows(on_a_cluster.test_status_can))
def test_what_a_real_api_server_stores_is_stored(statuses: list[dict[str, Any]]) -> None:
    status = DEFAULT
    for step in statuses:
        following = merged(status, step)
        assert status_fault(status, following) is None
        status = following


@pytest.mark.parametrize(
    ("cel", "python"),
    [
        pytest.param("self.a != 'x' || has(self.b)", "self['a'] != 'x' or ('b' in self)", id="or"),
        pytest.param("!(self.a in ['x'])", "not (self['a'] in ['x'])", id="not"),
        pytest.param(
            "(has(self.a) ? self.a.b : '') == 'x'",
            "(self['a']['b'] if ('a' in self) else '') == 'x'",
            id="ternary",
        ),
        pytest.param(
            "has(self.a.b) && !self.c.exists(x, x.type in ['y'])",
            "('b' in self['a']) and not any(x['type'] in ['y'] for x in self['c'])",
            id="exists",
        ),
    ],
)
def test_cel_becomes_python(cel: str, python: str) -> None:
    assert translate(cel) == python
