"""RabbitMQ, asked directly: what a scenario claims of the broker is checked with the broker."""

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from e2e.api import Api

_TIMEOUT_SECONDS = 20.0
_AMQP_PORT = 5672
_MANAGEMENT_PORT = 15672
_NOT_FOUND = 404
DEFAULT_VHOST = "/"
WORKER_CONSUMERS = 2
"""Of each worker: one for its slots, one for what it has at hand beyond them."""


class Depth(NamedTuple):
    """What a queue holds, as far as AMQP tells: messages in no consumer's hands."""

    ready: int
    consumers: int


class Message(NamedTuple):
    """A message as taken from a queue."""

    body: bytes
    properties: pika.BasicProperties

    @property
    def headers(self) -> dict[str, Any]:
        """Its headers."""
        return dict(self.properties.headers or {})


@dataclass(frozen=True)
class Rabbit:
    """One user of one vhost of a broker. host: an address that both pods and we reach."""

    host: str
    username: str
    password: str = field(repr=False)
    vhost: str = DEFAULT_VHOST

    def at(self, vhost: str) -> "Rabbit":
        """Return the same user in another vhost."""
        return replace(self, vhost=vhost)

    def for_user(self, username: str, password: str) -> "Rabbit":
        """Return another user of the same vhost."""
        return replace(self, username=username, password=password)

    @property
    def uri(self) -> str:
        """The address as an AMQP URI, for a Secret."""
        user = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}"
        return f"amqp://{user}@{self.host}:{_AMQP_PORT}"

    @property
    def management_uri(self) -> str:
        """The address of the management API, for a Secret."""
        return f"http://{self.host}:{_MANAGEMENT_PORT}"

    def by_service(self, name: str, namespace: str) -> "Rabbit":
        """Return the same user of a broker that is reached by a Service."""
        return replace(self, host=f"{name}.{namespace}.svc")

    # Over AMQP

    @contextmanager
    def channel(self) -> Iterator[BlockingChannel]:
        """Give a channel of a connection of its own."""
        parameters = pika.ConnectionParameters(
            host=self.host,
            port=_AMQP_PORT,
            virtual_host=self.vhost,
            credentials=pika.PlainCredentials(self.username, self.password),
            socket_timeout=_TIMEOUT_SECONDS,
            stack_timeout=_TIMEOUT_SECONDS,
        )
        connection = pika.BlockingConnection(parameters)
        try:
            yield connection.channel()
        finally:
            if connection.is_open:
                connection.close()

    def depth(self, queue: str) -> Depth | None:
        """Return what a queue holds; None: there is no such queue."""
        try:
            with self.channel() as channel:
                answer = channel.queue_declare(queue, passive=True)
        except ChannelClosedByBroker as error:
            if error.reply_code == _NOT_FOUND:
                return None
            raise
        return Depth(answer.method.message_count, answer.method.consumer_count)

    def publish(
        self,
        key: str,
        body: bytes,
        *,
        exchange: str = "taskqueue",
        properties: Mapping[str, Any] | None = None,
    ) -> None:
        """Publish a message that must reach a queue. Raises pika's UnroutableError."""
        with self.channel() as channel:
            channel.confirm_delivery()
            given = pika.BasicProperties(delivery_mode=2, **(properties or {}))
            channel.basic_publish(exchange, key, body, given, mandatory=True)

    def take(self, queue: str) -> list[Message]:
        """Take all messages out of a queue."""
        taken: list[Message] = []
        with self.channel() as channel:
            while True:
                method, properties, body = channel.basic_get(queue, auto_ack=True)
                if method is None or properties is None or body is None:
                    return taken
                taken.append(Message(body, properties))

    # Over the management API

    def manage(self, method: str, *path: str, body: Any = None) -> Any:
        """Ask the management API; None: an empty answer, or nothing there."""
        answer = httpx.request(
            method,
            f"{self.management_uri}/api/" + "/".join(quote(part, safe="") for part in path),
            json=body,
            auth=(self.username, self.password),
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,
        )
        if answer.status_code == _NOT_FOUND:
            return None
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def queues(self) -> dict[str, dict[str, Any]]:
        """Return the vhost's queues by name, with their totals as of some seconds ago."""
        path = f"{self.management_uri}/api/queues/{quote(self.vhost, safe='')}"
        answer = httpx.get(
            path,
            params={"disable_stats": "true", "enable_queue_totals": "true"},
            auth=(self.username, self.password),
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,
        )
        answer.raise_for_status()
        return {queue["name"]: queue for queue in answer.json()}

    def answers(self) -> bool:
        """Return whether the management API does: a ready pod's Service may lag behind it."""
        try:
            self.manage("GET", "whoami")
        except httpx.TransportError:
            return False
        return True

    def users(self) -> set[str]:
        """Return the names of the broker's users."""
        return {user["name"] for user in self.manage("GET", "users")}

    def add_vhost(self, name: str) -> "Rabbit":
        """Create a vhost that this user may do everything in; return this user in it."""
        self.manage("PUT", "vhosts", name, body={})
        there = self.at(name)
        self.permit(there)
        return there

    def remove_vhost(self, name: str) -> None:
        """Delete a vhost with all that is in it."""
        self.manage("DELETE", "vhosts", name)

    def add_user(
        self, user: "Rabbit", *, tags: str = "", permissions: tuple[str, str, str] | None = None
    ) -> None:
        """Create or change a user. permissions: to configure, write and read; default: all."""
        self.manage("PUT", "users", user.username, body={"password": user.password, "tags": tags})
        self.permit(user, permissions or (".*", ".*", ".*"))

    def permit(
        self, user: "Rabbit", permissions: tuple[str, str, str] = (".*", ".*", ".*")
    ) -> None:
        """Give a user permissions in its vhost."""
        body = dict(zip(("configure", "write", "read"), permissions, strict=True))
        self.manage("PUT", "permissions", user.vhost, user.username, body=body)

    def remove_user(self, username: str) -> None:
        """Delete a user."""
        self.manage("DELETE", "users", username)

    def describe(self) -> str:
        """Return a line per queue that is not empty, for people."""
        try:
            queues = self.queues()
        except httpx.HTTPError as error:
            return f"the management API does not answer: {error!r}"
        return "\n".join(
            f"{name}: {queue.get('messages_ready')} ready, "
            f"{queue.get('messages_unacknowledged')} unacknowledged"
            for name, queue in queues.items()
            if queue.get("messages")
        )


def rabbit_of_secret(api: Api, namespace: str, secret: str, service: str) -> Rabbit:
    """Return a broker's own user, by its Secret and Service."""
    data = api.get("Secret", namespace, secret)["data"]
    address = api.get("Service", namespace, service)["spec"]["clusterIP"]
    username, password = (base64.b64decode(data[key]).decode() for key in ("username", "password"))
    return Rabbit(address, username, password)
