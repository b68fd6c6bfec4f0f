"""Brokers and credentials: every shape of Secret, TLS, and how little a worker may do."""

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from e2e import own_release, tls_rabbit
from e2e.api import Object
from e2e.conftest import MakeSpace, remove
from e2e.demo import SYSTEM_NAMESPACE
from e2e.manifests import secret, task
from e2e.rabbit import WORKER_CONSUMERS, Rabbit
from e2e.space import Space, condition_of, message_of
from e2e.system import RABBITMQ, name_of
from taskqueue_api.names import DEAD_LETTER_EXCHANGE, EXCHANGE

REFUSED = 403
USER = "örk"
PASSWORD = "p@ss/w:rd %#?ü"


def cluster_operator_secret(rabbit: Rabbit) -> dict[str, str]:
    """Return a user in the form of the RabbitMQ cluster operator."""
    host = f"{RABBITMQ}.{SYSTEM_NAMESPACE}.svc"
    return {
        "host": host,
        "port": "5672",
        "username": rabbit.username,
        "password": rabbit.password,
        "connection_string": f"amqp://x:y@{host}:5672/",
    }


def topology_operator_secret(rabbit: Rabbit) -> dict[str, str]:
    """Return a user in the form of the messaging topology operator."""
    return {
        "uri": rabbit.management_uri,
        "username": rabbit.username,
        "password": rabbit.password,
    }


def uri_secret(rabbit: Rabbit) -> dict[str, str]:
    """Return a user as one AMQP URI."""
    return {"uri": rabbit.uri}


@pytest.mark.parametrize(
    ("shape", "vhost"),
    [
        pytest.param(cluster_operator_secret, "a/b c", id="of the cluster operator"),
        pytest.param(topology_operator_secret, "/größe%2F?#", id="of the topology operator"),
        pytest.param(uri_secret, "//", id="one URI"),
    ],
)
def test_secret(space: Space, shape: Callable[[Rabbit], dict[str, str]], vhost: str) -> None:
    vhost = f"{space.name}{vhost}"
    admin = space.system.rabbit
    there = admin.add_vhost(vhost)
    user = there.for_user(f"{space.name} {USER}", PASSWORD)
    admin.add_user(user, tags="administrator")
    try:
        space.apply(secret("broker", shape(user)))
        broker = {"secretRef": {"name": "broker"}, "vhost": vhost}
        space.apply(space.scenario_queue("queue", broker=broker), task("task", "queue", "record"))
        space.wait_task("task", "Succeeded")
        body = space.wait_queue("queue")
        assert condition_of(body, "WorkerCredentials")["reason"] == "DedicatedUser"
        depth = there.depth(space.work_queue("queue"))
        assert depth is not None
        assert depth.consumers == WORKER_CONSUMERS
        assert worker_rabbit(space, "queue").vhost == vhost
        space.kubectl.run("delete", "tq", "queue", "--timeout=60s")
        assert there.depth(space.work_queue("queue")) is None
    finally:
        admin.remove_user(user.username)
        admin.remove_vhost(vhost)


def worker_rabbit(space: Space, queue: str) -> Rabbit:
    """Return a TaskQueue's broker as its workers know it."""
    data = space.get("Secret", f"tq-{queue}-broker")["data"]
    parts = urlsplit(base64.b64decode(data["uri"]).decode())
    return Rabbit(
        space.system.rabbit.host,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        unquote(parts.path[1:]),
    )


@pytest.mark.timeout(300, func_only=True)
def test_tls_with_an_authority_from_the_secret(space: Space) -> None:
    authority = tls_rabbit.start_tls_rabbit(space)
    host = f"{tls_rabbit.NAME}.{space.name}.svc"
    uri = f"amqps://{tls_rabbit.USER}:{tls_rabbit.PASSWORD}@{host}:5671"
    another = tls_rabbit.make_authority(host)
    space.apply(
        secret("trusted", {"uri": uri, "ca.crt": authority.ca}),
        secret("untrusted", {"uri": uri, "ca.crt": another.ca}),
        secret("no-authority", {"uri": uri}),
    )
    for name in ("trusted", "untrusted", "no-authority"):
        space.apply(space.scenario_queue(name, broker={"secretRef": {"name": name}}))
    space.apply(task("task", "trusted", "record"))
    space.wait_task("task", "Succeeded")
    body = space.wait_queue("trusted")
    # Its user was made over the management API, which is TLS too.
    assert condition_of(body, "WorkerCredentials")["reason"] == "DedicatedUser"
    for name in ("untrusted", "no-authority"):
        message = message_of(space.wait_queue(name, "TlsFailed"))
        assert "is its CA in key 'ca.crt'?" in message
        assert "certificate verify failed" in message


# What a worker may do


@pytest.fixture(scope="module")
def shared(make_space: MakeSpace) -> Space:
    """Give a namespace with two TaskQueues; `mine` is the one of the worker in question."""
    space = make_space()
    space.apply(space.scenario_queue("mine"), space.scenario_queue("other", {"replicas": 0}))
    space.apply(task("other", "other", "record"))
    for name in ("mine", "other"):
        space.wait_queue(name)
    space.wait_depth("other", 1)
    return space


Act = Callable[[BlockingChannel, Space], Any]


def publish(exchange: str, queue: str) -> Act:
    """Return the act of publishing to a queue of the space. queue: by its first letters."""

    def act(channel: BlockingChannel, space: Space) -> None:
        channel.confirm_delivery()
        prefix, _, name = queue.partition(":")
        channel.basic_publish(exchange, f"{prefix}.{space.name}.{name}", b"{}")

    return act


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda channel, space: channel.basic_get(space.work_queue("other")), id="get"),
        pytest.param(
            lambda channel, space: channel.basic_consume(
                space.work_queue("other"), lambda *_: None
            ),
            id="consume",
        ),
        pytest.param(
            lambda channel, space: channel.basic_get(space.dead_letters("mine")),
            id="get its own dead letters",
        ),
        pytest.param(
            lambda channel, space: channel.queue_purge(space.work_queue("other")), id="purge"
        ),
        pytest.param(
            lambda channel, space: channel.queue_delete(space.work_queue("other")), id="delete"
        ),
        pytest.param(
            lambda channel, space: channel.queue_delete(space.work_queue("mine")),
            id="delete its own queue",
        ),
        pytest.param(lambda channel, _: channel.queue_declare("new", durable=True), id="declare"),
        pytest.param(
            lambda channel, _: channel.exchange_declare("new", durable=True), id="declare exchange"
        ),
        pytest.param(
            lambda channel, space: channel.queue_bind(
                space.work_queue("mine"), EXCHANGE, space.work_queue("other")
            ),
            id="bind its queue to another's messages",
        ),
        pytest.param(publish(EXCHANGE, "tq:other"), id="publish a Task to another queue"),
        pytest.param(publish(EXCHANGE, "tq:mine"), id="publish a Task to its own queue"),
        pytest.param(publish("", "tq:other"), id="publish over the default exchange"),
        pytest.param(publish(DEAD_LETTER_EXCHANGE, "tqd:other"), id="publish others' dead letters"),
    ],
)
def test_worker_cannot(shared: Space, act: Act) -> None:
    worker = worker_rabbit(shared, "mine")
    with pytest.raises(ChannelClosedByBroker) as error, worker.channel() as channel:
        act(channel, shared)
    assert error.value.reply_code == REFUSED, error.value.reply_text


def test_worker_can_publish_its_own_dead_letters(shared: Space) -> None:
    with worker_rabbit(shared, "mine").channel() as channel:
        publish(DEAD_LETTER_EXCHANGE, "tqd:mine")(channel, shared)
    assert [one.body for one in shared.system.rabbit.take(shared.dead_letters("mine"))] == [b"{}"]


def test_worker_cannot_use_the_management_api(shared: Space) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        worker_rabbit(shared, "mine").manage("GET", "overview")


def test_no_credential_is_where_it_does_not_belong(shared: Space) -> None:
    secrets = {
        one.password for one in (shared.system.rabbit, *(worker_rabbit(shared, q) for q in QUEUES))
    }
    assert len(secrets) == 1 + len(QUEUES)
    shared.apply(task("failing", "mine", "raise"))
    shared.wait_task("failing")
    kinds = ("TaskQueue", "Task", "Deployment", "Pod", "Event", "ConfigMap", "Role")
    api = shared.system.api
    seen: list[Object] = [one for kind in kinds for one in api.list(kind, shared.name)]
    seen += api.list("Pod", SYSTEM_NAMESPACE) + api.list("Event", SYSTEM_NAMESPACE)
    texts = [json.dumps(one) for one in seen]
    (worker,) = shared.pods("mine")
    texts.append(api.log(shared.name, name_of(worker)))
    texts.append(api.log(SYSTEM_NAMESPACE, name_of(shared.system.operator_pod())))
    texts.append(api.log(SYSTEM_NAMESPACE, f"{RABBITMQ}-0"))
    for text in texts:
        assert not [one for one in secrets if one in text], text[:500]


QUEUES = ("mine", "other")


# Without a management API


def test_own_secret_is_shared_where_no_user_can_be_made(space: Space) -> None:
    admin = space.system.rabbit
    user = admin.for_user(f"{space.name}-shared", "shared password")
    admin.add_user(user)
    try:
        space.apply(secret("broker", uri_secret(space.amqp_only(user))))
        broker = {"secretRef": {"name": "broker"}}
        space.apply(space.scenario_queue("shared", broker=broker), task("a", "shared", "record"))
        space.wait_task("a", "Succeeded")
        body = space.wait_queue("shared")
        condition = condition_of(body, "WorkerCredentials")
        assert (condition["status"], condition["reason"]) == ("False", "SharedSecret")
        assert "the workers use the named Secret as it is" in condition["message"]
        assert worker_rabbit(space, "shared") == user
    finally:
        admin.remove_user(user.username)


def test_user_that_may_not_make_users_is_said(space: Space) -> None:
    admin = space.system.rabbit
    user = admin.for_user(f"{space.name}-plain", "plain password")
    admin.add_user(user)
    try:
        space.apply(secret("broker", uri_secret(user)))
        space.apply(space.scenario_queue("plain", broker={"secretRef": {"name": "broker"}}))
        body = space.wait_queue("plain", "ManagementRefused")
        assert "needs the tag 'administrator'" in message_of(body)
        assert space.find("Deployment", "tq-plain") is None
        assert space.find("Secret", "tq-plain-broker") is None
    finally:
        admin.remove_user(user.username)


@pytest.mark.long
@pytest.mark.own_operator
def test_secret_of_another_namespace_is_never_given_to_workers(space: Space) -> None:
    """The default broker's Secret lies elsewhere, and its management API cannot be reached."""
    elsewhere = Space(f"{space.name}-b", space.system, space.recorder)
    elsewhere.create()
    hidden = elsewhere.amqp_only(space.system.rabbit)
    elsewhere.apply(secret("hidden", uri_secret(hidden)))
    try:
        place = ("name=hidden", f"namespace={elsewhere.name}")
        own_release.serve(space, space.name, settings=[f"broker.secretRef.{one}" for one in place])
        space.apply(space.scenario_queue("queue"), task("task", "queue"))
        body = space.wait_queue("queue", "ManagementUnavailable")
        assert "may not have the operator's" in message_of(body)
        assert space.find("Deployment", "tq-queue") is None
        assert space.find("Secret", "tq-queue-broker") is None
    finally:
        own_release.serve(space, space.name)  # a deletion needs the management API
        remove(elsewhere)
