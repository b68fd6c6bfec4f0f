"""Counts from the rows that `kubectl get` would print."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskqueue_api.taskqueue import TaskCounts
from taskqueue_operator.domain.counting import Tally
from taskqueue_operator.domain.history import FinishedTask

COLUMNS = ("Name", "Queue", "Handler", "Status", "Age")


def page(*rows: tuple[str, str, str], columns: tuple[str, ...] = COLUMNS) -> dict[str, Any]:
    """Return a Table of rows (name, queue, status)."""
    cells = [
        {"Name": name, "Queue": queue, "Handler": "echo", "Status": status, "Age": "1m"}
        for name, queue, status in rows
    ]
    return {
        "columnDefinitions": [{"name": name} for name in columns],
        "rows": [{"cells": [cell.get(name, "") for name in columns]} for cell in cells],
    }


def test_pages_add_up_by_queue_and_phase() -> None:
    tally = Tally()
    tally.add_page(page(("a", "emails", "Pending"), ("b", "emails", "Running")))
    tally.add_page(page(("c", "emails", "Pending"), ("d", "other", "Failed")))
    tally.add_page(page(("e", "other", "Succeeded"), ("f", "emails", "Retrying")))
    assert tally.of("emails") == TaskCounts(pending=2, running=1, retrying=1)
    assert tally.of("other") == TaskCounts(succeeded=1, failed=1)
    assert tally.of("nobody") == TaskCounts()
    assert tally.names == {"a", "b", "c", "d", "e", "f"}


def test_tasks_of_others_are_passed_over() -> None:
    tally = Tally(lambda queue: queue == "emails")
    columns = (*COLUMNS, "Finished", "TTL")
    tally.add_page(page(("a", "emails", "Pending"), ("b", "other", "Failed"), columns=columns))
    assert tally.counts == {"emails": {"Pending": 1}}
    assert tally.names == {"a"}
    assert tally.finished == {}


@pytest.mark.parametrize("rows", [None, []], ids=["no rows", "empty rows"])
def test_an_empty_page_counts_nothing(rows: list[Any] | None) -> None:
    tally = Tally()
    tally.add_page(page() | {"rows": rows})
    assert tally == Tally()


def test_columns_are_found_by_name_wherever_they_are() -> None:
    tally = Tally()
    tally.add_page(page(("a", "emails", "Failed"), columns=("Status", "Age", "Name", "Queue")))
    assert tally.of("emails") == TaskCounts(failed=1)
    assert tally.names == {"a"}


def test_each_page_has_its_own_order_of_columns() -> None:
    tally = Tally()
    tally.add_page(page(("a", "emails", "Failed")))
    tally.add_page(page(("b", "emails", "Failed"), columns=("Queue", "Status", "Name")))
    assert tally.of("emails") == TaskCounts(failed=2)


@pytest.mark.parametrize("missing", ["Name", "Queue", "Status"])
def test_a_missing_column_is_named(missing: str) -> None:
    columns = tuple(name for name in COLUMNS if name != missing)
    with pytest.raises(ValueError, match=f"no column '{missing}'"):
        Tally().add_page(page(("a", "emails", "Failed"), columns=columns))


def test_a_phase_of_a_later_version_is_left_out() -> None:
    tally = Tally()
    tally.add_page(page(("a", "emails", "Paused"), ("b", "emails", "Pending")))
    assert tally.of("emails") == TaskCounts(pending=1)


FINISHED_COLUMNS = ("Name", "Queue", "Status", "Finished", "TTL")
END = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


def finished_page(*rows: tuple[Any, ...], version: str = "7") -> dict[str, Any]:
    """Return a Table as the API server gives it: what is not there is null."""
    return {
        "metadata": {"resourceVersion": version},
        "columnDefinitions": [{"name": name} for name in FINISHED_COLUMNS],
        "rows": [{"cells": list(row)} for row in rows],
    }


def test_what_has_finished_is_kept_with_its_end_and_its_ttl() -> None:
    tally = Tally()
    tally.add_page(finished_page(("a", "emails", "Succeeded", "2026-01-02T12:00:00Z", None)))
    tally.add_page(
        finished_page(
            ("b", "emails", "Failed", "2026-01-02T12:00:00Z", "1h30m"),
            ("c", "other", "Failed", "2026-01-02T12:00:00Z", "0s"),
            ("d", "emails", "Running", None, "1h"),
            version="7",
        )
    )
    assert tally.finished == {
        "emails": [
            FinishedTask("a", "Succeeded", END, None),
            FinishedTask("b", "Failed", END, timedelta(minutes=90)),
        ],
        "other": [FinishedTask("c", "Failed", END, timedelta(0))],
    }
    assert tally.version == "7"


@pytest.mark.parametrize(
    ("end", "ttl"),
    [
        pytest.param(None, None, id="no end"),
        pytest.param("yesterday", None, id="no time"),
        pytest.param("2026-01-02T12:00:00", None, id="no zone"),
        pytest.param("9999-12-31T23:59:59Z", None, id="no age can be added"),
        pytest.param("2026-01-02T12:00:00Z", "soon", id="no duration"),
    ],
)
def test_an_end_that_cannot_be_read_is_counted_and_no_more(end: Any, ttl: Any) -> None:
    tally = Tally()
    tally.add_page(finished_page(("a", "emails", "Succeeded", end, ttl)))
    assert tally.of("emails") == TaskCounts(succeeded=1)
    assert tally.finished == {}


def test_a_definition_without_history_is_counted_all_the_same() -> None:
    tally = Tally()
    tally.add_page(page(("a", "emails", "Failed")))
    assert tally.of("emails") == TaskCounts(failed=1)
    assert tally.finished == {}


@pytest.mark.parametrize(
    ("run", "rerun", "kept"), [(0, 0, True), (3, 3, True), (0, 1, False), (1, 3, False)]
)
def test_what_is_to_be_run_again_is_counted_and_not_to_be_deleted(
    run: int, rerun: int, *, kept: bool
) -> None:
    listed = finished_page(("a", "emails", "Failed", "2026-01-02T12:00:00Z", None, run, rerun))
    listed["columnDefinitions"] += [{"name": "Run"}, {"name": "Rerun"}]
    tally = Tally()
    tally.add_page(listed)
    assert tally.of("emails") == TaskCounts(failed=1)
    assert ("emails" in tally.finished) is kept
