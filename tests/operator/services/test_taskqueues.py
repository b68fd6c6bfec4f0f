"""A TaskQueue is reconciled whole: broker, credentials, workers, and its conditions say how."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pika.exceptions import ChannelClosedByBroker

from taskqueue_api.history import HistorySpec
from taskqueue_operator.domain.dispatching import OVERDUE
from taskqueue_operator.errors import (
    BrokerRefusedError,
    ClusterError,
    ClusterUnavailableError,
    NamespaceTerminatingError,
)
from taskqueue_operator.services.counts import EVERY_SECONDS
from tests.operator.builders import (
    KEY,
    NOW,
    build_secret,
    build_task,
    build_taskqueue,
)
from tests.operator.clock import settle
from tests.operator.services.reconciling import WORK, World

EARLIER = NOW - timedelta(minutes=10)


@pytest.fixture
def world(reconciling_world: World) -> World:
    return reconciling_world


async def test_everything_is_made_and_the_conditions_say_so(world: World) -> None:
    assert await world.reconcile() == {
        "Ready": ("False", "WorkersStarting"),
        "BrokerReady": ("True", "Declared"),
        "WorkersReady": ("False", "WorkersStarting"),
        "WorkerCredentials": ("True", "DedicatedUser"),
        "DeadLetterLimits": ("True", "QueueDefault"),
        "Priorities": ("False", "TwoLevels"),
    }
    assert set(world.rabbit.queues) == {
        "taskqueue.unrouted",
        WORK,
        "tqd.shop.emails",
        *(f"taskqueue.delay.{level:02}" for level in range(26)),
    }
    assert set(world.brokers.api.users) == {"tq.shop.emails.0b9f3c1e"}
    assert {(kind, name) for kind, _, name in world.cluster.objects} == {
        ("Secret", "rabbit"),
        ("TaskQueue", "emails"),
        ("Secret", "tq-emails-broker"),
        ("ServiceAccount", "tq-emails"),
        ("Role", "tq-emails"),
        ("RoleBinding", "tq-emails"),
        ("Deployment", "tq-emails"),
        ("PodDisruptionBudget", "tq-emails"),
    }


async def test_it_is_ready_when_its_workers_are(world: World) -> None:
    await world.reconcile()
    world.workers_ready()
    await asyncio.sleep(1)
    assert (await world.conditions())["Ready"] == ("True", "Ready")
    status = world.cluster.find("TaskQueue", "emails")["status"]
    assert status["workers"] == {
        "desired": 1,
        "replicas": 1,
        "ready": 1,
        "busy": 0,
        "selector": "app.kubernetes.io/name=taskqueue-worker,"
        "app.kubernetes.io/managed-by=taskqueue-operator,taskqueue.dev/queue=emails",
    }


async def test_no_workers_wanted_is_said_and_no_trouble(world: World) -> None:
    workers = {"handlers": {"python": {"module": "shop.tasks"}}, "replicas": 0}
    conditions = await world.reconcile(spec={"workers": workers})
    assert conditions["Ready"] == conditions["WorkersReady"] == ("True", "ScaledToZero")
    world.cluster.requests.clear()
    await asyncio.sleep(600)
    assert world.cluster.requests == []


async def test_a_second_reconcile_writes_nothing(world: World) -> None:
    await world.reconcile()
    world.workers_ready()
    await asyncio.sleep(1)
    await world.conditions()
    world.cluster.requests.clear()
    for _ in range(3):
        await world.queues.reconcile(KEY)
        await world.board.flush()
    assert {item.verb for item in world.cluster.requests} == {"get"}


async def test_waiting_tasks_are_published_once_the_queue_is_there(world: World) -> None:
    world.dispatcher.task_seen(world.cluster.add(build_task("a")), listed=False)
    await settle()
    assert world.rabbit.sent == []
    await world.reconcile()
    await settle()
    assert world.rabbit.uids == ["uid-a"]


async def test_what_the_operator_before_published_is_not_published_again(world: World) -> None:
    world.declare_as_before()
    world.rabbit.ready["tq.shop.emails"] = 1
    body = world.cluster.add(build_task("a", created=EARLIER))
    world.dispatcher.task_seen(body, listed=True)
    await world.reconcile(status={"dispatchedThrough": "2026-01-02T11:59:00Z"})
    await asyncio.sleep(60)
    assert world.rabbit.sent == []


async def test_a_first_attempt_that_is_nowhere_is_published_again(world: World) -> None:
    world.declare_as_before()
    world.dispatcher.task_seen(world.cluster.add(build_task("a")), listed=False)
    await world.reconcile()
    await settle()
    # A worker may hold it; that it is late is what counts.
    await world.queues.reconcile(KEY)
    await asyncio.sleep(60)
    assert [item.dispatches for item in world.rabbit.sent] == [1]
    world.now += OVERDUE + timedelta(seconds=1)
    await asyncio.sleep(OVERDUE.total_seconds() + 1)
    await world.queues.reconcile(KEY)
    await asyncio.sleep(60)
    assert [item.dispatches for item in world.rabbit.sent] == [1, 2]


async def test_what_a_wiped_broker_lost_while_no_operator_ran_is_published_again(
    world: World,
) -> None:
    # dispatchedThrough says that it was published; but the queue is not there any more.
    body = world.cluster.add(build_task("a", created=EARLIER))
    world.dispatcher.task_seen(body, listed=True)
    await world.reconcile(status={"dispatchedThrough": "2026-01-02T11:59:00Z"})
    await asyncio.sleep(60)
    assert [(item.uid, item.dispatches) for item in world.rabbit.sent] == [("uid-a", 2)]


async def test_what_a_wiped_broker_lost_is_published_again(world: World) -> None:
    await world.reconcile()
    world.dispatcher.task_seen(world.cluster.add(build_task("a")), listed=False)
    await settle()
    world.rabbit.queues.clear()
    await world.queues.reconcile(KEY)
    await asyncio.sleep(60)
    assert [item.dispatches for item in world.rabbit.sent] == [1, 2]


MISSING = {"broker": {"secretRef": {"name": "missing"}}}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        pytest.param(MISSING, "SecretNotFound", id="no such Secret"),
        pytest.param({"broker": {}}, "SecretNotFound", id="no default Secret"),
        pytest.param({"broker": {"secretRef": {"name": "bad"}}}, "SecretInvalid", id="bad Secret"),
    ],
)
async def test_a_wrong_secret_is_a_condition(
    world: World, spec: dict[str, Any], reason: str
) -> None:
    world.cluster.add(build_secret("bad", {"uri": "redis://h"}))
    conditions = await world.reconcile(spec=spec)
    assert conditions["Ready"] == conditions["BrokerReady"] == ("False", reason)
    assert conditions["WorkerCredentials"] == ("Unknown", "BrokerNotReady")


async def test_a_secret_that_may_not_be_read_is_a_condition(world: World) -> None:
    # Such as a default Secret outside the namespaces that the operator watches.
    world.cluster.faults["get"] = [ClusterError(403, "secrets is forbidden")]
    conditions = await world.reconcile()
    assert conditions["Ready"][0] == "False"
    message = world.cluster.find("TaskQueue", "emails")["status"]["conditions"][0]["message"]
    assert "secrets is forbidden" in message


async def test_a_broker_that_refuses_us_is_a_condition_and_its_tasks_are_held(
    world: World,
) -> None:
    world.link.lose(BrokerRefusedError("AuthenticationFailed", "refused user or password"))
    world.dispatcher.task_seen(world.cluster.add(build_task("a")), listed=False)
    conditions = await world.reconcile()
    assert conditions["Ready"] == ("False", "AuthenticationFailed")
    assert world.rabbit.sent == []


async def test_rabbitmq_s_own_words_reach_the_condition(world: World) -> None:
    words = "PRECONDITION_FAILED - inequivalent arg 'x-queue-type'"
    world.rabbit.queues[WORK] = {}
    world.rabbit.refuse["tqd.shop.emails"] = ChannelClosedByBroker(406, words)
    conditions = await world.reconcile()
    assert conditions["Ready"] == ("False", "DeclarationRefused")
    status = world.cluster.find("TaskQueue", "emails")["status"]
    assert words in status["conditions"][0]["message"]


async def test_a_refusal_by_the_api_server_is_a_condition(world: World) -> None:
    world.cluster.faults["apply"] = [ClusterError(403, "violates PodSecurity")]
    conditions = await world.reconcile()
    assert conditions["WorkersReady"] == ("False", "ApiServerRefused")


@pytest.mark.parametrize(
    "error",
    [ClusterUnavailableError(503, "away"), NamespaceTerminatingError(403, "ends")],
    ids=["away", "namespace ends"],
)
async def test_an_api_server_that_cannot_answer_changes_no_condition(
    world: World, error: ClusterError
) -> None:
    world.cluster.faults["apply"] = [error]
    assert await world.reconcile() == {}


async def test_what_failed_is_tried_again_by_itself(world: World) -> None:
    await world.reconcile(spec=MISSING)
    world.cluster.add(build_secret("missing"))
    await asyncio.sleep(5)
    assert (await world.conditions())["BrokerReady"] == ("True", "Declared")


async def test_a_lost_connection_holds_the_queue_and_has_it_looked_at(world: World) -> None:
    await world.reconcile()
    world.link.lose()
    world.queues.broker_changed([KEY], world.link)
    world.dispatcher.task_seen(world.cluster.add(build_task("a")), listed=False)
    await asyncio.sleep(10)
    assert (await world.conditions())["Ready"] == ("False", "BrokerUnreachable")
    world.link.fault = None
    world.link.connected.set()
    world.queues.broker_changed([KEY], world.link)
    await asyncio.sleep(10)
    assert world.rabbit.uids == ["uid-a"]


async def test_a_taskqueue_that_is_being_deleted_is_left_alone(world: World) -> None:
    await world.reconcile(metadata={"deletionTimestamp": "2026-01-02T12:00:00Z"})
    assert world.rabbit.queues == {}
    assert world.cluster.requests == []


async def test_an_error_of_our_own_is_a_condition_and_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.rabbit, "channel", lambda: 1 / 0)
    assert (await world.reconcile())["Ready"] == ("False", "InternalError")
    monkeypatch.undo()
    await asyncio.sleep(5)
    assert (await world.conditions())["Ready"] == ("False", "WorkersStarting")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, HistorySpec(), id="none"),
        pytest.param({"spec": {"history": {"limit": 3}}}, HistorySpec(limit=3), id="one"),
        pytest.param(
            {
                "spec": {"history": {"limit": 3}},
                "metadata": {"deletionTimestamp": "2026-01-02T12:00:00Z"},
            },
            None,
            id="being deleted",
        ),
    ],
)
async def test_a_taskqueue_has_its_history_until_it_is_deleted(
    world: World, changes: dict[str, Any], expected: HistorySpec | None
) -> None:
    assert world.queues.history_of(KEY) is None
    body = build_taskqueue(**changes)
    world.queues.seen(body)
    await settle()
    assert world.queues.history_of(KEY) == expected
    world.queues.gone(body)
    assert world.queues.history_of(KEY) is None


async def test_an_edit_has_the_tasks_listed_and_a_status_has_not(world: World) -> None:
    counting = asyncio.create_task(world.counts.run())
    world.queues.seen(build_taskqueue())
    await asyncio.sleep(EVERY_SECONDS + 1)
    world.queues.seen(build_taskqueue(status={"conditions": []}))
    await asyncio.sleep(EVERY_SECONDS + 1)
    assert world.cluster.count("table") == 1
    world.queues.seen(build_taskqueue(metadata={"generation": 2}))
    await asyncio.sleep(EVERY_SECONDS + 1)
    assert world.cluster.count("table") == 2
    counting.cancel()
