"""What is declared in RabbitMQ, by type of queue and version."""

import re
from datetime import timedelta
from typing import Any

import pytest

from taskqueue_api.crd import structural_schema
from taskqueue_api.durations import parse_duration
from taskqueue_api.names import work_queue
from taskqueue_api.taskqueue import TaskQueueSpec
from taskqueue_operator.domain.topology import (
    Binding,
    Exchange,
    Topology,
    build_topology,
    route,
)

QUORUM = {"x-queue-type": "quorum"}
CLASSIC = {"x-queue-type": "classic", "x-max-priority": 9}
TIMEOUT = {"x-consumer-timeout": 88_200_000}
BASE: dict[str, Any] = {
    "namespace": "shop",
    "name": "emails",
    "queue_type": "Quorum",
    "cluster": "c1",
    "version": (4, 0),
}


def build(**changes: Any) -> Topology:
    return build_topology(**(BASE | changes))


@pytest.mark.parametrize(
    ("queue_type", "version", "expected"),
    [
        pytest.param("Quorum", (3, 10), QUORUM, id="quorum, 3.10"),
        pytest.param("Quorum", (3, 12), QUORUM | TIMEOUT, id="quorum, 3.12"),
        pytest.param("Quorum", (3, 13), QUORUM | TIMEOUT, id="quorum, 3.13"),
        pytest.param("Quorum", (4, 0), QUORUM | TIMEOUT | {"x-delivery-limit": -1}, id="quorum, 4"),
        pytest.param("Quorum", (4, 2), QUORUM | TIMEOUT | {"x-delivery-limit": -1}, id="q, 4.2"),
        pytest.param("Classic", (3, 10), CLASSIC, id="classic, 3.10"),
        pytest.param("Classic", (4, 0), CLASSIC | TIMEOUT, id="classic, 4.0"),
        pytest.param("Quorum", (0, 0), QUORUM, id="unknown version"),
    ],
)
def test_the_work_queue_has_the_arguments_that_the_version_knows(
    queue_type: str, version: tuple[int, int], expected: dict[str, Any]
) -> None:
    assert build(queue_type=queue_type, version=version).work.arguments == expected


@pytest.mark.parametrize("queue_type", ["Quorum", "Classic"])
@pytest.mark.parametrize("version", [(3, 10), (4, 0)], ids=str)
def test_the_broker_never_drops_nor_moves_a_waiting_task(
    queue_type: str, version: tuple[int, int]
) -> None:
    arguments = build(queue_type=queue_type, version=version).work.arguments
    forbidden = {"x-max-length", "x-max-length-bytes", "x-message-ttl", "x-expires"}
    forbidden |= {"x-dead-letter-exchange", "x-overflow"}
    assert not forbidden & set(arguments)


def test_the_consumer_timeout_is_above_the_longest_timeout_that_the_schema_allows() -> None:
    timeout = structural_schema(TaskQueueSpec)["properties"]["timeout"]
    rule = timeout["x-kubernetes-validations"][1]["rule"]
    longest = re.search(r"<= duration\('(\w+)'\)", rule)
    assert longest
    consumer = timedelta(milliseconds=build().work.arguments["x-consumer-timeout"])
    assert consumer >= parse_duration(longest[1]) + timedelta(minutes=30)


def test_dead_letters_are_bounded_and_bound_by_their_own_name() -> None:
    queue = build().dead_letters
    assert queue.name == "tqd.shop.emails"
    assert queue.bindings == (Binding("taskqueue.dlx", "tqd.shop.emails"),)
    assert queue.arguments == {
        "x-queue-type": "quorum",
        "x-max-length": 100_000,
        "x-overflow": "drop-head",
        "x-delivery-limit": -1,
    }


@pytest.mark.parametrize(("queue_type", "version"), [("Quorum", (3, 13)), ("Classic", (4, 0))])
def test_dead_letters_have_no_delivery_limit_where_it_is_not_known(
    queue_type: str, version: tuple[int, int]
) -> None:
    arguments = build(queue_type=queue_type, version=version).dead_letters.arguments
    assert "x-delivery-limit" not in arguments


def test_the_work_queue_is_bound_by_its_own_name_and_to_the_foot_of_the_ladder() -> None:
    queue = build().work
    assert queue.name == "tq.shop.emails"
    assert queue.bindings == (
        Binding("taskqueue", "tq.shop.emails"),
        Binding("taskqueue.due", "#.tq.shop.emails"),
    )


def test_what_is_due_and_has_no_queue_is_put_aside_and_holds_up_nobody() -> None:
    topology = build()
    (unrouted,) = topology.shared
    due = next(exchange for exchange in topology.exchanges if exchange.name == "taskqueue.due")
    alternate = next(
        exchange
        for exchange in topology.exchanges
        if exchange.name == due.arguments["alternate-exchange"]
    )
    # Whatever the key: a fanout.
    assert alternate.type == "fanout"
    assert alternate.name in {binding.exchange for binding in unrouted.bindings}


@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        pytest.param(timedelta(), Binding("taskqueue", "tq.a.b"), id="at once"),
        pytest.param(timedelta(seconds=-1), Binding("taskqueue", "tq.a.b"), id="overdue"),
        pytest.param(
            timedelta(microseconds=1),
            Binding("taskqueue.delay.25", f"{'0.' * 25}1.tq.a.b"),
            id="the shortest delay",
        ),
        pytest.param(
            timedelta(milliseconds=500),
            Binding("taskqueue.delay.25", f"{'0.' * 23}1.0.1.tq.a.b"),
            id="half a second",
        ),
    ],
)
def test_a_delay_leads_over_the_ladder(delay: timedelta, expected: Binding) -> None:
    assert route(work_queue("a", "b"), delay) == expected


def test_exchanges_come_first_and_are_of_their_type() -> None:
    topology = build()
    assert topology.exchanges == (
        Exchange("taskqueue", "direct"),
        Exchange("taskqueue.dlx", "topic"),
        Exchange("taskqueue.unrouted", "fanout"),
        Exchange("taskqueue.due", "topic", {"alternate-exchange": "taskqueue.unrouted"}),
        Exchange("taskqueue.control", "topic"),
    )
    known = {exchange.name for exchange in topology.exchanges}
    bound = {binding.exchange for queue in topology.all_queues for binding in queue.bindings}
    assert bound <= known


def test_the_vhost_is_claimed_before_a_queue_of_ours_is_declared() -> None:
    # A second cluster is refused at the first queue, and so declares no other.
    names = [queue.name for queue in build().all_queues]
    assert names == ["taskqueue.unrouted", "tqd.shop.emails", "tq.shop.emails"]


def test_another_cluster_asks_for_other_arguments_of_the_shared_queue() -> None:
    (ours,) = build().shared
    (theirs,) = build(cluster="c2").shared
    assert ours.name == theirs.name
    assert ours.arguments != theirs.arguments
    assert ours.arguments["x-max-length"] == 10_000
    (other_queue,) = build(name="other", queue_type="Classic", version=(3, 10)).shared
    assert other_queue == ours
