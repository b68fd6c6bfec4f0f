"""What a TaskQueue owns is kept as it should be, and nobody else's is touched."""

import asyncio
import copy

import pytest

from taskqueue_operator.errors import ManagementUnavailableError, NamespaceTerminatingError
from taskqueue_operator.services.brokers import SECRET_SECONDS
from tests.operator.builders import KEY, build_secret
from tests.operator.services.reconciling import World


@pytest.fixture
def world(reconciling_world: World) -> World:
    return reconciling_world


async def test_a_broker_that_is_away_does_not_roll_the_workers(world: World) -> None:
    await world.reconcile()
    world.workers_ready()
    before = world.secret_version
    generation = world.deployment["metadata"]["generation"]
    world.link.lose()
    conditions = await world.reconcile()
    assert conditions["Ready"] == ("False", "BrokerUnreachable")
    assert world.secret_version == before
    assert world.deployment["metadata"]["generation"] == generation


async def test_a_new_password_rolls_the_workers(world: World) -> None:
    world.brokers.api.error = ManagementUnavailableError("away")
    conditions = await world.reconcile()
    assert conditions["WorkerCredentials"] == ("False", "SharedSecret")
    before = world.secret_version
    world.cluster.add(build_secret(data={"uri": "amqp://admin:new@rabbit.shop.svc"}))
    await asyncio.sleep(SECRET_SECONDS)
    await world.reconcile()
    assert world.secret_version != before


async def test_a_name_that_is_taken_is_a_condition(world: World) -> None:
    world.cluster.add(
        {"kind": "Deployment", "metadata": {"name": "tq-emails", "namespace": "shop", "uid": "x"}}
    )
    conditions = await world.reconcile()
    assert conditions["WorkersReady"] == ("False", "NameTaken")


@pytest.mark.parametrize("kind", ["Deployment", "ServiceAccount", "Role", "RoleBinding"])
async def test_a_child_that_somebody_deleted_comes_back(world: World, kind: str) -> None:
    await world.reconcile()
    world.workers_ready()
    await asyncio.sleep(1)
    body = world.cluster.objects.pop((kind, "shop", "tq-emails"))
    world.queues.child_seen(body, deleted=True)
    await asyncio.sleep(1)
    assert (kind, "shop", "tq-emails") in world.cluster.objects


async def test_a_deployment_that_somebody_changed_is_put_right(world: World) -> None:
    await world.reconcile()
    body = world.deployment
    body["spec"]["replicas"] = 9
    body["metadata"]["generation"] += 1
    world.queues.child_seen(copy.deepcopy(body), deleted=False)
    await asyncio.sleep(1)
    assert world.deployment["spec"]["replicas"] == 1


async def test_a_secret_that_somebody_changed_is_put_right_at_the_next_resync(
    world: World,
) -> None:
    await world.reconcile()
    right = copy.deepcopy(world.cluster.find("Secret", "tq-emails-broker")["data"])
    secret = world.cluster.find("Secret", "tq-emails-broker")
    secret["data"]["extra"] = "eA=="
    secret["metadata"]["resourceVersion"] = "999"
    await world.queues.reconcile(KEY)
    assert world.cluster.find("Secret", "tq-emails-broker")["data"] == right


async def test_a_child_of_nobody_disturbs_nobody(world: World) -> None:
    body = {"kind": "Role", "metadata": {"name": "x", "namespace": "shop", "uid": "u"}}
    body["metadata"] |= {"resourceVersion": "1"}  # type: ignore[operator] # a dict
    world.queues.child_seen(body, deleted=False)
    await asyncio.sleep(1)
    assert world.cluster.requests == []


async def test_a_deletion_that_was_missed_is_repaired_by_verifying(world: World) -> None:
    await world.reconcile()
    del world.cluster.objects["Role", "shop", "tq-emails"]
    await world.queues.reconcile(KEY)
    assert ("Role", "shop", "tq-emails") not in world.cluster.objects
    await world.queues.verify(KEY)
    assert ("Role", "shop", "tq-emails") in world.cluster.objects


async def test_in_a_namespace_that_is_deleted_nothing_is_repaired_nor_tried_again(
    world: World,
) -> None:
    await world.reconcile()
    gone = world.cluster.objects.pop(("Role", "shop", "tq-emails"))
    world.cluster.faults["apply"] = [NamespaceTerminatingError(403, "ends")]
    world.queues.child_seen(gone, deleted=True)
    await asyncio.sleep(1)
    assert world.cluster.faults["apply"] == []
    world.cluster.requests.clear()
    world.queues.child_seen(
        world.cluster.objects.pop(("Deployment", "shop", "tq-emails")), deleted=True
    )
    await asyncio.sleep(600)
    assert world.cluster.requests == []


async def test_a_taskqueue_made_anew_after_its_namespace_is_reconciled(world: World) -> None:
    world.cluster.faults["apply"] = [NamespaceTerminatingError(403, "ends")]
    assert await world.reconcile() == {}
    world.queues.gone(world.cluster.find("TaskQueue", "emails"))
    assert "Ready" in await world.reconcile(metadata={"uid": "another"})


async def test_a_copy_of_an_owned_object_is_nobodys_business(world: World) -> None:
    await world.reconcile()
    copied = copy.deepcopy(world.deployment)
    copied["metadata"] |= {"name": "copy", "uid": "copy"}
    world.cluster.requests.clear()
    world.queues.child_seen(copied, deleted=False)
    await asyncio.sleep(0.5)
    assert world.cluster.requests == []
