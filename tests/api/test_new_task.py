"""A Task made by a Python program is one that the API server takes, or is refused in words."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskqueue_api.new_task import new_task

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_it_says_what_it_was_given() -> None:
    body = new_task("a", "emails", "send", {"to": "ä"}, namespace="shop", priority=7, timeout="30s")
    assert body == {
        "apiVersion": "taskqueue.dev/v1beta1",
        "kind": "Task",
        "metadata": {"name": "a", "namespace": "shop"},
        "spec": {
            "queue": "emails",
            "handler": "send",
            "payload": {"to": "ä"},
            "priority": 7,
            "timeout": "30s",
        },
    }


@pytest.mark.parametrize(
    ("delay", "microsecond", "expected"),
    [
        pytest.param(timedelta(minutes=5), 0, "2026-01-02T12:05:00Z", id="whole seconds"),
        pytest.param(timedelta(seconds=1), 1, "2026-01-02T12:00:02Z", id="never too early"),
        pytest.param(timedelta(milliseconds=1), 0, "2026-01-02T12:00:01Z", id="rounded up"),
        pytest.param(timedelta(), 0, "2026-01-02T12:00:00Z", id="none"),
        pytest.param(
            timedelta(days=76, hours=23), 0, "2026-03-20T11:00:00Z", id="nearly the longest"
        ),
    ],
)
def test_a_delay_becomes_a_time(delay: timedelta, microsecond: int, expected: str) -> None:
    now = NOW.replace(microsecond=microsecond)
    body = new_task("a", "emails", "send", delay=delay, now=lambda: now)
    assert body["spec"]["notBefore"] == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param({"delay": timedelta(days=77)}, "less than 77 days", id="too late"),
        pytest.param({"delay": timedelta(seconds=-1)}, "not negative", id="in the past"),
        pytest.param({"delay": 10}, "delay is 10; it must be a timedelta", id="a number"),
        pytest.param(
            {"delay": timedelta(1), "notBefore": "2026-01-03T12:00:00Z"},
            "give one of them",
            id="twice",
        ),
        pytest.param({"payload": "x" * 40_000}, "40002 bytes as JSON; at most 32768", id="size"),
        pytest.param({"priority": 11}, "spec.priority: Input should be less", id="priority"),
        pytest.param(
            {"prioritty": 1},
            "unknown field spec.prioritty; there are: cancel, deadline",
            id="unknown field",
        ),
    ],
)
def test_what_would_be_refused_is_refused_in_words(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        new_task("a", "emails", "send", **arguments)
