"""Cables are pulled for a minute: nothing is lost, and nothing is run twice."""

import pytest

from e2e.api import Object
from e2e.demo import SYSTEM_NAMESPACE
from e2e.faults.cuts import cut
from e2e.manifests import task
from e2e.space import Space, count_runs, holds_for
from e2e.system import RABBITMQ, name_of, restarts_of

CUT_SECONDS = 60.0


def service_address(space: Space, namespace: str, name: str) -> str:
    """Return a Service's own address."""
    return str(space.system.api.get("Service", namespace, name)["spec"]["clusterIP"])


def start_work(space: Space, queue: str) -> Object:
    """Have a worker run a Task until it is let go; return its pod."""
    space.apply(space.scenario_queue(queue, {"concurrency": 2}, timeout="5m"))
    space.wait_queue(queue)
    (pod,) = space.pods(queue)
    space.apply(task("held", queue, "hold"))
    space.wait_task("held", "Running")
    return pod


def check_untouched(space: Space, queue: str, pod: Object) -> None:
    """Fail unless a worker is the same as before, and was not restarted."""
    now = space.get("Pod", name_of(pod))
    assert restarts_of(now) == restarts_of(pod)
    assert name_of(pod) in {name_of(one) for one in space.pods(queue)}


@pytest.mark.long
def test_between_a_worker_and_the_api_server(space: Space) -> None:
    """Outcomes wait in the worker; nobody else takes its Tasks for lost."""
    pod = start_work(space, "silent")
    names = [f"task-{n}" for n in range(4)]
    with cut(pod, service_address(space, "default", "kubernetes")):
        space.create_all(task(name, "silent", "record") for name in names)
        space.wait("they are started all the same", lambda: space.runs())
        space.let_go()
        space.wait("the long one has ended", lambda: space.runs("end"))
        phases = {"held": "Running"} | dict.fromkeys(names, "Pending")
        assert holds_for(lambda: phases_of(space) == phases, CUT_SECONDS)
    space.wait_tasks(1 + len(names))
    assert count_runs(space.runs()) == dict.fromkeys(names, 1)
    assert count_runs(space.runs("start")) == count_runs(space.runs("end")) == {"held": 1}
    assert {one["status"]["attempts"] for one in space.tasks()} == {1}
    check_untouched(space, "silent", pod)
    space.wait_depth("silent", 0)


def phases_of(space: Space) -> dict[str, str]:
    """Return the phase of each Task."""
    return {name_of(one): one["status"]["phase"] for one in space.tasks()}


@pytest.mark.long
def test_between_a_worker_and_the_broker(space: Space) -> None:
    """RabbitMQ gives its messages to another worker, which sees that the first one lives."""
    pod = start_work(space, "deaf")
    rabbit = space.system.api.get("Pod", SYSTEM_NAMESPACE, f"{RABBITMQ}-0")
    with cut(pod, space.system.rabbit.host, rabbit["status"]["podIP"]):
        space.edit_queue("deaf", workers={"replicas": 2})
        space.wait_workers("deaf", 2)
        names = [f"task-{n}" for n in range(4)]
        space.create_all(task(name, "deaf", "record") for name in names)
        # It sends no heartbeats: the messages in its hands come to the other.
        space.wait("all have run", lambda: len(space.runs()) == len(names), 150)
        space.let_go()
        space.wait_task("held", "Succeeded")
        assert holds_for(lambda: len(space.runs("start")) == 1, CUT_SECONDS / 2)
    space.wait_tasks(1 + len(names))
    space.wait_depth("deaf", 0)
    assert count_runs(space.runs()) == dict.fromkeys(names, 1)
    assert count_runs(space.runs("start")) == count_runs(space.runs("end")) == {"held": 1}
    assert {one["status"]["attempts"] for one in space.tasks()} == {1}
    check_untouched(space, "deaf", pod)
