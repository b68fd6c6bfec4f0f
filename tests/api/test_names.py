"""Derived names fit their limits and belong to one TaskQueue only."""

import re
from datetime import timedelta

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
        pytest.param(names.running_tokens(LONG_NAMESPACE, LONG_NAME, 1000), id="running"),
        pytest.param(
            names.cooling_queue(
                names.rate_tokens(LONG_NAMESPACE, LONG_NAME, 10_000, timedelta(days=1))
            ),
            id="cooling",
        ),
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


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        pytest.param(names.running_tokens("a", "b", 5), True, id="running"),
        pytest.param(names.rate_tokens("a", "b", 9, timedelta(seconds=1)), True, id="rate"),
        pytest.param("tql.a.b.rate.9.1000.cooling", False, id="what was spent"),
        pytest.param("tql.a.b.rate.9", False, id="half a name"),
        pytest.param("tql.a.bc.running.5", False, id="a longer name"),
        pytest.param("tql.c.b.running.5", False, id="another namespace"),
        pytest.param("tql.aXb.running.5", False, id="the dot is no wildcard"),
        pytest.param("xtql.a.b.running.5", False, id="something before"),
        pytest.param("tql.a.b.running.5x", False, id="something after"),
    ],
)
def test_workers_take_their_own_tokens_only_and_put_none(name: str, allowed: bool) -> None:
    permissions = names.user_permissions("a", "b")
    assert may(permissions["read"], name) is allowed
    assert not may(permissions["write"], name)
    assert not may(permissions["configure"], name)


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
        pytest.param("taskqueue.delay.25", True, id="top of the ladder"),
        pytest.param("taskqueue.delay.24", False, id="a step of the ladder"),
        pytest.param("taskqueue.delay.250", False, id="something after the top"),
        pytest.param("taskqueueXdelay.25", False, id="the dot before delay is no wildcard"),
        pytest.param("taskqueue.delayX25", False, id="the dot after delay is none either"),
        pytest.param("taskqueue.due", False, id="foot of the ladder: it is bound to everybody"),
        pytest.param("taskqueue.unrouted", False, id="what belongs to nobody"),
        pytest.param("xtaskqueue.dlx", False, id="something before"),
        pytest.param("xtaskqueue.delay.25", False, id="something before the other"),
        pytest.param("taskqueue", False, id="work"),
        pytest.param("taskqueueXdlx", False, id="the dot is no wildcard"),
        pytest.param("taskqueue.dlx2", False, id="something after"),
        pytest.param("", False, id="the default exchange"),
        pytest.param("amq.default", False, id="the default exchange, as RabbitMQ checks it"),
    ],
)
def test_workers_write_to_dead_letters_and_the_top_of_the_ladder_only(
    name: str, allowed: bool
) -> None:
    assert may(names.user_permissions("a", "b")["write"], name) is allowed


@pytest.mark.parametrize(
    "name", ["tq.a.b", "taskqueue", "x", "tqc.a.bc.0f", "tqc.a.b.", "tqc.aXb.0"]
)
def test_workers_configure_nothing_but_queues_for_hints(name: str) -> None:
    permissions = names.user_permissions("a", "b")
    assert not may(permissions["configure"], name)
    for verb in ("configure", "write", "read"):
        assert may(permissions[verb], names.control_queue("a", "b", "0f"))


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
def test_workers_dead_letter_with_their_own_routing_keys_only(key: str, allowed: bool) -> None:
    assert may(write_pattern("taskqueue.dlx"), key) is allowed


def write_pattern(exchange: str) -> str:
    """Return the one pattern of keys that the workers of a/b may use on an exchange."""
    (found,) = [
        item["write"] for item in names.topic_permissions("a", "b") if item["exchange"] == exchange
    ]
    return found


ZEROS = "0." * 26


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        pytest.param(f"{ZEROS}tq.a.b", True, id="at once"),
        pytest.param(f"{'1.' * 26}tq.a.b", True, id="the longest delay"),
        pytest.param(f"{ZEROS[2:]}tq.a.b", False, id="a level too few"),
        pytest.param(f"{ZEROS}0.tq.a.b", False, id="a level too many"),
        pytest.param("tq.a.b", False, id="no levels"),
        pytest.param(f"2.{ZEROS[2:]}tq.a.b", False, id="another digit"),
        pytest.param(f"01{ZEROS[2:]}tq.a.b", False, id="two digits in a word"),
        pytest.param(f"{ZEROS.replace('.', 'X')}tq.a.b", False, id="the dot is no wildcard"),
        pytest.param(f"x.{ZEROS}tq.a.b", False, id="something before"),
        pytest.param(f"{ZEROS}tq.a.bc", False, id="a longer name"),
        pytest.param(f"{ZEROS}tq.a.b.c", False, id="something after"),
        pytest.param(f"{ZEROS}tq.c.b", False, id="another namespace"),
        pytest.param(f"{ZEROS}tq.a.c", False, id="another queue"),
        pytest.param(f"{ZEROS}tq.aXb", False, id="the dot of the name is no wildcard"),
        pytest.param(f"{ZEROS}tqd.a.b", False, id="dead letters"),
        pytest.param(f"{ZEROS}tq.x.y.tq.a.b", False, id="another queue before ours"),
        pytest.param(f"{ZEROS}tq.a.b.tq.x.y", False, id="ours before another queue"),
        pytest.param(f"{ZEROS}tq.a.b\nx", False, id="another line after"),
        pytest.param(f"x\n{ZEROS}tq.a.b", False, id="another line before"),
        pytest.param("unrouted", False, id="what belongs to nobody"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_workers_delay_messages_to_their_own_queue_only(key: str, allowed: bool) -> None:
    assert may(write_pattern("taskqueue.delay.25"), key) is allowed


@given(st.timedeltas(), label, label)
def test_workers_may_use_every_delay_of_their_own_queue(
    delay: timedelta, namespace: str, name: str
) -> None:
    key = names.delay_key(delay, names.work_queue(namespace, name))
    patterns = {
        item["exchange"]: item["write"] for item in names.topic_permissions(namespace, name)
    }
    assert may(patterns[names.DELAY_EXCHANGE], key)


def test_workers_hear_only_what_is_said_to_their_own_queue() -> None:
    heard = {item["exchange"]: item["read"] for item in names.topic_permissions("a", "b")}
    own = heard.pop(names.CONTROL_EXCHANGE)
    assert set(heard.values()) == {"^$"}
    assert may(own, names.work_queue("a", "b"))
    assert not [key for key in ("tq.a.bc", "tq.aXb", "xtq.a.b", "#", "*") if may(own, key)]
    assert may(names.user_permissions("a", "b")["read"], names.CONTROL_EXCHANGE)
    assert not may(write_pattern(names.CONTROL_EXCHANGE), names.work_queue("a", "b"))


def test_every_topic_exchange_that_workers_may_use_has_a_pattern() -> None:
    # RabbitMQ lets a user do anything on a topic exchange for which it knows none.
    patterns = {item["exchange"] for item in names.topic_permissions("a", "b")}
    assert patterns == {names.DEAD_LETTER_EXCHANGE, names.DELAY_EXCHANGE, names.CONTROL_EXCHANGE}


QUEUE = names.work_queue("a", "b")
MILLISECOND = timedelta(milliseconds=1)


def units(delay: timedelta) -> int:
    """Return the delay that a key says, in units of 100 ms."""
    *bits, tq, namespace, name = names.delay_key(delay, QUEUE).split(".")
    assert (tq, namespace, name) == ("tq", "a", "b")
    assert len(bits) == names.DELAY_LEVELS
    return int("".join(bits), 2)


@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        pytest.param(timedelta(), 0, id="none"),
        pytest.param(-MILLISECOND, 0, id="overdue"),
        pytest.param(timedelta.min, 0, id="as overdue as can be"),
        pytest.param(timedelta(microseconds=1), 1, id="the shortest is rounded up"),
        pytest.param(100 * MILLISECOND, 1, id="one unit"),
        pytest.param(100 * MILLISECOND + timedelta(microseconds=1), 2, id="a bit more"),
        pytest.param(timedelta(seconds=1), 10, id="a second"),
        pytest.param(timedelta(hours=168), 6_048_000, id="the longest pause of the schema"),
        pytest.param(names.DELAY_MAX - MILLISECOND, 2**26 - 1, id="just below the reach"),
        pytest.param(names.DELAY_MAX, 2**26 - 1, id="the reach"),
        pytest.param(names.DELAY_MAX + MILLISECOND, 2**26 - 1, id="just beyond the reach"),
        pytest.param(timedelta.max, 2**26 - 1, id="as far as can be"),
    ],
)
def test_a_delay_key_rounds_up_and_ends_at_the_reach_of_the_ladder(
    delay: timedelta, expected: int
) -> None:
    assert units(delay) == expected


def test_a_delay_key_is_the_delay_in_binary() -> None:
    assert names.delay_key(timedelta(milliseconds=600), QUEUE) == f"{'0.' * 23}1.1.0.tq.a.b"
    assert names.DELAY_EXCHANGE == "taskqueue.delay.25"
    assert timedelta(days=77) < names.DELAY_MAX


@given(st.timedeltas(), st.timedeltas())
def test_a_longer_delay_is_never_a_shorter_one_on_the_ladder(
    one: timedelta, other: timedelta
) -> None:
    shorter, longer = sorted((one, other))
    assert units(shorter) <= units(longer)


@given(st.timedeltas(timedelta(), names.DELAY_MAX))
def test_nothing_comes_too_early_nor_more_than_a_unit_late(delay: timedelta) -> None:
    late = units(delay) * names.DELAY_UNIT - delay
    assert timedelta() <= late < names.DELAY_UNIT


def test_the_longest_routing_key_fits_amqp() -> None:
    key = names.delay_key(names.DELAY_MAX, names.work_queue(LONG_NAMESPACE, LONG_NAME))
    assert len(key.encode()) <= 255


def test_the_policy_of_dead_letters_matches_their_queue_and_no_other() -> None:
    pattern = re.compile(names.dead_letter_pattern("shop", "emails"))
    assert pattern.search(names.dead_letter_queue("shop", "emails"))
    assert not pattern.search(names.dead_letter_queue("shop", "emails2"))
    assert not pattern.search("x" + names.dead_letter_queue("shop", "emails"))
    assert not pattern.search(names.dead_letter_queue("shop", "emails").replace(".", "x"))
    assert not pattern.search(names.work_queue("shop", "emails"))
