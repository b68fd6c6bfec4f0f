"""Which TaskQueue uses which RabbitMQ, and the connections that they share."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from taskqueue_api.taskqueue import BrokerSpec
from taskqueue_operator import metrics
from taskqueue_operator.broker.link import Link
from taskqueue_operator.broker.management import Management
from taskqueue_operator.cluster.client import ClusterClient
from taskqueue_operator.domain.broker_address import (
    BrokerAddress,
    decode_secret,
    default_management,
    management_of_service,
    parse_broker_secret,
    service_of,
)
from taskqueue_operator.domain.dispatching import QueueKey
from taskqueue_operator.errors import (
    ClusterError,
    ClusterUnavailableError,
    ConfigurationError,
    ManagementError,
    ManagementUnavailableError,
    NamespaceTerminatingError,
    NotFoundError,
)
from taskqueue_operator.settings import SecretKey

SECRET_SECONDS = 15.0
"""How long a broker's Secret is taken as it was read: many TaskQueues name the same one."""

MANAGEMENT_PAUSE_SECONDS = 5.0
"""A management API that did not answer is left alone so long: one that swallows connections takes
10 s each time, and a reconcile asks it more than once."""


CONNECT_SECONDS = 3.0


class BrokerChoice(NamedTuple):
    """The broker of a TaskQueue.

    own: the Secret lies in the TaskQueue's own namespace.
    """

    address: BrokerAddress
    own: bool


class Brokers:
    """Connections by address and credentials; one that no TaskQueue uses is closed.

    on_change: called with the TaskQueues concerned when a connection opens or closes.
    leads: whether this operator may change anything in a broker at this moment.
    """

    def __init__(
        self,
        *,
        cluster: ClusterClient,
        default_secret: SecretKey | None,
        rng: random.Random,
        on_change: Callable[[list[QueueKey], Link], None],
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self._cluster = cluster
        self._default_secret = default_secret
        self._rng = rng
        self._on_change = on_change
        self._leads = leads
        self._secrets: dict[SecretKey, tuple[float, dict[str, Any]]] = {}
        self._links: dict[str, Link] = {}
        self._management: dict[str, Management] = {}
        self._silent: dict[str, tuple[float, str]] = {}
        self._used: dict[QueueKey, str] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def choose(self, key: QueueKey, spec: BrokerSpec) -> BrokerChoice:
        """Return the broker that a TaskQueue asks for. Raises ConfigurationError."""
        if spec.secret_ref:
            secret = SecretKey(key.namespace, spec.secret_ref.name)
        elif self._default_secret:
            secret = self._default_secret
        else:
            raise ConfigurationError(
                "NoBroker",
                "spec.broker.secretRef is not set, and the operator has no default broker",
            )
        name = f"{secret.namespace}/{secret.name}"
        try:
            found = await self._read_secret(secret)
        except NotFoundError as error:
            raise ConfigurationError(
                "SecretNotFound", f"Secret '{name}', which should name the broker, is not there"
            ) from error
        except (ClusterUnavailableError, NamespaceTerminatingError):
            raise
        except ClusterError as error:
            raise ConfigurationError(
                "SecretForbidden", f"Secret '{name}' cannot be read by the operator: {error}"
            ) from error
        address = parse_broker_secret(decode_secret(found), secret=name, vhost=spec.vhost)
        if "." not in address.host and ":" not in address.host and address.host != "localhost":
            # A Service beside the Secret; workers in other namespaces need its full name.
            address = replace(address, host=f"{address.host}.{secret.namespace}.svc")
        return BrokerChoice(address, own=secret.namespace == key.namespace)

    async def _read_secret(self, secret: SecretKey) -> dict[str, Any]:
        """Return a Secret as it is now, or was a moment ago. Raises ClusterError."""
        now = asyncio.get_running_loop().time()
        read, found = self._secrets.get(secret, (float("-inf"), {}))
        if now - read < SECRET_SECONDS:
            return found
        self._secrets.pop(secret, None)
        found = await self._cluster.get("v1", "Secret", secret.namespace, secret.name)
        self._secrets[secret] = now, found
        return found

    def use(self, key: QueueKey, address: BrokerAddress) -> Link:
        """Return the connection to an address, which a TaskQueue uses from now on."""
        fingerprint = address.fingerprint()
        previous = self._used.get(key)
        self._used[key] = fingerprint
        if fingerprint not in self._links:
            self._links[fingerprint] = Link(
                address, on_change=self._changed, rng=self._rng, leads=self._leads
            )
        if previous not in (None, fingerprint):
            self._close_unused()
        return self._links[fingerprint]

    def link_of(self, key: QueueKey) -> Link | None:
        """Return the connection that a TaskQueue used last."""
        return self._links.get(self._used.get(key, ""))

    def link_apart(self, address: BrokerAddress) -> Link:
        """Return a connection for what may cost it; nobody shares it, and the caller closes it."""
        return Link(address, on_change=lambda _: None, rng=self._rng, leads=self._leads)

    async def count_for_certain(self, queue: str, address: BrokerAddress) -> int:
        """Return how many messages a queue has ready that looks empty. Raises BrokerError.

        So does a quorum queue that has no leader, or is slow. Not over the connection of all:
        RabbitMQ may end it instead of answering.
        """
        link = self.link_apart(address)
        try:
            await link.wait(CONNECT_SECONDS)
            async with await link.open_channel() as channel:
                return await channel.count_by_taking(queue)
        finally:
            await link.close()

    def release(self, key: QueueKey) -> None:
        """Take note that a TaskQueue uses its connection no more."""
        self._used.pop(key, None)
        self._close_unused()

    async def management(self, address: BrokerAddress) -> Management:
        """Return the management API of a broker. Raises ManagementUnavailableError."""
        fingerprint = address.fingerprint()
        since, words = self._silent.get(fingerprint, (float("-inf"), ""))
        if asyncio.get_running_loop().time() - since < MANAGEMENT_PAUSE_SECONDS:
            raise ManagementUnavailableError(words)
        if fingerprint not in self._management:
            base = address.management or await self._find_management(address)
            self._management[fingerprint] = Management(base, address, self._leads)
        return self._management[fingerprint]

    def forget_management(self, address: BrokerAddress, error: ManagementError) -> None:
        """Look for a broker's management API anew next time: it may be elsewhere by then."""
        fingerprint = address.fingerprint()
        self._close_management(fingerprint)
        if isinstance(error, ManagementUnavailableError):
            now = asyncio.get_running_loop().time()
            since, _ = self._silent.get(fingerprint, (float("-inf"), ""))
            if now - since >= MANAGEMENT_PAUSE_SECONDS:
                self._silent[fingerprint] = (now, str(error))

    def faults(self) -> list[str]:
        """Return what is dead, one sentence each; a broker that is away is no fault."""
        return [
            f"the connection to {link.address.display} is not looked after"
            for link in self._links.values()
            if link.task.done()
        ]

    async def close(self) -> None:
        """Close every connection."""
        for link in self._links.values():
            await link.close()
        for management in self._management.values():
            await management.close()

    async def _find_management(self, address: BrokerAddress) -> str:
        service = service_of(address.host)
        if service:
            try:
                found = await self._cluster.get("v1", "Service", *service)
            except ClusterError:
                # Not a Service, or none that we may read: the default port is as good a guess.
                found = {}
            base = management_of_service(found, address.host)
            if base:
                return base
        return default_management(address)

    def _changed(self, link: Link) -> None:
        up = link.connected.is_set()
        if not up:
            self._secrets.clear()  # they may have been changed for that very reason
        metrics.BROKER_CONNECTED.labels(link.address.host, link.address.vhost).set(up)
        fingerprint = link.address.fingerprint()
        self._on_change([key for key, used in self._used.items() if used == fingerprint], link)

    def _close_unused(self) -> None:
        used = set(self._used.values())
        self._secrets.clear()  # of those, too, that nobody names any more
        for fingerprint in [name for name in self._links if name not in used]:
            link = self._links.pop(fingerprint)
            link.task.cancel()
            self._close_management(fingerprint)
            self._silent.pop(fingerprint, None)
            place = (link.address.host, link.address.vhost)
            others = {(item.address.host, item.address.vhost) for item in self._links.values()}
            if place not in others:
                metrics.BROKER_CONNECTED.remove(*place)

    def _close_management(self, fingerprint: str) -> None:
        management = self._management.pop(fingerprint, None)
        if management:
            closing = asyncio.create_task(management.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
