"""Workers follow the backlog, and none is taken away that has work, or when it is not certain."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from e2e import own_release
from e2e.demo import SYSTEM_NAMESPACE
from e2e.kubectl import CommandError, Kubectl
from e2e.lying_proxy import lying_proxy
from e2e.manifests import secret, task
from e2e.space import Space, condition_of, holds_for
from e2e.system import RABBITMQ, name_of
from taskqueue_api.conditions import rfc3339

QUICK = {
    "maxReplicas": 3,
    "scaleDown": {"stabilization": "5s"},
    "idleBeforeZero": "10s",
}
"""For scenarios that wait for workers to go."""

REST_SECONDS = 15.0


def scaled(space: Space, name: str, scaling: dict[str, Any] | None = None, **spec: Any) -> None:
    """Create a TaskQueue whose workers follow its backlog, and wait until it is ready."""
    workers = {"concurrency": 1, "scaling": {**QUICK, **(scaling or {})}}
    space.apply(space.scenario_queue(name, workers, **{"timeout": "5m", **spec}))
    space.wait_queue(name, "Idle")


def replicas(space: Space, name: str) -> int:
    """Return how many worker pods are wanted."""
    return int(space.get("Deployment", f"tq-{name}")["spec"]["replicas"])


def wait_replicas(space: Space, name: str, number: int) -> None:
    """Wait until so many worker pods are wanted."""
    space.wait(f"{number} pods are wanted", lambda: replicas(space, name) == number)


def wait_scaling(space: Space, name: str, reason: str) -> str:
    """Wait for a reason of the condition; return its message."""

    def found() -> str | None:
        condition = condition_of(space.get("TaskQueue", name), "Scaling")
        return condition["message"] if condition.get("reason") == reason else None

    return space.wait(f"Scaling says {reason}", found)


def test_from_none_to_as_many_as_are_needed_and_back_to_none(space: Space) -> None:
    scaled(space, "burst")
    assert space.pods("burst") == []
    space.create_all(task(f"t{n:02}", "burst", "slow", payload={"seconds": 1}) for n in range(12))
    wait_replicas(space, "burst", 3)
    space.wait_tasks(12)
    assert len({run.pod for run in space.runs("start")}) == 3
    events = [one["message"] for one in space.events("Scaled")]
    assert events[0].startswith("from 0 to ")
    space.wait_queue("burst", "Idle")
    wait_replicas(space, "burst", 0)
    assert wait_scaling(space, "burst", "Idle")
    space.wait("no pod is left", lambda: space.pods("burst") == [])
    # Nothing was started twice, and nothing was interrupted by those that went.
    assert {one["status"]["attempts"] for one in space.tasks()} == {1}


def test_a_worker_with_a_long_task_stays_when_others_go(space: Space) -> None:
    scaled(space, "long")
    space.apply(task("held", "long", "hold"))
    space.wait_task("held", "Running")
    (busy,) = space.pods("long")
    space.create_all(task(f"t{n}", "long", "slow", payload={"seconds": 2}) for n in range(4))
    wait_replicas(space, "long", 3)
    for n in range(4):
        space.wait_task(f"t{n}", "Succeeded")
    wait_replicas(space, "long", 1)
    space.wait("one pod is left", lambda: len(space.pods("long")) == 1)
    assert name_of(space.pods("long")[0]) == name_of(busy)
    assert holds_for(lambda: replicas(space, "long") == 1, REST_SECONDS)
    space.let_go()
    body = space.wait_task("held", "Succeeded")
    assert body["status"]["attempts"] == 1
    assert body["status"]["worker"]["pod"] == name_of(busy)


def test_messages_of_outside_producers_bring_workers(space: Space) -> None:
    scaled(space, "outside")
    for _ in range(3):
        space.system.rabbit.publish(space.work_queue("outside"), b"{}", properties={"type": "hold"})
    wait_replicas(space, "outside", 3)
    # Those that are being run are backlog too.
    space.wait("all three run", lambda: len(space.runs("start")) == 3)
    assert holds_for(lambda: replicas(space, "outside") == 3, REST_SECONDS)
    space.let_go()
    wait_replicas(space, "outside", 0)


@contextmanager
def leaderless(queue: str) -> Iterator[None]:
    """Let a quorum queue's leader stop, as one whose node is cut off."""
    pod = Kubectl(SYSTEM_NAMESPACE)
    lookup = f'rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{queue}">>))'
    code = "{ok, Q} = " + lookup + ", ok = sys:%s(amqqueue:get_pid(Q))."

    def tell(what: str) -> None:
        command = ("rabbitmqctl", "eval", code % what)
        pod.run("exec", f"{RABBITMQ}-0", "--", *command)

    tell("suspend")
    try:
        yield
    finally:
        tell("resume")


@pytest.mark.long
def test_a_false_zero_takes_no_worker_away_and_the_condition_says_so(space: Space) -> None:
    """Without the management API each queue is asked, and one without a leader answers 0."""
    admin = space.system.rabbit
    user = admin.for_user(space.name, "secret")
    admin.add_user(user)
    try:
        there = space.amqp_only(user)
        space.apply(secret("broker", {"uri": there.uri}))
        scaled(space, "zero", {"maxReplicas": 2}, broker={"secretRef": {"name": "broker"}})
        queue = space.work_queue("zero")
        for _ in range(6):
            admin.publish(queue, b"{}", properties={"type": "hold"})
        wait_replicas(space, "zero", 2)
        space.wait("both workers are at work", lambda: len(space.runs("start")) == 2)
        with leaderless(queue):
            said = wait_scaling(space, "zero", "BacklogUnknown")
            assert "management API" in said
            assert holds_for(lambda: replicas(space, "zero") == 2, 3 * REST_SECONDS)
        space.let_go()
        wait_replicas(space, "zero", 0)
    finally:
        admin.remove_user(user.username)


@pytest.mark.long
def test_zeros_of_the_management_api_are_not_believed_while_a_message_waits(space: Space) -> None:
    """The queue is asked for a message by AMQP, which no proxy before the API answers for it."""
    admin = space.system.rabbit
    user = admin.for_user(space.name, "secret")
    admin.add_user(user, tags="administrator")
    try:
        with lying_proxy(admin) as proxy:
            there = space.broker_by("proxied", user, proxy.address)
            space.apply(secret("broker", {"uri": there.uri}))
            scaled(space, "zeros", {"maxReplicas": 2}, broker={"secretRef": {"name": "broker"}})
            for _ in range(6):
                admin.publish(space.work_queue("zeros"), b"{}", properties={"type": "hold"})
            wait_replicas(space, "zeros", 2)
            space.wait("both workers are at work", lambda: len(space.runs("start")) == 2)
            proxy.lying.set()
            space.wait("it lies", lambda: proxy.lies >= 2)
            assert "not confirmed" in wait_scaling(space, "zeros", "BacklogUnknown")
            assert holds_for(lambda: replicas(space, "zeros") == 2, 3 * REST_SECONDS)
            assert proxy.lies >= 5
            space.let_go()
            wait_replicas(space, "zeros", 0)
    finally:
        admin.remove_user(user.username)


def test_an_image_that_cannot_be_pulled_is_not_asked_for_again_and_again(space: Space) -> None:
    template = {"image": "localhost/no-such-image:1", "imagePullPolicy": "IfNotPresent"}
    workers = {"concurrency": 1, "template": template, "scaling": QUICK}
    space.apply(space.scenario_queue("broken", workers))
    space.wait_queue("broken", "Idle")
    space.apply(task("first", "broken", "record"))
    wait_replicas(space, "broken", 1)
    space.wait("the pod says so", lambda: "ImagePull" in reason_of(space, "broken"))
    space.create_all(task(f"t{n}", "broken", "record") for n in range(5))
    assert "ImagePull" in wait_scaling(space, "broken", "Blocked")
    assert holds_for(lambda: replicas(space, "broken") == 1, REST_SECONDS)


def reason_of(space: Space, name: str) -> str:
    """Return why a TaskQueue is ready, or is not."""
    return str(condition_of(space.get("TaskQueue", name), "Ready").get("reason", ""))


def test_delayed_and_retrying_tasks_count_once_they_are_due(space: Space) -> None:
    retry = {"maxAttempts": 2, "backoff": {"type": "Fixed", "initial": "30s"}}
    scaled(space, "later", retry=retry)
    due = datetime.now(UTC) + timedelta(seconds=25)
    space.apply(task("waits", "later", "record", notBefore=rfc3339(due)))
    assert holds_for(lambda: replicas(space, "later") == 0, REST_SECONDS)
    space.wait_task("waits", "Succeeded")
    space.apply(task("tries", "later", "flaky", payload={"failures": 1}))
    space.wait_task("tries", "Retrying")
    wait_replicas(space, "later", 0)
    assert space.get("Task", "tries")["status"]["phase"] == "Retrying"
    space.wait_task("tries", "Succeeded")


def test_a_paused_queue_lets_its_workers_finish_and_holds_what_comes(space: Space) -> None:
    scaled(space, "paused")
    space.apply(task("held", "paused", "hold"))
    space.wait_task("held", "Running")
    space.edit_queue("paused", paused=True)
    space.wait_queue("paused", "Paused")
    wait_replicas(space, "paused", 0)
    space.apply(task("waits", "paused", "record"))
    space.wait_depth("paused", 1)
    space.let_go()
    assert space.wait_task("held", "Succeeded")["status"]["attempts"] == 1
    assert holds_for(lambda: replicas(space, "paused") == 0, REST_SECONDS)
    assert space.get("Task", "waits")["status"]["phase"] == "Pending"
    space.edit_queue("paused", paused=False)
    space.wait_task("waits", "Succeeded")


def test_kubectl_scale_is_refused_where_the_backlog_decides(space: Space) -> None:
    scaled(space, "auto")
    with pytest.raises(CommandError, match="scaling, which decides the number of pods"):
        space.kubectl.run("scale", "tq", "auto", "--replicas=3")


def test_a_new_image_is_rolled_out_worker_by_worker_and_each_finishes(space: Space) -> None:
    workers = {"concurrency": 1, "replicas": 2}
    space.apply(space.scenario_queue("rolled", workers))
    space.wait_workers("rolled", 2)
    space.create_all(task(f"t{n}", "rolled", "hold") for n in range(2))
    space.wait("both run", lambda: len(space.runs("start")) == 2)
    labels = {"labels": {"version": "two"}}
    template = {**space.get("TaskQueue", "rolled")["spec"]["workers"]["template"], **labels}
    space.edit_queue("rolled", workers={"template": template})
    space.wait_workers("rolled", 2)
    space.wait("the new ones are ready", lambda: reason_of(space, "rolled") == "Ready")
    space.let_go()
    for n in range(2):
        assert space.wait_task(f"t{n}", "Succeeded")["status"]["attempts"] == 1


@pytest.mark.own_operator
def test_a_limit_of_all_workers_is_shared_out(space: Space) -> None:
    own_release.serve(space, space.name, settings=["maxWorkerPods=3"])
    for name in ("one", "other"):
        scaled(space, name)
        space.create_all(task(f"{name}-{n}", name, "hold") for n in range(3))
    for name, number in (("one", 2), ("other", 1)):
        wait_replicas(space, name, number)
        assert "of the 3 that the operator may run" in wait_scaling(space, name, "CapReached")
    space.let_go()
    space.wait_tasks(6)
