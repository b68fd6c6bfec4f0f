"""Passwords are changed while Tasks are at work: none is lost, none is run twice."""

from collections.abc import Iterator

import pytest

from e2e.manifests import secret, task
from e2e.rabbit import Rabbit
from e2e.space import Space, count_runs
from e2e.system import name_of
from e2e.test_brokers import uri_secret

WAITING = [f"waits-{n}" for n in range(3)]


@pytest.fixture
def admin(space: Space) -> Iterator[Rabbit]:
    """Give an administrator of the broker, for this namespace alone."""
    user = space.system.rabbit.for_user(f"{space.name}-admin", "the first")
    space.system.rabbit.add_user(user, tags="administrator")
    yield user
    space.system.rabbit.remove_user(user.username)


def start_work(space: Space, queue: str) -> None:
    """Have a Task run until it is let go, and others wait for its slot."""
    space.apply(task("held", queue, "hold"))
    space.wait_task("held", "Running")
    space.create_all(task(name, queue, "record") for name in WAITING)
    space.wait("all are published", lambda: space.dispatched(queue) == 1 + len(WAITING))


def check_all_ran_once(space: Space, *more: str) -> None:
    """Fail unless everything ends well, having run once."""
    space.wait_tasks(1 + len(WAITING) + len(more))
    assert count_runs(space.runs()) == dict.fromkeys([*WAITING, *more], 1)
    assert count_runs(space.runs("start")) == count_runs(space.runs("end")) == {"held": 1}


def test_operators_password_is_changed(space: Space, admin: Rabbit) -> None:
    space.apply(secret("broker", uri_secret(admin)))
    broker = {"secretRef": {"name": "broker"}}
    space.apply(space.scenario_queue("steady", {"concurrency": 1}, broker=broker, timeout="2m"))
    space.wait_queue("steady")
    (pod,) = space.pods("steady")
    start_work(space, "steady")
    rabbit, changed = space.system.rabbit, admin.for_user(admin.username, "the second")
    rabbit.add_user(changed, tags="administrator")
    # RabbitMQ asks for the password only when a connection is opened.
    rabbit.manage("DELETE", "connections", "username", admin.username)
    space.wait_queue("steady", "AuthenticationFailed")
    space.apply(task("meanwhile", "steady", "record"))
    space.apply(secret("broker", uri_secret(changed)))
    space.wait_queue("steady")
    space.let_go()
    check_all_ran_once(space, "meanwhile")
    # They have a user of their own, and notice nothing.
    assert [name_of(one) for one in space.pods("steady")] == [name_of(pod)]


def test_workers_password_is_changed(space: Space) -> None:
    """Their Secret is deleted: they get another password, and are replaced one by one."""
    space.apply(space.scenario_queue("own", {"concurrency": 1}, timeout="2m"))
    space.wait_queue("own")
    (pod,) = space.pods("own")
    before = space.get("Secret", "tq-own-broker")["data"]["uri"]
    start_work(space, "own")
    space.system.api.delete("Secret", space.name, "tq-own-broker")
    space.wait(
        "another worker comes",
        lambda: [one for one in space.pods("own") if name_of(one) != name_of(pod)],
    )
    assert space.get("Secret", "tq-own-broker")["data"]["uri"] != before
    space.let_go()
    check_all_ran_once(space)
    space.wait_depth("own", 0)
