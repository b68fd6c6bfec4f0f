"""Where a payload is: from the Task into the message and out of it again."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue_api.crd import structural_schema
from taskqueue_api.names import TASKQUEUE_NAME_MAX, broker_secret
from taskqueue_api.payload_from import PayloadSourcesSpec
from taskqueue_api.payload_source import (
    KEY_PATTERN,
    PayloadSource,
    parse_payload_source,
    read_payload_from,
)

names = st.from_regex(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?", fullmatch=True)
keys = st.from_regex(r"[-._a-zA-Z0-9]{1,253}", fullmatch=True)
sources = st.builds(PayloadSource, st.sampled_from(["ConfigMap", "Secret"]), names, keys)


@given(sources)
def test_a_source_comes_back_as_it_went(source: PayloadSource) -> None:
    assert parse_payload_source(source.to_text()) == source


@pytest.mark.parametrize(
    ("payload_from", "text", "words"),
    [
        pytest.param(
            {"configMapKeyRef": {"name": "orders", "key": "a.json"}},
            "ConfigMap/orders/a.json",
            "key 'a.json' of ConfigMap 'orders'",
            id="ConfigMap",
        ),
        pytest.param(
            {"secretKeyRef": {"name": "cards", "key": "visa"}},
            "Secret/cards/visa",
            "key 'visa' of Secret 'cards'",
            id="Secret",
        ),
    ],
)
def test_a_tasks_reference_is_read(payload_from: dict[str, Any], text: str, words: str) -> None:
    source = read_payload_from(payload_from)
    assert (source.to_text(), str(source)) == (text, words)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Secret",
        "Secret/a",
        "Secret//k",
        "Secret/a/",
        "Secret/a/k/more",
        "Secret/../k",
        "Secret/a/k\n",
        "Secret/A/k",
        "Secret/a/k?x=1",
        "Secret/a%2Fb/k",
        "secret/a/k",
        "Pod/a/k",
        f"Secret/{'a' * 254}/k",
        f"Secret/a/{'k' * 254}",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_any_other_text_is_refused(text: str) -> None:
    # The name becomes part of a path at the API server.
    with pytest.raises(ValueError, match="must be 'ConfigMap/NAME/KEY' or 'Secret/NAME/KEY'"):
        parse_payload_source(text)


@given(keys)
def test_the_schema_takes_the_keys_that_a_message_can_carry(key: str) -> None:
    assert re.search(KEY_PATTERN, key)


def test_what_workers_log_in_with_is_no_payload() -> None:
    listed = structural_schema(PayloadSourcesSpec)["properties"]["secrets"]["items"]
    (rule,) = [
        rule["rule"]
        for rule in listed["x-kubernetes-validations"]
        if rule["rule"].startswith("!self.matches")
    ]
    pattern = rule.removeprefix("!self.matches('").removesuffix("')")
    for taskqueue in ("a", "emails", "x" * TASKQUEUE_NAME_MAX):
        assert re.search(pattern, broker_secret(taskqueue))
    for name in ("cards", "tq-broker", "tq-emails-brokers", "my-tq-emails-broker"):
        assert not re.search(pattern, name)
