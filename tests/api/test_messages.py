"""The message contract between operator and worker."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue_api.messages import (
    ATTEMPT_HEADER,
    FAILED_AT_HEADER,
    BadHeadersError,
    TaskHeaders,
    parse_headers,
    read_attempt,
)
from taskqueue_api.payload_source import PayloadSource
from taskqueue_api.retries import write_policy

HEADERS = TaskHeaders(
    cluster="c1",
    namespace="shop",
    name="welcome",
    created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    run=0,
    attempt=1,
    dispatches=1,
    timeout=timedelta(minutes=5),
)

SOURCE = "x-tq-payload-from"
TEXTS = ("x-tq-cluster", "x-tq-namespace", "x-tq-name")
NUMBERS = (
    "x-tq-created",
    "x-tq-run",
    "x-tq-attempt",
    "x-tq-dispatches",
    "x-tq-timeout-ms",
)

count = st.integers(1, 2**31)
task_headers = st.builds(
    TaskHeaders,
    cluster=st.text(min_size=1),
    namespace=st.text(min_size=1),
    name=st.text(min_size=1),
    created=st.datetimes(
        datetime(1970, 1, 1),  # noqa: DTZ001 - Hypothesis wants naive bounds
        datetime(2999, 1, 1),  # noqa: DTZ001
        timezones=st.just(UTC),
    ).map(lambda moment: moment.replace(microsecond=0)),
    run=st.integers(0, 2**31),
    attempt=count,
    dispatches=count,
    timeout=st.integers(0, 86_400_000).map(lambda number: timedelta(milliseconds=number)),
    retry=st.none()
    | st.integers(1, 100).map(lambda most: write_policy({"maxAttempts": most}))
    | st.sampled_from(["Immediate", "Fixed", "Exponential", "Random"]).map(
        lambda kind: write_policy({"backoff": {"type": kind}})
    ),
    payload_from=st.none() | st.just(PayloadSource("Secret", "cards", "visa")),
)


@given(task_headers)
def test_headers_come_back_as_they_went(headers: TaskHeaders) -> None:
    assert parse_headers(headers.to_amqp()) == headers


def test_headers_hold_what_the_contract_says() -> None:
    assert HEADERS.to_amqp() == {
        "x-tq-version": 1,
        "x-tq-cluster": "c1",
        "x-tq-namespace": "shop",
        "x-tq-name": "welcome",
        "x-tq-created": 1767323045,
        "x-tq-run": 0,
        "x-tq-attempt": 1,
        "x-tq-dispatches": 1,
        "x-tq-timeout-ms": 300_000,
    }


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(None, id="no headers"),
        pytest.param({}, id="empty headers"),
        pytest.param({"traceparent": "00-1-2-3"}, id="headers of its own"),
        pytest.param({"x-tq-name": "welcome"}, id="one of ours, but no version"),
    ],
)
def test_a_foreign_message_has_no_task(table: dict[str, Any] | None) -> None:
    assert parse_headers(table) is None


def test_headers_that_are_not_ours_are_left_alone() -> None:
    assert parse_headers(HEADERS.to_amqp() | {"x-death": []}) == HEADERS


@pytest.mark.parametrize("version", [0, 3, "1", None, b"1"])
def test_another_version_is_refused_by_name(version: object) -> None:
    table = HEADERS.to_amqp() | {"x-tq-version": version}
    with pytest.raises(BadHeadersError, match="x-tq-version must be 1 or 2, not"):
        parse_headers(table)


@pytest.mark.parametrize("key", [*TEXTS, *NUMBERS])
def test_a_missing_header_is_refused_by_name(key: str) -> None:
    table = HEADERS.to_amqp()
    del table[key]
    with pytest.raises(BadHeadersError, match=rf"header {key} must be"):
        parse_headers(table)


@pytest.mark.parametrize("value", [None, "", 1, b"\xff", ["a"]], ids=repr)
@pytest.mark.parametrize("key", TEXTS)
def test_a_text_of_another_kind_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(BadHeadersError, match=rf"header {key} must be a text"):
        parse_headers(HEADERS.to_amqp() | {key: value})


@pytest.mark.parametrize("value", [None, "1", 1.0, True, -1, 2**37, 2**63], ids=repr)
@pytest.mark.parametrize("key", NUMBERS)
def test_a_number_of_another_kind_or_out_of_range_is_refused_by_name(
    key: str, value: object
) -> None:
    with pytest.raises(BadHeadersError, match=rf"header {key} must be a number"):
        parse_headers(HEADERS.to_amqp() | {key: value})


@pytest.mark.parametrize("key", ["x-tq-attempt", "x-tq-dispatches"])
def test_attempts_and_dispatches_count_from_one(key: str) -> None:
    with pytest.raises(BadHeadersError, match=rf"header {key}"):
        parse_headers(HEADERS.to_amqp() | {key: 0})


@pytest.mark.parametrize("key", NUMBERS)
def test_the_greatest_number_that_is_let_in_can_be_held(key: str) -> None:
    assert parse_headers(HEADERS.to_amqp() | {key: 2**37 - 1}) is not None


@given(
    st.dictionaries(
        st.sampled_from(["x-tq-version", "x-tq-retry", SOURCE, *TEXTS, *NUMBERS]),
        st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats(),
    )
)
def test_no_header_table_makes_anything_but_headers_or_a_refusal(table: dict[str, Any]) -> None:
    try:
        parsed = parse_headers(HEADERS.to_amqp() | table)
    except BadHeadersError as error:
        assert "x-tq-" in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert isinstance(parsed, TaskHeaders)


POLICY = '{"maxAttempts":3}'


def test_a_tasks_own_policy_is_one_header_more() -> None:
    headers = replace(HEADERS, retry=POLICY)
    assert headers.to_amqp() == HEADERS.to_amqp() | {"x-tq-retry": POLICY}
    assert parse_headers(headers.to_amqp()) == headers


@pytest.mark.parametrize(
    "value",
    [None, "", 1, b"{}", "{", "[]", "3", '{"maxAttempts": 0}', '{"backoff": {"type": "Linear"}}'],
    ids=repr,
)
def test_a_policy_that_cannot_be_read_is_refused_by_name(value: object) -> None:
    with pytest.raises(BadHeadersError, match=r"header x-tq-retry"):
        parse_headers(HEADERS.to_amqp() | {"x-tq-retry": value})


@pytest.mark.parametrize(
    ("table", "attempt"),
    [
        pytest.param(None, 1, id="no headers"),
        pytest.param({}, 1, id="empty headers"),
        pytest.param({"foo": "bar"}, 1, id="headers of its own"),
        pytest.param({ATTEMPT_HEADER: 1}, 1, id="the first"),
        pytest.param({ATTEMPT_HEADER: 4}, 4, id="a later one"),
        pytest.param(
            {ATTEMPT_HEADER: 4, FAILED_AT_HEADER: "2026-01-01T00:00:00Z"}, 1, id="a dead letter"
        ),
        pytest.param(
            {ATTEMPT_HEADER: "4", FAILED_AT_HEADER: "2026-01-01T00:00:00Z"},
            1,
            id="a dead letter whose attempt could not be read",
        ),
    ],
)
def test_the_attempt_of_an_outside_message(table: dict[str, Any] | None, attempt: int) -> None:
    assert read_attempt(table) == attempt


@pytest.mark.parametrize("value", [0, -1, "2", 2.0, True, None, 2**37], ids=repr)
def test_an_attempt_that_is_no_number_from_one_is_refused_by_name(value: object) -> None:
    with pytest.raises(BadHeadersError, match=r"header x-tq-attempt must be a number from 1"):
        read_attempt({ATTEMPT_HEADER: value})


def test_a_timeout_is_carried_in_whole_milliseconds() -> None:
    headers = replace(HEADERS, timeout=timedelta(microseconds=1999))
    assert headers.to_amqp()["x-tq-timeout-ms"] == 1


SOURCED = replace(HEADERS, payload_from=PayloadSource("ConfigMap", "orders", "a.json"))


def test_a_payload_that_is_elsewhere_is_named_in_a_message_of_another_version() -> None:
    # A worker of before would run the Task without payload, did it not refuse the version.
    table = SOURCED.to_amqp()
    assert table == HEADERS.to_amqp() | {"x-tq-version": 2, SOURCE: "ConfigMap/orders/a.json"}
    assert parse_headers(table) == SOURCED


@pytest.mark.parametrize("value", [None, "", 1, b"Secret/a/k", "Secret/../k"], ids=repr)
def test_a_payload_that_cannot_be_found_by_its_header_is_refused_by_name(value: object) -> None:
    with pytest.raises(BadHeadersError, match=f"^header {SOURCE}"):
        parse_headers(SOURCED.to_amqp() | {SOURCE: value})
