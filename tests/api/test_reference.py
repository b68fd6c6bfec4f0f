"""The page of all fields has each of them, with what is to be known."""

import pytest

from taskqueue_api.kinds import KINDS
from taskqueue_api.reference import render_reference

ROWS = render_reference(KINDS).splitlines()


@pytest.mark.parametrize(
    ("field", "words"),
    [
        pytest.param("spec.handler", "| string (1 to 128 characters) | required |", id="required"),
        pytest.param("spec.timeout", '| `"5m"` |', id="default"),
        pytest.param("spec.timeout", "*must be a duration such as '30s'", id="rule"),
        pytest.param("spec.workers.replicas", "| integer (0 to 1000) | `1` |", id="bounds"),
        pytest.param("spec.queue.type", "| `Quorum`, `Classic` |", id="values"),
        pytest.param("spec.payload", "| any JSON |", id="JSON"),
        pytest.param(
            "spec.workers.template.resources.limits", "| map (up to 8 keys) to quantity |", id="map"
        ),
        pytest.param(
            "spec.workers.handlers.exec.command",
            "| list (1 to 64 items) of string (up to 4096 characters) |",
            id="list",
        ),
        pytest.param("spec.workers.template.volumes[].name", "| required |", id="in a list"),
        pytest.param("status.tasks.pending", "| integer (0 to 2147483647) | `0` |", id="status"),
    ],
)
def test_a_field_has_its_type_default_and_rules(field: str, words: str) -> None:
    rows = [row for row in ROWS if row.startswith(f"| `{field}` |")]
    assert any(words in row for row in rows)


def test_a_row_has_four_cells() -> None:
    rows = [row.replace(r"\|", "") for row in ROWS if row.startswith("| `")]
    assert {row.count("|") for row in rows} == {5}
