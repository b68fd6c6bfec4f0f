"""Payloads from ConfigMaps and Secrets: what is one, what is none, and what is said of it."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from taskqueue_api.messages import TaskHeaders, TaskUid
from taskqueue_api.payload_source import PayloadSource
from taskqueue_worker.api import ApiServer, Forbidden
from taskqueue_worker.deliveries import Delivery, Tag, TaskMessage
from taskqueue_worker.outcomes import Failure, final
from taskqueue_worker.payloads import FORBIDDEN_PAUSES, Payloads, read_value

CONFIG = PayloadSource("ConfigMap", "orders", "a.json")
SECRET = PayloadSource("Secret", "cards", "visa")
HIDDEN = "hidden-4711"
DEEP = "[" * 101 + "]" * 101

Body = Mapping[str, Any] | None


def config(text: str) -> Body:
    """Return a ConfigMap as the API server shows it."""
    return {"kind": "ConfigMap", "data": {"a.json": text, "other": "{"}}


def secret(value: bytes) -> Body:
    """Return a Secret as the API server shows it."""
    return {"kind": "Secret", "data": {"visa": base64.b64encode(value).decode()}}


# What is a payload


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"to": "ä", "n": [1, 2.50, null]}', id="object"),
        pytest.param('\n  {"a": 1}\n', id="with line breaks around"),
        pytest.param('"a text"', id="text"),
        pytest.param("12345", id="number"),
        pytest.param("null", id="null"),
        pytest.param("1e400", id="number beyond what Python can hold"),
        pytest.param('{"a": 1, "a": 2}', id="name twice"),
        pytest.param('"' + "x" * (1024 * 1024 - 2) + '"', id="as large as can be"),
    ],
)
def test_json_is_given_as_it_stands_there(text: str) -> None:
    assert read_value(CONFIG, config(text)) == text.encode()
    assert read_value(SECRET, secret(text.encode())) == text.encode()


@pytest.mark.parametrize(
    ("source", "body", "error_type", "words"),
    [
        pytest.param(
            CONFIG,
            None,
            "PayloadNotFound",
            "there is no ConfigMap 'orders', which spec.payloadFrom names: create it",
            id="no ConfigMap",
        ),
        pytest.param(
            SECRET, None, "PayloadNotFound", "there is no Secret 'cards', which", id="no Secret"
        ),
        pytest.param(
            CONFIG,
            {"data": {"other": "1"}},
            "PayloadNotFound",
            "ConfigMap 'orders' has no key 'a.json', which spec.payloadFrom names",
            id="no key",
        ),
        pytest.param(SECRET, {}, "PayloadNotFound", "has no key 'visa'", id="no data at all"),
        pytest.param(
            CONFIG,
            {"binaryData": {"a.json": "e30="}},
            "PayloadInvalid",
            "key 'a.json' of ConfigMap 'orders' is in binaryData, and a payload is text: put it "
            "into data, as JSON",
            id="binary data",
        ),
        pytest.param(
            CONFIG,
            config(HIDDEN),
            "PayloadInvalid",
            "key 'a.json' of ConfigMap 'orders' must hold JSON, but is not JSON from line 1, "
            "column 1 on; a plain text is JSON in double quotes",
            id="plain text",
        ),
        pytest.param(CONFIG, config(""), "PayloadInvalid", "line 1, column 1", id="empty"),
        pytest.param(
            SECRET,
            secret(f'{{"a": 1,\n "{HIDDEN}": }}'.encode()),
            "PayloadInvalid",
            "key 'visa' of Secret 'cards' must hold JSON, but is not JSON from line 2, "
            "column 17 on",
            id="broken JSON",
        ),
        pytest.param(
            SECRET, secret(b"\xff" + HIDDEN.encode()), "PayloadInvalid", "is not text", id="bytes"
        ),
        pytest.param(
            SECRET, secret("\ufeff{}".encode()), "PayloadInvalid", "line 1", id="a byte order mark"
        ),
        pytest.param(
            SECRET,
            secret(f'["{HIDDEN}", NaN]'.encode()),
            "PayloadInvalid",
            "has a number that cannot be read",
            id="no number",
        ),
        pytest.param(
            SECRET, secret(b"1" * 5000), "PayloadInvalid", "has a number", id="a number too long"
        ),
        pytest.param(
            SECRET, secret(DEEP.encode()), "PayloadTooDeep", "more than 100 levels", id="depth"
        ),
        pytest.param(
            SECRET, secret(b"[" * 200_000), "PayloadTooDeep", "more than 100 levels", id="abyss"
        ),
    ],
)
def test_what_is_none_says_why_and_nothing_of_what_it_says(
    source: PayloadSource, body: Body, error_type: str, words: str
) -> None:
    found = read_value(source, body)
    assert isinstance(found, Failure)
    assert found.type == error_type
    assert words in found.message
    assert HIDDEN not in repr(found)
    assert len(found.message) < 250


def test_only_what_may_come_a_moment_later_is_worth_another_attempt() -> None:
    missing, broken = read_value(CONFIG, None), read_value(CONFIG, config("{"))
    assert isinstance(missing, Failure)
    assert isinstance(broken, Failure)
    assert (missing.permanent, broken.permanent) == (False, True)


# From the API server into the message


class FakeApi:
    """Answers reads in order; the last answer goes on.

    asked: the sources, and in between the Tasks that were read.
    """

    def __init__(self, *answers: Body | Forbidden) -> None:
        self.answers = list(answers)
        self.asked: list[PayloadSource | str] = []
        self.slept: list[float] = []

    async def get_source(self, source: PayloadSource) -> Body | Forbidden:
        self.asked.append(source)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def get_task(self, name: str) -> None:
        self.asked.append(name)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def message(source: PayloadSource | None) -> TaskMessage:
    """Return a Task's message whose payload is there."""
    created = datetime(2026, 1, 1, tzinfo=UTC)
    headers = TaskHeaders("c", "ns", "t", created, 0, 1, 1, timedelta(seconds=5))
    named = replace(headers, payload_from=source)
    delivery = Delivery(Tag(1, 1), False, "uid", "echo", named.to_amqp(), b"null", None)
    return TaskMessage(delivery, named, TaskUid("uid"), b"null", None)


async def fill(api: FakeApi, given: TaskMessage) -> TaskMessage:
    return await Payloads(cast(ApiServer, api), "emails", api.sleep).fill(given)


async def test_a_message_is_filled_and_stays_the_same_otherwise() -> None:
    api = FakeApi(secret(b'{"pin": 4711}'))
    given = message(SECRET)
    assert await fill(api, given) == replace(given, payload=b'{"pin": 4711}')
    assert api.asked == [SECRET]


async def test_a_message_with_its_payload_costs_nothing() -> None:
    api = FakeApi(None)
    given = message(None)
    assert await fill(api, given) is given
    bad = replace(message(SECRET), bad=final("BadMessage", "why"))
    assert await fill(api, bad) is bad
    assert api.asked == []


async def test_each_fill_reads_anew() -> None:
    api = FakeApi(secret(b"1"), secret(b"2"))
    given = message(SECRET)
    assert [(await fill(api, given)).payload for _ in range(2)] == [b"1", b"2"]


async def test_what_is_missing_makes_the_message_a_bad_one() -> None:
    found = await fill(FakeApi(None), message(SECRET))
    assert found.bad is not None
    assert found.bad.type == "PayloadNotFound"
    assert found.payload == b"null"


async def test_what_may_not_be_read_is_asked_for_again_and_then_said() -> None:
    api = FakeApi(Forbidden('secrets "cards" is forbidden: User "w" cannot get resource'))
    found = await fill(api, message(SECRET))
    assert found.bad == final(
        "PayloadNotAllowed",
        "workers of TaskQueue 'emails' may not read Secret 'cards': list it in the TaskQueue's "
        "spec.workers.payloadSources.secrets. The API server says: "
        'secrets "cards" is forbidden: User "w" cannot get resource',
    )
    assert api.slept == list(FORBIDDEN_PAUSES)
    assert sum(api.slept) == 5


async def test_the_field_that_lists_config_maps_is_named_for_them() -> None:
    found = await fill(FakeApi(Forbidden("no")), message(CONFIG))
    assert found.bad is not None
    assert "may not read ConfigMap 'orders'" in found.bad.message
    assert "spec.workers.payloadSources.configMaps." in found.bad.message


async def test_a_refusal_counts_only_from_a_server_that_grants_what_workers_may() -> None:
    # Reading a Task waits for that: of the time until then nothing is taken for a refusal.
    api = FakeApi(Forbidden("no"), secret(b"1"))
    await fill(api, message(SECRET))
    assert api.asked == [SECRET, "t", SECRET]


@pytest.mark.parametrize("answer", [secret(b"1"), None], ids=["there", "missing"])
async def test_a_right_that_comes_a_moment_later_is_in_time(answer: Body) -> None:
    api = FakeApi(Forbidden("no"), Forbidden("no"), answer)
    found = await fill(api, message(SECRET))
    assert (found.bad and found.bad.type) == (None if answer else "PayloadNotFound")
    assert api.slept == list(FORBIDDEN_PAUSES[:2])
