"""Derived names fit their limits and belong to one TaskQueue only."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskqueue_api import names

LONG_NAMESPACE = "n" * 63
LONG_NAME = "q" * names.TASKQUEUE_NAME_MAX
UID = "0b9f3c1e-1111-2222-3333-444455556666"

POD_SUFFIX = "-5d59d67564-abcde"
"""What a Deployment's pods carry after its name: a hash of at most 10 and 5 more."""

label = st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?\Z")


def may(pattern: str, name: str) -> bool:
    """Return whether RabbitMQ lets a user with this permission at this name.

    It searches, as re:run does; only the anchors make it a whole match.
    """
    return re.search(pattern, name) is not None


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(names.work_queue(LONG_NAMESPACE, LONG_NAME), id="work queue"),
        pytest.param(names.dead_letter_queue(LONG_NAMESPACE, LONG_NAME), id="dead letters"),
        pytest.param(names.broker_user(LONG_NAMESPACE, LONG_NAME, UID), id="user"),
    ],
)
def test_the_longest_names_fit_rabbitmq(name: str) -> None:
    assert len(name.encode()) <= 255
    assert LONG_NAMESPACE in name
    assert LONG_NAME in name


def test_the_longest_names_fit_kubernetes() -> None:
    assert len(names.child(LONG_NAME) + POD_SUFFIX) <= 63
    assert len(names.broker_secret(LONG_NAME)) <= 253
    for key, value in names.worker_labels(LONG_NAME).items():
        assert len(value) <= 63
        assert len(key.rpartition("/")[2]) <= 63


def test_derived_names_are_what_users_see_in_the_documentation() -> None:
    assert names.work_queue("shop", "emails") == "tq.shop.emails"
    assert names.dead_letter_queue("shop", "emails") == "tqd.shop.emails"
    assert names.broker_user("shop", "emails", UID) == "tq.shop.emails.0b9f3c1e"
    assert names.child("emails") == "tq-emails"
    assert names.broker_secret("emails") == "tq-emails-broker"
    assert names.worker_labels("emails")["taskqueue.dev/queue"] == "emails"


@given(st.tuples(label, label), st.tuples(label, label))
def test_two_taskqueues_never_share_a_name_in_rabbitmq(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    ours = {names.work_queue(*one), names.dead_letter_queue(*one)}
    theirs = {names.work_queue(*other), names.dead_letter_queue(*other)}
    assert bool(ours & theirs) == (one == other)


def test_one_name_in_two_clusters_makes_two_users() -> None:
    assert names.broker_user("a", "b", "11111111-1") != names.broker_user("a", "b", "22222222-1")


OTHERS = [
    pytest.param("tq.a.bc", id="a longer name"),
    pytest.param("tq.a.b.c", id="one part more"),
    pytest.param("xtq.a.b", id="something before"),
    pytest.param("tq.aXb", id="the dot is no wildcard"),
    pytest.param("tqXa.b", id="the first dot is none either"),
    pytest.param("tqd.a.b", id="the dead letters"),
    pytest.param("tq.a.b\nx", id="another line after"),
    pytest.param("x\ntq.a.b", id="another line before"),
    pytest.param("", id="nothing"),
    pytest.param("taskqueue.unrouted", id="everybody's"),
]


@pytest.mark.parametrize("name", OTHERS)
def test_workers_read_no_queue_but_their_own(name: str) -> None:
    assert not may(names.user_permissions("a", "b")["read"], name)


@given(label, label)
def test_workers_read_their_own_queue(namespace: str, name: str) -> None:
    permissions = names.user_permissions(namespace, name)
    assert may(permissions["read"], names.work_queue(namespace, name))


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        pytest.param("taskqueue.dlx", True, id="dead letters"),
        pytest.param("taskqueue", False, id="work"),
        pytest.param("taskqueueXdlx", False, id="the dot is no wildcard"),
        pytest.param("taskqueue.dlx2", False, id="something after"),
        pytest.param("", False, id="the default exchange"),
        pytest.param("amq.default", False, id="the default exchange, as RabbitMQ checks it"),
    ],
)
def test_workers_write_to_the_dead_letter_exchange_only(name: str, allowed: bool) -> None:
    assert may(names.user_permissions("a", "b")["write"], name) is allowed


@pytest.mark.parametrize("name", ["tq.a.b", "taskqueue", "x"])
def test_workers_configure_nothing(name: str) -> None:
    assert not may(names.user_permissions("a", "b")["configure"], name)


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        pytest.param("tqd.a.b", True, id="own dead letters"),
        pytest.param("unrouted", True, id="what belongs to nobody"),
        pytest.param("tqd.a.bc", False, id="a longer name"),
        pytest.param("tqd.aXb", False, id="the dot is no wildcard"),
        pytest.param("xtqd.a.b", False, id="something before"),
        pytest.param("unrouted2", False, id="something after the other key"),
        pytest.param("xunrouted", False, id="something before the other key"),
        pytest.param("tq.a.b", False, id="own work"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_workers_use_their_own_routing_keys_only(key: str, allowed: bool) -> None:
    assert may(names.topic_permission_key("a", "b"), key) is allowed
