"""Which broker a TaskQueue uses; connections are shared, and closed when nobody needs them."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from taskqueue_api.taskqueue import BrokerSpec
from taskqueue_operator.broker.management import Management
from taskqueue_operator.domain.broker_address import BrokerAddress
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.errors import (
    ClusterError,
    ConfigurationError,
    ManagementRefusedError,
    ManagementUnavailableError,
)
from taskqueue_operator.services.brokers import MANAGEMENT_PAUSE_SECONDS, SECRET_SECONDS, Brokers
from taskqueue_operator.settings import SecretKey
from tests.operator.builders import ADDRESS, KEY, build_rng, build_secret
from tests.operator.clock import settle
from tests.operator.fakes import FakeCluster
from tests.operator.rabbit import FakeLink, FakeRabbit

OTHER = QueueKey("shop", "other")
NEW = replace(ADDRESS, password="new")
OWN = BrokerSpec.model_validate({"secretRef": {"name": "rabbit"}, "vhost": "jobs"})


class WatchedLink(FakeLink):
    """A connection whose end can be seen."""

    def __init__(self, address: BrokerAddress, *, on_change: Any, **_: Any) -> None:
        super().__init__(FakeRabbit(), address)
        self.change = on_change
        self.task = asyncio.create_task(asyncio.sleep(1000))


Make = Callable[..., Brokers]


@pytest.fixture
def changes() -> list[list[QueueKey]]:
    return []


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, changes: list[list[QueueKey]]) -> Make:
    monkeypatch.setattr("taskqueue_operator.services.brokers.Link", WatchedLink)

    def build(cluster: FakeCluster | None = None, default: SecretKey | None = None) -> Brokers:
        return Brokers(
            cluster=cluster or FakeCluster(),
            default_secret=default,
            rng=build_rng(),
            on_change=lambda keys, _link: changes.append(keys),
        )

    return build


async def test_a_connection_apart_is_nobody_s_else(
    make: Make, changes: list[list[QueueKey]]
) -> None:
    brokers = make()
    apart = brokers.link_apart(ADDRESS)
    assert isinstance(apart, WatchedLink)
    apart.change(apart)
    assert changes == []
    assert brokers.use(KEY, ADDRESS) is not apart
    brokers.release(KEY)
    assert not apart.task.cancelling()
    apart.task.cancel()
    await brokers.close()


async def test_a_taskqueue_s_own_secret_comes_first(make: Make) -> None:
    brokers = make(FakeCluster(build_secret()), SecretKey("infra", "default"))
    address, own = await brokers.choose(KEY, OWN)
    assert own
    assert (address.username, address.password, address.vhost) == ("admin", "top secret", "jobs")


@pytest.mark.parametrize(("namespace", "own"), [("infra", False), ("shop", True)])
async def test_else_the_default_is_used(make: Make, namespace: str, own: bool) -> None:
    cluster = FakeCluster(build_secret("default", namespace=namespace))
    brokers = make(cluster, SecretKey(namespace, "default"))
    assert (await brokers.choose(KEY, BrokerSpec())).own is own


@pytest.mark.parametrize(
    ("default", "spec", "reason", "words"),
    [
        pytest.param(None, BrokerSpec(), "NoBroker", "spec.broker.secretRef", id="none at all"),
        pytest.param(None, OWN, "SecretNotFound", "'shop/rabbit'", id="not there"),
        pytest.param(
            SecretKey("infra", "default"),
            BrokerSpec(),
            "SecretNotFound",
            "'infra/default'",
            id="default not there",
        ),
    ],
)
async def test_a_broker_that_is_not_named_or_not_there_is_said_so(
    make: Make, default: SecretKey | None, spec: BrokerSpec, reason: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        await make(default=default).choose(KEY, spec)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param("rabbit", "rabbit.infra.svc", id="a Service beside the Secret"),
        pytest.param("rabbit.other", "rabbit.other", id="a Service elsewhere"),
        pytest.param("localhost", "localhost", id="the own machine"),
        pytest.param("[2001:db8::1]", "2001:db8::1", id="an address"),
    ],
)
async def test_a_short_host_is_looked_up_where_the_secret_is(
    make: Make, host: str, expected: str
) -> None:
    secret = build_secret("default", {"uri": f"amqp://u:p@{host}"}, namespace="infra")
    brokers = make(FakeCluster(secret), SecretKey("infra", "default"))
    assert (await brokers.choose(KEY, BrokerSpec())).address.host == expected


async def test_a_connection_that_nobody_looks_after_is_a_fault(make: Make) -> None:
    brokers = make()
    link = brokers.use(KEY, ADDRESS)
    assert brokers.faults() == []
    link.task.cancel()
    await settle()
    assert brokers.faults() == [f"the connection to {ADDRESS.display} is not looked after"]
    brokers.release(KEY)
    assert brokers.faults() == []


async def test_a_management_api_that_was_not_there_is_looked_for_anew(make: Make) -> None:
    cluster = FakeCluster()
    brokers = make(cluster)
    assert base(await brokers.management(ADDRESS)) == "http://rabbit.shop.svc:15672"
    cluster.add(SERVICE)
    brokers.forget_management(ADDRESS, ManagementRefusedError("no such user"))
    assert base(await brokers.management(ADDRESS)) == "https://rabbit.shop.svc:8443"
    await brokers.close()


async def test_a_management_api_that_did_not_answer_is_left_alone_for_a_moment(make: Make) -> None:
    brokers = make()
    await brokers.management(ADDRESS)
    brokers.forget_management(ADDRESS, ManagementUnavailableError("no answer"))
    await asyncio.sleep(MANAGEMENT_PAUSE_SECONDS / 2)
    with pytest.raises(ManagementUnavailableError, match="no answer"):
        await brokers.management(ADDRESS)
    # What was not asked has not been silent again.
    brokers.forget_management(ADDRESS, ManagementUnavailableError("no answer"))
    await brokers.management(replace(ADDRESS, host="another"))
    await asyncio.sleep(MANAGEMENT_PAUSE_SECONDS / 2)
    await brokers.management(ADDRESS)
    await brokers.close()


async def test_one_address_is_one_connection(make: Make) -> None:
    brokers = make()
    first = brokers.use(KEY, ADDRESS)
    assert brokers.use(OTHER, replace(ADDRESS)) is first
    assert brokers.use(KEY, ADDRESS) is first
    assert brokers.link_of(KEY) is brokers.link_of(OTHER) is first
    assert brokers.link_of(QueueKey("never", "seen")) is None
    await brokers.close()


async def test_a_connection_is_closed_with_its_last_user(make: Make) -> None:
    brokers = make()
    link = brokers.use(KEY, ADDRESS)
    brokers.use(OTHER, ADDRESS)
    brokers.release(KEY)
    await settle()
    assert not link.task.done()
    brokers.release(OTHER)
    await settle()
    assert link.task.cancelled()
    assert brokers.link_of(OTHER) is None


async def test_a_new_password_is_a_new_connection_and_ends_the_old_one(make: Make) -> None:
    brokers = make()
    old = brokers.use(KEY, ADDRESS)
    new = brokers.use(KEY, NEW)
    await settle()
    assert old.task.cancelled()
    assert not new.task.done()
    assert brokers.link_of(KEY) is new
    await brokers.close()
    assert new.task.cancelled()


async def test_a_change_is_told_to_those_who_use_the_connection(
    make: Make, changes: list[list[QueueKey]]
) -> None:
    brokers = make()
    link = brokers.use(KEY, ADDRESS)
    brokers.use(OTHER, NEW)
    assert isinstance(link, WatchedLink)
    link.change(link)
    assert changes == [[KEY]]
    await brokers.close()


def base(management: Management) -> str:
    return management._base


SERVICE = {
    "kind": "Service",
    "metadata": {"name": "rabbit", "namespace": "shop"},
    "spec": {"ports": [{"name": "management-tls", "port": 8443}]},
}


@pytest.mark.parametrize(
    ("address", "objects", "expected"),
    [
        pytest.param({"management": "http://named:1"}, [], "http://named:1", id="named"),
        pytest.param({}, [SERVICE], "https://rabbit.shop.svc:8443", id="the Service's port"),
        pytest.param({}, [], "http://rabbit.shop.svc:15672", id="no such Service"),
        pytest.param({"tls": True}, [], "https://rabbit.shop.svc:15671", id="with TLS"),
        pytest.param({"host": "10.0.0.1"}, [SERVICE], "http://10.0.0.1:15672", id="an address"),
    ],
)
async def test_the_management_api_is_found(
    make: Make, address: dict[str, Any], objects: list[Any], expected: str
) -> None:
    brokers = make(FakeCluster(*objects))
    found = await brokers.management(replace(ADDRESS, **address))
    assert base(found) == expected
    assert await brokers.management(replace(ADDRESS, **address)) is found
    await brokers.close()


async def test_a_service_that_may_not_be_read_is_guessed(make: Make) -> None:
    cluster = FakeCluster(SERVICE)
    cluster.faults["get"] = [ClusterError(403, "forbidden")]
    brokers = make(cluster)
    found = await brokers.management(ADDRESS)
    assert base(found) == "http://rabbit.shop.svc:15672"
    await brokers.close()


async def test_a_secret_that_many_name_is_read_once_and_again_after_a_while(make: Make) -> None:
    cluster = FakeCluster(build_secret())
    brokers = make(cluster)
    for key in (KEY, OTHER):
        await brokers.choose(key, OWN)
    assert cluster.count("get", "Secret") == 1
    await asyncio.sleep(SECRET_SECONDS)
    await brokers.choose(KEY, OWN)
    assert cluster.count("get", "Secret") == 2


async def test_a_secret_is_read_again_when_a_connection_was_lost(make: Make) -> None:
    cluster = FakeCluster(build_secret())
    brokers = make(cluster)
    link = brokers.use(KEY, (await brokers.choose(KEY, OWN)).address)
    assert isinstance(link, WatchedLink)
    link.connected.clear()
    link.change(link)
    await brokers.choose(KEY, OWN)
    assert cluster.count("get", "Secret") == 2
    await brokers.close()


async def test_a_secret_that_is_not_there_is_looked_for_each_time(make: Make) -> None:
    cluster = FakeCluster()
    brokers = make(cluster)
    with pytest.raises(ConfigurationError):
        await brokers.choose(KEY, OWN)
    cluster.add(build_secret())
    await brokers.choose(KEY, OWN)
