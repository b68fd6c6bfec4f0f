"""Brokers whose one connection is a fake, and whose management API is one in memory."""

import re
from collections.abc import Iterable
from typing import Any

from taskqueue_operator.broker.link import Link
from taskqueue_operator.broker.management import Management, QueueTotals
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.broker_address import BrokerAddress
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.errors import ManagementError
from taskqueue_operator.services.brokers import Brokers
from taskqueue_operator.settings import SecretKey
from tests.operator.builders import build_rng
from tests.operator.rabbit import FakeLink

DEFAULT_SECRET = SecretKey("infra", "rabbit-default")


class FakeManagement(Management):
    """Users in a dictionary: their hash, permissions and topic permissions; policies in another.

    applied: the operator policy that RabbitMQ says applies, whichever it is.
    totals: the depths of queues.
    error: what every call raises.
    """

    def __init__(self) -> None:
        self.users: dict[str, tuple[str, dict[str, str], list[dict[str, str]]]] = {}
        self.policies: dict[str, dict[str, Any]] = {}
        self.applied: str | None = None
        self.totals: dict[str, QueueTotals] = {}
        self.error: ManagementError | None = None

    async def ensure_user(
        self,
        username: str,
        password_hash: str,
        permissions: dict[str, str],
        topics: Iterable[dict[str, str]],
    ) -> None:
        if self.error:
            raise self.error
        self.users[username] = (password_hash, permissions, list(topics))

    async def delete_user(self, username: str) -> None:
        if self.error:
            raise self.error
        self.users.pop(username, None)

    async def ensure_operator_policy(self, name: str, policy: dict[str, Any]) -> bool:
        if self.error:
            raise self.error
        written = self.policies.get(name) != policy
        self.policies[name] = policy
        return written

    async def delete_operator_policy(self, name: str) -> None:
        if self.error:
            raise self.error
        self.policies.pop(name, None)

    async def operator_policy_of(self, queue: str) -> str | None:
        if self.error:
            raise self.error
        return self.applied or (queue if queue in self.policies else None)

    async def queue_totals(self, pattern: str) -> dict[str, QueueTotals]:
        if self.error:
            raise self.error
        return {name: found for name, found in self.totals.items() if re.match(pattern, name)}


class LinkApart(FakeLink):
    """A connection that is closed by whoever has asked for it."""

    closed = False

    async def close(self) -> None:
        self.closed = True


class FakeBrokers(Brokers):
    """Chooses as the real ones do; every address leads to one connection.

    apart: the connections that were asked for beside it.
    """

    def __init__(self, cluster: ClusterClient, link: FakeLink) -> None:
        super().__init__(
            cluster=cluster,
            default_secret=DEFAULT_SECRET,
            rng=build_rng(),
            on_change=lambda _keys, _link: None,
        )
        self.link = link
        self.api = FakeManagement()
        self.used: set[QueueKey] = set()
        self.apart: list[LinkApart] = []

    def use(self, key: QueueKey, address: BrokerAddress) -> Link:
        self.link.address = address
        self.used.add(key)
        return self.link

    def link_of(self, key: QueueKey) -> Link | None:
        return self.link if key in self.used else None

    def link_apart(self, address: BrokerAddress) -> Link:
        link = LinkApart(self.link.rabbit, address)
        self.apart.append(link)
        return link

    def release(self, key: QueueKey) -> None:
        self.used.discard(key)

    async def management(self, address: BrokerAddress) -> Management:  # noqa: ARG002
        return self.api
