"""What is to be done with a Task that waits."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskqueue_api.messages import parse_headers
from taskqueue_api.nesting import NESTING_MAX
from taskqueue_api.payload_source import PayloadSource
from taskqueue_api.task import DISPATCHES_MOST, PAYLOAD_MAX_BYTES
from taskqueue_operator.domain.dispatching import (
    Publication,
    QueueKey,
    WaitingTask,
    build_headers,
    decide_dispatched_through,
    decide_publication,
    decide_refusal,
    encode_payload,
    is_overdue,
    read_task,
    remaining_delay,
)
from tests.operator.builders import CLUSTER, KEY, NOW, build_nested, build_task, build_waiting

SECOND = timedelta(seconds=1)
CEILING = timedelta(minutes=5)
SOURCE = PayloadSource("Secret", "cards", "visa")


@pytest.mark.parametrize(
    ("listed", "created", "through", "expected"),
    [
        pytest.param(False, NOW - SECOND, None, Publication.FIRST, id="new, not listed"),
        pytest.param(
            False, NOW - SECOND, NOW, Publication.FIRST, id="not listed, whatever was dispatched"
        ),
        pytest.param(True, NOW, None, Publication.FIRST, id="created as we started"),
        pytest.param(True, NOW + SECOND, NOW + 9 * SECOND, Publication.FIRST, id="created later"),
        pytest.param(True, NOW - SECOND, NOW, Publication.KNOWN, id="known to be out"),
        pytest.param(True, NOW - SECOND, NOW - SECOND, Publication.AGAIN, id="at the very moment"),
        pytest.param(True, NOW - SECOND, NOW - 2 * SECOND, Publication.AGAIN, id="after it"),
        pytest.param(True, NOW - SECOND, None, Publication.AGAIN, id="nothing known"),
    ],
)
def test_decide_publication(
    listed: bool, created: datetime, through: datetime | None, expected: Publication
) -> None:
    task = build_waiting(listed=listed, created=created)
    found = decide_publication(task, dispatched_through=through, delays_unsure=True, started=NOW)
    assert found is expected, "what waits for no time is as sure as ever"


@pytest.mark.parametrize(
    ("created", "through", "expected"),
    [
        pytest.param(NOW, None, Publication.KNOWN, id="created as we started"),
        pytest.param(NOW - SECOND, NOW, Publication.KNOWN, id="known to be out"),
        pytest.param(NOW - SECOND, NOW - SECOND, Publication.AGAIN, id="at the very moment"),
        pytest.param(NOW - SECOND, None, Publication.AGAIN, id="nothing known"),
    ],
)
def test_a_listed_task_that_is_retried_was_published_by_its_worker(
    created: datetime, through: datetime | None, expected: Publication
) -> None:
    task = build_waiting(phase="Retrying", attempt=2, listed=True, created=created)
    found = decide_publication(task, dispatched_through=through, delays_unsure=False, started=NOW)
    assert found is expected


def test_a_listed_task_that_waits_for_a_time_is_unsure_where_a_part_of_the_ladder_was_gone() -> (
    None
):
    changes = {"listed": True, "created": NOW - SECOND, "due": NOW + SECOND}
    for task in (build_waiting(phase="Retrying", attempt=2, **changes), build_waiting(**changes)):
        found = decide_publication(task, dispatched_through=NOW, delays_unsure=True, started=NOW)
        assert found is Publication.AGAIN


@pytest.mark.parametrize("phase", ["Pending", "Retrying"])
@pytest.mark.parametrize("through", [None, NOW])
def test_a_listed_task_in_its_rerun_is_unsure_whatever_was_dispatched_by_then(
    phase: str, through: datetime | None
) -> None:
    """It may have been published, or begun by an operator that died before that."""
    task = build_waiting(phase=phase, run=1, listed=True, created=NOW - 60 * SECOND)
    found = decide_publication(task, dispatched_through=through, delays_unsure=False, started=NOW)
    assert found is Publication.AGAIN


def test_a_rerun_that_begins_before_our_eyes_is_published_for_the_first_time() -> None:
    task = build_waiting(run=1, created=NOW - 60 * SECOND)
    found = decide_publication(task, dispatched_through=NOW, delays_unsure=False, started=NOW)
    assert found is Publication.FIRST


@pytest.mark.parametrize(
    ("changes", "minutes", "expected"),
    [
        pytest.param({}, 2, False, id="just in time"),
        pytest.param({}, 2.1, True, id="late"),
        pytest.param({"dispatches": 2}, 3.9, False, id="published again, and not yet as late"),
        pytest.param({"dispatches": 2}, 4.1, True, id="published again, and late again"),
        pytest.param({"dispatches": 10**6}, 10**5, False, id="published too often to go on"),
        pytest.param({"due": None, "created": NOW}, 1.9, False, id="due at once"),
        pytest.param({"due": None, "created": NOW}, 2.1, True, id="due at once, and late"),
        pytest.param({"phase": "Pending", "attempt": 1}, 2.1, True, id="its first attempt"),
        pytest.param({"phase": "Running"}, 10, False, id="a worker has it"),
    ],
)
def test_is_overdue(changes: dict[str, Any], minutes: float, expected: bool) -> None:
    base = {"phase": "Retrying", "attempt": 2, "due": NOW, "dispatches": 1}
    task = build_waiting(**(base | changes))
    late = timedelta(minutes=minutes)
    assert is_overdue(task, NOW + late, late) is expected


def test_what_was_published_lately_is_not_overdue_however_old_it_is() -> None:
    task = build_waiting(created=NOW, dispatches=2)
    day, minute = timedelta(days=1), timedelta(minutes=1)
    assert not is_overdue(task, NOW + day, 3.9 * minute)
    assert is_overdue(task, NOW + day, 4.1 * minute)


@pytest.mark.parametrize(
    ("oldest", "newest", "expected"),
    [
        pytest.param(None, None, None, id="nothing seen"),
        pytest.param(None, NOW, NOW - 10 * SECOND, id="all confirmed"),
        pytest.param(NOW - 60 * SECOND, NOW, NOW - 70 * SECOND, id="one unconfirmed"),
    ],
)
def test_decide_dispatched_through(
    oldest: datetime | None, newest: datetime | None, expected: datetime | None
) -> None:
    assert decide_dispatched_through(oldest_unconfirmed=oldest, newest_seen=newest) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"payload": b"x" * PAYLOAD_MAX_BYTES}, None, id="payload at the limit"),
        pytest.param(
            {"payload": b"x" * (PAYLOAD_MAX_BYTES + 1)}, "PayloadTooLarge", id="one byte more"
        ),
        pytest.param({"too_deep": True}, "PayloadTooDeep", id="nested too deeply"),
        pytest.param({"payload_from": SOURCE}, None, id="payload elsewhere"),
        pytest.param(
            {"payload_from": SOURCE, "payload": b"{}"}, "PayloadAmbiguous", id="two payloads"
        ),
        pytest.param({"timeout": None}, None, id="no timeout of its own"),
        pytest.param({"timeout": CEILING}, None, id="timeout at the ceiling"),
        pytest.param(
            {"timeout": CEILING + timedelta(milliseconds=1)}, "TimeoutTooLong", id="above it"
        ),
    ],
)
def test_decide_refusal(changes: dict[str, Any], expected: str | None) -> None:
    refusal = decide_refusal(build_waiting(**changes), CEILING)
    assert (refusal and refusal.type) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": b"x" * (PAYLOAD_MAX_BYTES + 1)},
        {"payload": b"1", "payload_from": SOURCE},
        {"too_deep": True},
        {"timeout": 2 * CEILING},
    ],
    ids=["payload", "two payloads", "depth", "timeout"],
)
def test_a_task_that_was_run_is_not_refused(changes: dict[str, Any]) -> None:
    assert decide_refusal(build_waiting(**changes), CEILING)
    assert not decide_refusal(build_waiting(phase="Retrying", attempt=2, **changes), CEILING)


@pytest.mark.parametrize(
    ("due", "expected"),
    [
        pytest.param(None, timedelta(), id="at once"),
        pytest.param(NOW - SECOND, timedelta(), id="overdue"),
        pytest.param(NOW, timedelta(), id="due now"),
        pytest.param(NOW + 90 * SECOND, 90 * SECOND, id="later"),
    ],
)
def test_remaining_delay(due: datetime | None, expected: timedelta) -> None:
    assert remaining_delay(build_waiting(due=due), NOW) == expected


def test_a_refusal_names_field_value_and_limit() -> None:
    large = decide_refusal(build_waiting(payload=b"x" * 40_000), CEILING)
    assert large
    assert "spec.payload has 40000 bytes" in large.message
    assert "32768: put it into a ConfigMap or Secret" in large.message
    long = decide_refusal(build_waiting(timeout=timedelta(hours=20)), CEILING)
    assert long
    assert "spec.timeout is 20h; TaskQueue 'emails' allows at most 5m: lower it" in long.message


def test_bytes_count_and_not_characters() -> None:
    two_bytes_each = "ü" * (PAYLOAD_MAX_BYTES // 2)
    assert decide_refusal(build_waiting(payload=encode_payload(two_bytes_each)), CEILING)
    assert not decide_refusal(build_waiting(payload=encode_payload(two_bytes_each[1:])), CEILING)


@pytest.mark.parametrize(("levels", "refused"), [(NESTING_MAX, False), (9_990, True)])
def test_a_payload_is_refused_for_its_depth_and_not_read(levels: int, refused: bool) -> None:
    task = read_task(build_task(spec={"payload": build_nested(levels)}), listed=False)
    assert (task.too_deep, task.payload == b"null") == (refused, refused)


def test_a_task_that_was_run_keeps_its_payload_whatever_its_depth() -> None:
    payload = build_nested(NESTING_MAX + 1)
    body = build_task(spec={"payload": payload}, status={"phase": "Retrying", "attempts": 1})
    task = read_task(body, listed=False)
    assert not task.too_deep
    assert task.payload == encode_payload(payload)


def test_a_task_is_read_whole() -> None:
    body = build_task(
        "welcome",
        spec={"priority": 9, "timeout": "30s", "payload": {"to": ["ü"]}},
        status={"run": 1, "dispatches": 3},
    )
    assert read_task(body, listed=True) == WaitingTask(
        uid=body["metadata"]["uid"],
        queue=QueueKey("shop", "emails"),
        name="welcome",
        created=NOW,
        run=1,
        dispatches=3,
        handler="send_welcome",
        priority=9,
        timeout=timedelta(seconds=30),
        payload='{"to":["ü"]}'.encode(),
        listed=True,
    )


def build_sourced(**changes: Any) -> dict[str, Any]:
    """Return a Task whose payload is in a Secret."""
    body = build_task(spec={"payloadFrom": {"secretKeyRef": {"name": "cards", "key": "visa"}}})
    del body["spec"]["payload"]
    body["status"] |= changes
    return body


@pytest.mark.parametrize(
    "status", [{}, {"phase": "Retrying", "attempts": 1}], ids=["first attempt", "another"]
)
def test_of_a_payload_that_is_elsewhere_the_message_says_only_where(status: dict[str, Any]) -> None:
    task = read_task(build_sourced(**status), listed=False)
    assert (task.payload_from, task.payload) == (SOURCE, b"null")
    headers = build_headers(task, CLUSTER, CEILING)
    assert headers.payload_from == SOURCE
    assert parse_headers(headers.to_amqp()) == headers


def test_an_explicit_null_beside_it_is_no_payload() -> None:
    body = build_sourced()
    body["spec"]["payload"] = None
    assert decide_refusal(read_task(body, listed=False), CEILING) is None


def test_a_task_that_is_retried_is_read_with_its_next_attempt() -> None:
    body = build_task(
        spec={"retry": {"maxAttempts": 7, "backoff": {"type": "Immediate"}}},
        status={
            "phase": "Retrying",
            "attempts": 2,
            "nextAttemptTime": "2026-01-02T12:00:01.500Z",
        },
    )
    task = read_task(body, listed=False)
    assert task.retrying
    assert (task.phase, task.attempt) == ("Retrying", 3)
    assert task.due == NOW + 1.5 * SECOND
    assert task.retry == '{"backoff":{"type":"Immediate"},"maxAttempts":7}'


@pytest.mark.parametrize(("phase", "attempt"), [("Pending", 1), ("Running", 3), ("Succeeded", 1)])
def test_a_task_in_another_phase_waits_for_no_later_attempt(phase: str, attempt: int) -> None:
    task = read_task(build_task(status={"phase": phase, "attempts": 3}), listed=False)
    assert (task.retrying, task.phase, task.attempt, task.due) == (False, phase, attempt, None)


@pytest.mark.parametrize("status", [None, {}], ids=repr)
def test_a_task_without_status_and_defaults_is_read_as_new(status: dict[str, Any] | None) -> None:
    body = build_task()
    body["spec"] = {"queue": "emails", "handler": "echo"}
    body["status"] = status
    task = read_task(body, listed=False)
    assert (task.run, task.dispatches, task.priority, task.timeout) == (0, 1, 4, None)
    assert (task.phase, task.attempt, task.due, task.retry) == ("Pending", 1, None, None)
    assert task.payload == b"null"


@pytest.mark.parametrize(
    "payload",
    [None, {}, [], "", 0, False, {"名前": "東京", "n": [1, 2.5, None, True]}, "\u2028\x00"],
    ids=repr,
)
def test_a_payload_comes_back_as_it_went(payload: Any) -> None:
    encoded = encode_payload(payload)
    assert json.loads(encoded) == payload
    assert (
        encoded
        == json.dumps(json.loads(encoded), ensure_ascii=False)
        .replace(", ", ",")
        .replace(": ", ":")
        .encode()
    )


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        pytest.param(None, CEILING, id="the queue's"),
        pytest.param(timedelta(seconds=3), timedelta(seconds=3), id="its own"),
    ],
)
def test_headers_say_which_publication_it_is(
    timeout: timedelta | None, expected: timedelta
) -> None:
    task = build_waiting(run=2, dispatches=5, timeout=timeout)
    headers = build_headers(task, CLUSTER, CEILING)
    assert (headers.cluster, headers.namespace, headers.name) == (CLUSTER, *KEY[:1], "welcome")
    assert (headers.run, headers.attempt, headers.dispatches) == (2, 1, 5)
    assert headers.timeout == expected
    assert headers.created == NOW.astimezone(UTC)
    assert parse_headers(headers.to_amqp()) == headers


def test_headers_carry_the_attempt_and_the_tasks_own_policy() -> None:
    policy = '{"maxAttempts":3}'
    task = build_waiting(phase="Retrying", attempt=3, dispatches=2, retry=policy)
    headers = build_headers(task, CLUSTER, CEILING)
    assert (headers.attempt, headers.dispatches, headers.retry) == (3, 2, policy)
    assert parse_headers(headers.to_amqp()) == headers


def test_the_next_publication_is_one_higher() -> None:
    assert build_waiting(dispatches=3).announced() == build_waiting(dispatches=4)
    # The schema takes no higher one.
    last = build_waiting(dispatches=DISPATCHES_MOST)
    assert last.announced() == last
