"""Deleting a TaskQueue: what its policy says, and never without an end."""

from typing import Any

import pytest
from pika.exceptions import ChannelClosedByBroker

from taskqueue_operator.errors import (
    BrokerRefusedError,
    ClusterError,
    ClusterUnavailableError,
    ManagementUnavailableError,
    OperatorError,
)
from taskqueue_operator.services.teardown import (
    PATIENCE_SECONDS,
    NotYetError,
)
from tests.operator.builders import (
    KEY,
    build_task,
)
from tests.operator.services.tearing_down import AWAY, DEAD, USER, WORK, World


@pytest.fixture
async def world() -> World:
    return World()


@pytest.mark.parametrize("policy", ["Delete", "DeleteIfEmpty", "Retain", "Later"])
async def test_tokens_of_limits_go_whatever_the_policy(world: World, policy: str) -> None:
    rate = "tql.shop.emails.rate.9.1000"
    for queue in (rate, f"{rate}.cooling", "tql.shop.other.running.1"):
        world.rabbit.queues[queue], world.rabbit.ready[queue] = {}, 1
    await world.board.keep_token_queues(KEY, {rate: "Whole"})
    await world.run(policy)
    left = {queue for queue in world.rabbit.queues if queue.startswith("tql.")}
    assert left == {"tql.shop.other.running.1"}


@pytest.mark.parametrize(
    ("policy", "ready", "left", "told"),
    [
        pytest.param("Delete", {}, set(), [], id="Delete, empty"),
        pytest.param("Delete", {WORK: 5, DEAD: 5}, set(), [], id="Delete, with messages"),
        pytest.param("DeleteIfEmpty", {}, set(), [], id="DeleteIfEmpty, empty"),
        pytest.param(
            "DeleteIfEmpty", {WORK: 5}, {WORK}, ["QueueKept"], id="DeleteIfEmpty, work left"
        ),
        pytest.param(
            "DeleteIfEmpty", {DEAD: 1}, {DEAD}, ["QueueKept"], id="DeleteIfEmpty, dead letters"
        ),
        pytest.param(
            "DeleteIfEmpty",
            {WORK: 1, DEAD: 1},
            {WORK, DEAD},
            ["QueueKept", "QueueKept"],
            id="DeleteIfEmpty, both",
        ),
        pytest.param("Retain", {}, {WORK, DEAD}, [], id="Retain, empty"),
        pytest.param("Retain", {WORK: 5}, {WORK, DEAD}, [], id="Retain, with messages"),
    ],
)
async def test_the_policy_decides_about_queues(
    world: World, policy: str, ready: dict[str, int], left: set[str], told: list[str]
) -> None:
    world.rabbit.ready = ready
    await world.run(policy)
    assert world.left == left
    assert world.told == told
    assert set(world.brokers.api.users) == {"other"}
    assert {"taskqueue.unrouted", "tq.shop.other"} <= set(world.rabbit.queues)


async def test_a_kept_queue_is_named_with_what_it_holds(world: World) -> None:
    world.rabbit.ready = {WORK: 5}
    await world.run()
    assert "queue 'tq.shop.emails' holds 5 messages, so it was kept" in world.cluster.events[0][2]


async def test_workers_are_stopped_and_nothing_more_is_published(world: World) -> None:
    world.dispatcher.task_seen(build_task(), listed=False)
    await world.run()
    assert world.cluster.count("delete", "Deployment") == 1
    assert ("Deployment", "shop", "tq-emails") not in world.cluster.objects
    assert world.rabbit.sent == []


@pytest.mark.parametrize(
    "error",
    [None, ClusterError(403, "forbidden"), ClusterUnavailableError(503, "away")],
    ids=["gone already", "forbidden", "away"],
)
async def test_workers_that_cannot_be_stopped_stop_nothing(
    world: World, error: ClusterError | None
) -> None:
    if error:
        world.cluster.faults["delete"] = [error]
    else:
        del world.cluster.objects["Deployment", "shop", "tq-emails"]
    await world.run()
    assert world.left == set()


async def test_workers_that_still_consume_are_waited_for_a_minute(world: World) -> None:
    world.rabbit.consumers = {WORK: 2}
    with pytest.raises(NotYetError, match="2 workers still consume"):
        await world.run()
    with pytest.raises(NotYetError):
        await world.run(after=PATIENCE_SECONDS - 1)
    assert world.left == {WORK, DEAD}
    await world.run(after=PATIENCE_SECONDS)
    assert world.left == {WORK}
    assert world.told == ["QueueKept"]


async def test_a_queue_that_says_it_is_empty_is_asked_for_a_message(world: World) -> None:
    """A quorum queue that has no leader yet, or is slow, answers 0."""
    world.rabbit.ready = {WORK: 5}
    world.rabbit.lagging.add(WORK)
    await world.run()
    assert world.left == {WORK}
    assert world.rabbit.ready[WORK] == 5
    assert "queue 'tq.shop.emails' holds 5 messages" in world.cluster.events[0][2]
    assert [link.closed for link in world.brokers.apart] == [True, True]


async def test_a_queue_without_a_leader_is_left_with_its_messages(world: World) -> None:
    world.rabbit.ready = {WORK: 5}
    world.rabbit.lagging.add(WORK)
    world.rabbit.silent.add(WORK)
    with pytest.raises(NotYetError, match="did not answer within 10 s"):
        await world.run()
    await world.run(after=PATIENCE_SECONDS)
    assert world.left == {WORK, DEAD}
    assert world.told == ["BrokerObjectsLeft"]
    assert all(link.closed for link in world.brokers.apart)


async def test_delete_waits_for_nobody(world: World) -> None:
    world.rabbit.consumers = {WORK: 2}
    await world.run("Delete")
    assert world.left == set()


async def test_queues_that_are_gone_already_are_fine(world: World) -> None:
    world.rabbit.queues.clear()
    world.brokers.api.users.clear()
    await world.run()
    assert world.told == []


def break_link(world: World, error: Any) -> None:
    world.brokers.link.lose(error)


def break_channel(world: World, error: Any) -> None:
    world.rabbit.refuse[WORK] = error


def break_cluster(world: World, error: Any) -> None:
    world.cluster.faults["get"] = [error] * 3


@pytest.mark.parametrize(
    ("how", "error"),
    [
        pytest.param(break_link, AWAY, id="the broker is away"),
        pytest.param(
            break_link,
            BrokerRefusedError("AuthenticationFailed", "cannot be reached"),
            id="the broker refuses us",
        ),
        pytest.param(
            break_channel,
            ChannelClosedByBroker(403, "cannot be reached"),
            id="permission denied",
        ),
        pytest.param(
            break_cluster,
            ClusterUnavailableError(503, "cannot be reached"),
            id="the API server is away",
        ),
    ],
)
async def test_what_is_away_is_waited_for_a_minute_and_then_left(
    world: World, how: Any, error: OperatorError
) -> None:
    how(world, error)
    with pytest.raises(NotYetError, match="cannot be reached"):
        await world.run()
    with pytest.raises(NotYetError):
        await world.run(after=PATIENCE_SECONDS - 1)
    assert world.told == []
    await world.run(after=PATIENCE_SECONDS)
    assert world.told == ["BrokerObjectsLeft"]
    message = world.cluster.events[0][2]
    assert WORK in message
    assert DEAD in message
    assert "cannot be reached" in message


async def test_a_user_that_cannot_be_deleted_is_waited_for_and_then_left(world: World) -> None:
    world.brokers.api.error = ManagementUnavailableError("cannot be reached")
    with pytest.raises(NotYetError, match="cannot be reached"):
        await world.run()
    await world.run(after=PATIENCE_SECONDS)
    assert world.left == set()
    assert world.told == ["BrokerObjectsLeft"]
    assert (
        f"user '{USER}' or the limits of dead letters could not be deleted"
        in world.cluster.events[0][2]
    )


@pytest.mark.parametrize("policy", ["Delete", "DeleteIfEmpty", "Retain"])
async def test_the_limits_of_dead_letters_go_with_it(world: World, policy: str) -> None:
    world.brokers.api.policies = {DEAD: {}, "tqd.shop.other": {}}
    await world.run(policy)
    assert set(world.brokers.api.policies) == {"tqd.shop.other"}


async def test_workers_that_shared_a_secret_have_no_user_to_delete(world: World) -> None:
    world.brokers.api.error = ManagementUnavailableError("cannot be reached")
    shared = {"type": "WorkerCredentials", "status": "False", "reason": "SharedSecret"}
    await world.run(status={"conditions": [shared]})
    assert world.told == []
    assert world.left == set()


async def test_a_secret_that_is_gone_ends_it_at_once(world: World) -> None:
    del world.cluster.objects["Secret", "shop", "rabbit"]
    await world.run()
    assert world.told == ["BrokerObjectsLeft"]
    assert world.left == {WORK, DEAD}


async def test_what_deletion_does_not_need_may_be_of_a_later_version(world: World) -> None:
    await world.run(spec={"queue": {"type": "Stream"}, "workers": {"claim": "Never"}})
    assert world.left == set()
    assert world.told == []


async def test_queues_with_a_policy_of_a_later_version_are_left(world: World) -> None:
    await world.run("Archive")
    assert world.left == {WORK, DEAD}
    assert set(world.brokers.api.users) == {"other"}
    assert world.told == ["BrokerObjectsLeft"]
    message = world.cluster.events[0][2]
    assert WORK in message
    assert DEAD in message
    assert "does not know spec.deletionPolicy 'Archive'" in message


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        pytest.param({"broker": {"secretRef": "rabbit"}}, "spec.broker.secretRef", id="broker"),
        pytest.param({"deletionPolicy": {"after": "1h"}}, "spec.deletionPolicy", id="policy"),
    ],
)
async def test_what_cannot_be_read_ends_it_at_once(
    world: World, spec: dict[str, Any], field: str
) -> None:
    await world.run(spec=spec)
    assert world.left == {WORK, DEAD}
    assert world.told == ["BrokerObjectsLeft"]
    assert f"does not know {field}: " in world.cluster.events[0][2]


async def test_a_fault_of_our_own_does_not_keep_the_taskqueue_for_ever(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.cluster.faults["delete"] = [RuntimeError("boom")] * 2  # type: ignore[list-item]
    with pytest.raises(NotYetError, match="boom"):
        await world.run()
    await world.run(after=PATIENCE_SECONDS)
    assert world.told == ["BrokerObjectsLeft"]
    assert "RuntimeError: boom" in caplog.text


async def test_without_the_secret_an_open_connection_does(world: World) -> None:
    del world.cluster.objects["Secret", "shop", "rabbit"]
    world.brokers.used.add(KEY)
    await world.run()
    assert world.left == set()
    assert world.told == []


async def test_an_event_that_cannot_be_posted_does_not_keep_the_taskqueue(world: World) -> None:
    world.cluster.faults["event"] = [ClusterError(403, "forbidden")]
    world.rabbit.ready = {WORK: 1}
    await world.run()
    assert world.told == []


async def test_what_broke_off_half_way_is_finished_by_the_next_try(world: World) -> None:
    world.rabbit.refuse[DEAD] = ChannelClosedByBroker(405, "RESOURCE_LOCKED")
    with pytest.raises(NotYetError, match="RESOURCE_LOCKED"):
        await world.run()
    assert world.left == {DEAD}
    world.rabbit.refuse.clear()
    await world.run()
    assert world.left == set()
    assert set(world.brokers.api.users) == {"other"}


async def test_without_the_lease_it_is_left_to_the_next_operator_however_late(
    world: World,
) -> None:
    """Else the finalizer would go, and queues and user stay for ever."""
    world.cluster.may_write = lambda: False
    world.brokers.link.lose()
    with pytest.raises(NotYetError, match="the lease of this operator is over"):
        await world.run("Delete", after=PATIENCE_SECONDS)
    assert world.left == {WORK, DEAD}
