"""Workers get a RabbitMQ user of their own, and never somebody else's credentials."""

import base64
import hashlib
from dataclasses import replace

import pytest

from taskqueue_operator.domain.workers import build_broker_secret
from taskqueue_operator.errors import (
    ClusterUnavailableError,
    ManagementRefusedError,
    ManagementUnavailableError,
)
from taskqueue_operator.services.brokers import BrokerChoice
from taskqueue_operator.services.credentials import Credentials, WorkerCredentials
from tests.operator.builders import ADDRESS, OWNER, build_secret
from tests.operator.fakes import FakeCluster
from tests.operator.rabbit import FakeLink, FakeRabbit
from tests.operator.services.brokers import FakeBrokers

USER = "tq.shop.emails.0b9f3c1e"
OWN = BrokerChoice(ADDRESS, own=True)
FOREIGN = BrokerChoice(ADDRESS, own=False)
AWAY = ManagementUnavailableError("cannot be reached")
REFUSED = ManagementRefusedError("not an administrator")


class World:
    """Credentials of one TaskQueue."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.brokers = FakeBrokers(self.cluster, FakeLink(FakeRabbit()))
        self.credentials = Credentials(self.cluster, self.brokers)

    async def ensure(self, choice: BrokerChoice = OWN) -> WorkerCredentials:
        """Ensure them, and hand them out as the operator does."""
        found = await self.credentials.ensure(OWNER, choice)
        if found.address:
            self.cluster.add(build_broker_secret(OWNER, found.address.uri, None))
        return found


@pytest.fixture
async def world() -> World:
    return World()


def accepts(stored: str, password: str) -> bool:
    raw = base64.b64decode(stored)
    return hashlib.sha256(raw[:4] + password.encode()).digest() == raw[4:]


@pytest.mark.parametrize("choice", [OWN, FOREIGN], ids=["own Secret", "foreign Secret"])
async def test_workers_get_a_user_of_their_own(world: World, choice: BrokerChoice) -> None:
    address, finding, _ = await world.ensure(choice)
    assert finding[:2] == ("True", "DedicatedUser")
    assert address
    assert address.username == USER
    assert address.password != ADDRESS.password
    assert len(address.password) >= 32
    assert replace(address, username="admin", password="top secret") == ADDRESS
    stored, permissions, topics = world.brokers.api.users[USER]
    assert accepts(stored, address.password)
    assert permissions == {
        "configure": r"^tqc\.shop\.emails\.[0-9a-f]+$",
        "write": r"^(taskqueue\.dlx|taskqueue\.delay\.25|tqc\.shop\.emails\.[0-9a-f]+)$",
        "read": r"^(tq\.shop\.emails|taskqueue\.control|tqc\.shop\.emails\.[0-9a-f]+"
        r"|tql\.shop\.emails\.(running\.[0-9]+|rate\.[0-9]+\.[0-9]+))$",
    }
    assert topics == [
        {
            "exchange": "taskqueue.dlx",
            "write": r"^(tqd\.shop\.emails|unrouted)$",
            "read": "^$",
        },
        {
            "exchange": "taskqueue.delay.25",
            "write": r"^([01]\.){26}tq\.shop\.emails$",
            "read": "^$",
        },
        {"exchange": "taskqueue.control", "write": "^$", "read": r"^tq\.shop\.emails$"},
    ]


async def test_a_password_is_kept(world: World) -> None:
    first = await world.ensure()
    assert (await world.ensure())[:2] == first[:2]
    world.brokers.api.users.clear()
    assert (await world.ensure())[:2] == first[:2]
    assert accepts(world.brokers.api.users[USER][0], (first.address or ADDRESS).password)


async def test_two_taskqueues_have_two_passwords(world: World) -> None:
    first = await world.ensure()
    world.cluster.objects.clear()
    second = await world.ensure()
    assert first.address
    assert second.address
    assert first.address.password != second.address.password


@pytest.mark.parametrize(
    ("uri", "owner"),
    [
        pytest.param("amqp://someone:theirs@h", OWNER.uid, id="another user's"),
        pytest.param(f"amqp://{USER}:theirs@h", "another", id="another TaskQueue's"),
        pytest.param(f"amqp://{USER}:theirs@h", None, id="nobody's"),
        pytest.param("amqp://[", OWNER.uid, id="no address"),
        pytest.param(f"amqp://{USER}:@h", OWNER.uid, id="empty"),
    ],
)
async def test_a_password_that_is_not_ours_is_not_kept(
    world: World, uri: str, owner: str | None
) -> None:
    world.cluster.add(build_secret("tq-emails-broker", {"uri": uri}, owner=owner))
    address, _, _ = await world.credentials.ensure(OWNER, OWN)
    assert address
    assert address.password not in ("theirs", "")


async def test_without_management_workers_share_a_secret_of_their_own_namespace(
    world: World,
) -> None:
    world.brokers.api.error = AWAY
    address, finding, _ = await world.ensure(OWN)
    assert address == ADDRESS
    assert finding[:2] == ("False", "SharedSecret")
    assert "cannot be reached" in finding.message


@pytest.mark.parametrize(
    ("choice", "error", "reason"),
    [
        pytest.param(FOREIGN, AWAY, "ManagementUnavailable", id="foreign, away"),
        pytest.param(FOREIGN, REFUSED, "ManagementRefused", id="foreign, refused"),
        pytest.param(OWN, REFUSED, "ManagementRefused", id="own, but it answered no"),
    ],
)
async def test_without_management_workers_get_nothing_else(
    world: World, choice: BrokerChoice, error: ManagementRefusedError, reason: str
) -> None:
    world.brokers.api.error = error
    address, finding, _ = await world.ensure(choice)
    assert address is None
    assert finding[:2] == ("False", reason)
    assert str(error) in finding.message
    assert "top secret" not in finding.message


@pytest.mark.parametrize("error", [AWAY, REFUSED], ids=["away", "refused"])
@pytest.mark.parametrize("choice", [OWN, FOREIGN], ids=["own Secret", "foreign Secret"])
async def test_without_management_workers_keep_the_user_that_they_have(
    world: World, choice: BrokerChoice, error: ManagementUnavailableError
) -> None:
    first = await world.ensure(choice)
    world.brokers.api.error = error
    address, finding, _ = await world.ensure(choice)
    assert address == first.address
    assert finding[:2] == ("Unknown", "ManagementUnavailable")


async def test_workers_that_share_a_secret_get_their_own_user_once_there_is_management(
    world: World,
) -> None:
    world.brokers.api.error = AWAY
    await world.ensure(OWN)
    world.brokers.api.error = None
    address, finding, _ = await world.ensure(OWN)
    assert address
    assert address.username == USER
    assert finding.reason == "DedicatedUser"


async def test_a_silent_api_server_changes_no_password(world: World) -> None:
    await world.ensure()
    users = dict(world.brokers.api.users)
    world.cluster.faults["get"] = [ClusterUnavailableError(503, "away")]
    with pytest.raises(ClusterUnavailableError):
        await world.ensure()
    assert world.brokers.api.users == users


async def test_the_user_is_deleted_with_its_taskqueue(world: World) -> None:
    await world.ensure()
    await world.credentials.remove(OWNER, ADDRESS)
    assert world.brokers.api.users == {}
