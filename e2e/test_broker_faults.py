"""A broker that cannot be used: the condition says why in RabbitMQ's words, and a repair heals."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from e2e.conftest import MakeSpace
from e2e.manifests import secret, task
from e2e.rabbit import Rabbit
from e2e.space import Space, condition_of, message_of
from e2e.system import name_of

PASSWORD = "not-the-password-1f3a"
DENIED = ("^$", ".*", ".*")


class Stage:
    """TaskQueues, each with something wrong, and how to set it right.

    rabbit: the administrator; strangers: users by what they may not do.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.rabbit = space.system.rabbit
        self.foreign = f"foreign-{space.name}"
        self.missing = f"missing-{space.name}"
        self.stranger = self.rabbit.for_user(f"stranger-{space.name}", PASSWORD)
        self.denied = self.rabbit.for_user(f"denied-{space.name}", PASSWORD)

    def set_up(self) -> None:
        """Make everything wrong."""
        space, rabbit = self.space, self.rabbit
        rabbit.add_user(self.denied, permissions=DENIED)
        rabbit.manage(
            "PUT", "users", self.stranger.username, body={"password": PASSWORD, "tags": ""}
        )
        there = rabbit.add_vhost(self.foreign)
        with there.channel() as channel:
            channel.queue_declare("taskqueue.unrouted", durable=True)
        with rabbit.channel() as channel:
            channel.queue_declare(space.work_queue("other-queue"), durable=True)
        space.apply(
            secret("no-password", {"host": rabbit.host, "username": "guest"}),
            secret("no-address", {"username": "guest", "password": PASSWORD}),
            secret("bad-uri", {"uri": f"rabbit://guest:{PASSWORD}@{rabbit.host}"}),
            secret("wrong-password", as_secret(rabbit.for_user(rabbit.username, PASSWORD))),
            secret("stranger", as_secret(self.stranger)),
            secret("denied", as_secret(self.denied)),
        )
        for name in ("not-there", "no-password", "no-address", "bad-uri", "wrong-password"):
            space.apply(self.queue(name, secretRef={"name": name}))
        for name in ("stranger", "denied"):
            space.apply(self.queue(name, secretRef={"name": name}))
        space.apply(
            self.queue("no-vhost", vhost=self.missing),
            self.queue("foreign", vhost=self.foreign),
            self.queue("other-queue"),
        )

    def queue(self, name: str, **broker: Any) -> dict[str, Any]:
        """Return a TaskQueue without workers."""
        return self.space.scenario_queue(name, {"replicas": 0}, broker=broker)

    def repair(self) -> None:
        """Make everything right, but for what would take away somebody else's vhost."""
        good = as_secret(self.rabbit)
        for name in ("not-there", "no-password", "no-address", "bad-uri", "wrong-password"):
            self.space.kubectl.run("delete", "secret", name, "--ignore-not-found")
            self.space.apply(secret(name, good))
        for user in (self.stranger, self.denied):
            self.rabbit.add_user(user, tags="administrator")
        self.rabbit.add_vhost(self.missing)
        with self.rabbit.channel() as channel:
            channel.queue_delete(self.space.work_queue("other-queue"))

    def tear_down(self) -> None:
        """Remove what does not go with the namespace."""
        for vhost in (self.foreign, self.missing):
            self.rabbit.remove_vhost(vhost)
        for user in (self.stranger, self.denied):
            self.rabbit.remove_user(user.username)


def as_secret(rabbit: Rabbit) -> dict[str, str]:
    """Return a user as a Secret's data."""
    return {"host": rabbit.host, "username": rabbit.username, "password": rabbit.password}


@contextmanager
def staged(space: Space) -> Iterator[Stage]:
    """Give a namespace's TaskQueues with something wrong, and a Task for one of them."""
    stage = Stage(space)
    stage.set_up()
    space.apply(task("held", "not-there", "record"))
    try:
        yield stage
    finally:
        space.kubectl.run("delete", "tq", "--all", "--wait=false")
        stage.tear_down()


@pytest.fixture(scope="module")
def stage(make_space: MakeSpace) -> Iterator[Stage]:
    """Give TaskQueues with something wrong."""
    with staged(make_space()) as stage:
        yield stage


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        pytest.param("not-there", "SecretNotFound", "/not-there', which", id="no Secret"),
        pytest.param(
            "no-password", "SecretInvalid", "key 'password' is missing or empty", id="no key"
        ),
        pytest.param(
            "no-address", "SecretInvalid", "it needs key 'uri', or keys 'host'", id="no address"
        ),
        pytest.param(
            "bad-uri", "SecretInvalid", "key 'uri' must begin with amqp://", id="bad address"
        ),
        pytest.param(
            "wrong-password", "AuthenticationFailed", "ACCESS_REFUSED", id="wrong password"
        ),
        pytest.param("no-vhost", "VhostNotFound", "missing-", id="no vhost"),
        pytest.param(
            "stranger", "VhostAccessRefused", "refused access to the vhost", id="no access"
        ),
        pytest.param(
            "denied",
            "PermissionDenied",
            "configure access to exchange 'taskqueue' in vhost '/' refused",
            id="no permission",
        ),
        pytest.param(
            "other-queue",
            "DeclarationRefused",
            "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue",
            id="queue with other arguments",
        ),
        pytest.param(
            "foreign",
            "DeclarationRefused",
            "for queue 'taskqueue.unrouted'",
            id="vhost of another cluster",
        ),
    ],
)
def test_condition_says_why(stage: Stage, name: str, reason: str, words: str) -> None:
    body = stage.space.wait_queue(name, reason)
    for kind in ("Ready", "BrokerReady"):
        condition = condition_of(body, kind)
        assert (condition["status"], condition["reason"]) == ("False", reason)
        assert words in condition["message"]
        assert PASSWORD not in condition["message"]
    event = stage.space.wait("an Event", lambda: stage.space.events(reason))
    assert {one["type"] for one in event} == {"Warning"}
    row = stage.space.kubectl.run("get", "tq", name, "--no-headers").split()
    assert row[:3] == [name, "False", reason]


def test_task_is_held_and_says_why(stage: Stage) -> None:
    body = stage.space.wait_dispatched("held", "False", "QueueNotReady")
    assert "SecretNotFound" in message_of(body, "Dispatched")
    row = stage.space.kubectl.run("get", "tqt", "held", "-o", "wide", "--no-headers").split()
    assert "Pending" in row
    assert "QueueNotReady" in row


def test_repair_heals(space: Space) -> None:
    with staged(space) as stage:
        names = {name_of(one) for one in space.system.api.list("TaskQueue", space.name)}
        for name in names:
            space.wait(f"'{name}' is seen to be wrong", partial(is_said_wrong, space, name))
        space.wait_dispatched("held", "False", "QueueNotReady")
        stage.repair()
        for name in names - {"foreign"}:
            space.wait_queue(name)
        space.wait_depth("not-there", 1)
        # Said of a Task that still waits, now in the queue.
        space.wait_dispatched("held", "True", "Published")
        space.edit_queue("not-there", workers={"replicas": 1})
        assert not condition_of(space.wait_task("held", "Succeeded"), "Dispatched")


def is_said_wrong(space: Space, name: str) -> bool:
    """Return whether a TaskQueue's status says that it is not ready."""
    return condition_of(space.get("TaskQueue", name), "Ready").get("status") == "False"
