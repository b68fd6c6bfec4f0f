"""Owned objects are applied when something differs, and only then."""

import asyncio
import copy
from typing import Any

import pytest

from taskqueue_operator.domain.workers import Owner, build_broker_secret, build_deployment
from taskqueue_operator.errors import ClusterError, ConfigurationError
from taskqueue_operator.services.children import Children
from tests.operator.builders import DEFAULTS, NAMESPACE, OWNER, build_spec
from tests.operator.clock import settle
from tests.operator.fakes import FakeCluster


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def children(cluster: FakeCluster) -> Children:
    return Children(cluster)


def deployment(replicas: int = 1, owner: Owner = OWNER) -> dict[str, Any]:
    return build_deployment(owner, build_spec(), DEFAULTS, "hash", replicas)


def secret(uri: str = "amqp://u:p@h") -> dict[str, Any]:
    return build_broker_secret(OWNER, uri, None)


async def test_the_same_manifest_is_applied_once(cluster: FakeCluster, children: Children) -> None:
    await children.apply(OWNER, [deployment(), secret()])
    await children.apply(OWNER, [deployment(), secret()])
    assert cluster.count("apply") == 2


async def test_a_changed_manifest_is_applied_alone(
    cluster: FakeCluster, children: Children
) -> None:
    await children.apply(OWNER, [deployment(), secret()])
    await children.apply(OWNER, [deployment(replicas=2), secret()])
    assert [item.kind for item in cluster.requests if item.verb == "apply"] == [
        "Deployment",
        "Secret",
        "Deployment",
    ]
    assert cluster.find("Deployment", "tq-emails")["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    ("change", "drifted"),
    [
        pytest.param({}, False, id="nothing"),
        pytest.param({"resourceVersion": "99"}, False, id="its status"),
        pytest.param({"generation": 99}, True, id="its spec"),
        pytest.param({"uid": "another"}, True, id="another of that name"),
    ],
)
async def test_a_deployment_drifts_with_its_spec_and_not_its_status(
    cluster: FakeCluster, children: Children, change: dict[str, Any], drifted: bool
) -> None:
    await children.apply(OWNER, [deployment()])
    body = copy.deepcopy(cluster.find("Deployment", "tq-emails"))
    body["metadata"] |= change
    assert children.observe(body, deleted=False) is drifted
    await children.apply(OWNER, [deployment()])
    assert cluster.count("apply") == (2 if drifted else 1)


async def test_an_object_without_generation_drifts_with_any_change(
    cluster: FakeCluster, children: Children
) -> None:
    await children.apply(OWNER, [secret()])
    body = copy.deepcopy(cluster.find("Secret", "tq-emails-broker"))
    assert not children.observe(body, deleted=False)
    body["metadata"]["resourceVersion"] = "99"
    assert children.observe(body, deleted=False)


async def test_a_deleted_object_is_applied_again(cluster: FakeCluster, children: Children) -> None:
    await children.apply(OWNER, [deployment()])
    body = cluster.find("Deployment", "tq-emails")
    cluster.objects.clear()
    assert children.observe(body, deleted=True)
    await children.apply(OWNER, [deployment()])
    assert cluster.count("apply") == 2


async def test_an_object_that_we_never_applied_is_no_drift(
    cluster: FakeCluster, children: Children
) -> None:
    body = await cluster.apply(deployment())
    assert not children.observe(body, deleted=False)
    assert children.observe(body, deleted=True)


async def test_an_object_of_our_own_from_before_is_taken_over(cluster: FakeCluster) -> None:
    await Children(cluster).apply(OWNER, [deployment()])
    await Children(cluster).apply(OWNER, [deployment(replicas=3)])
    assert cluster.find("Deployment", "tq-emails")["spec"]["replicas"] == 3


@pytest.mark.parametrize(
    "references",
    [
        pytest.param(None, id="nobody's"),
        pytest.param([], id="nobody's any more"),
        pytest.param([{"uid": "x", "name": "another"}], id="somebody else's"),
    ],
)
async def test_somebody_elses_object_is_left_alone(
    cluster: FakeCluster, children: Children, references: list[Any] | None
) -> None:
    metadata: dict[str, Any] = {"name": "tq-emails", "namespace": NAMESPACE, "uid": "theirs"}
    if references is not None:
        metadata["ownerReferences"] = references
    cluster.add({"kind": "Deployment", "metadata": metadata})
    with pytest.raises(ConfigurationError, match="Deployment 'tq-emails' exists already") as caught:
        await children.apply(OWNER, [deployment()])
    assert caught.value.reason == "NameTaken"
    assert cluster.count("apply") == 0


async def test_what_a_deleted_namesake_left_is_waited_for(
    cluster: FakeCluster, children: Children
) -> None:
    namesake = Owner(NAMESPACE, OWNER.name, "the TaskQueue before")
    cluster.add(deployment(owner=namesake))
    with pytest.raises(ConfigurationError, match="goes by itself") as caught:
        await children.apply(OWNER, [deployment()])
    assert caught.value.reason == "StillBeingDeleted"
    cluster.objects.clear()
    await children.apply(OWNER, [deployment()])
    assert cluster.count("apply") == 1


async def test_a_deletion_that_was_missed_is_found_by_looking(
    cluster: FakeCluster, children: Children
) -> None:
    await children.apply(OWNER, [deployment(), secret()])
    del cluster.objects["Deployment", "shop", "tq-emails"]
    await children.verify(OWNER)
    await children.apply(OWNER, [deployment(), secret()])
    assert [item.kind for item in cluster.requests if item.verb == "apply"] == [
        "Deployment",
        "Secret",
        "Deployment",
    ]


async def test_one_that_is_deleted_while_another_is_looked_at_is_not_looked_at(
    cluster: FakeCluster, children: Children
) -> None:
    await children.apply(OWNER, [deployment(), secret()])
    cluster.requests.clear()
    gate = cluster.gates["get"] = asyncio.Event()
    looking = asyncio.create_task(children.verify(OWNER))
    await settle()
    assert children.observe(cluster.find("Secret", "tq-emails-broker"), deleted=True)
    gate.set()
    await looking
    assert [item.kind for item in cluster.requests] == ["Deployment"]


async def test_what_could_not_be_applied_is_tried_again(
    cluster: FakeCluster, children: Children
) -> None:
    cluster.faults["apply"] = [ClusterError(403, "forbidden")]
    with pytest.raises(ClusterError):
        await children.apply(OWNER, [deployment()])
    await children.apply(OWNER, [deployment()])
    assert cluster.count("apply") == 2


async def test_an_unwatched_object_that_drifted_is_applied_again(
    cluster: FakeCluster, children: Children
) -> None:
    name = "tq-emails-broker"
    children.read(OWNER, "Secret", name, None)
    await children.apply(OWNER, [secret()])
    children.read(OWNER, "Secret", name, cluster.find("Secret", name))
    await children.apply(OWNER, [secret()])
    assert cluster.count("apply") == 1
    cluster.find("Secret", name)["metadata"]["resourceVersion"] = "99"
    children.read(OWNER, "Secret", name, cluster.find("Secret", name))
    await children.apply(OWNER, [secret()])
    assert cluster.count("apply") == 2
    cluster.objects.clear()
    children.read(OWNER, "Secret", name, None)
    await children.apply(OWNER, [secret()])
    assert cluster.count("apply") == 3


async def test_forgetting_one_taskqueue_leaves_its_namesakes(
    cluster: FakeCluster, children: Children
) -> None:
    longer = Owner(NAMESPACE, "emails-2", "uid-2")
    elsewhere = Owner("elsewhere", "emails", "uid-3")
    await children.apply(OWNER, [deployment(), secret()])
    await children.apply(longer, [deployment(owner=longer)])
    await children.apply(elsewhere, [deployment(owner=elsewhere)])
    children.forget(OWNER)
    await children.apply(longer, [deployment(owner=longer)])
    await children.apply(elsewhere, [deployment(owner=elsewhere)])
    assert cluster.count("apply") == 4
    await children.apply(OWNER, [deployment(), secret()])
    assert cluster.count("apply") == 6
