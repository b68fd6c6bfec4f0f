"""Two operators: one leads, the other takes over; nothing is lost, and nothing is run twice."""

import time
from collections.abc import Callable
from functools import partial

import pytest

from e2e.api import Object
from e2e.manifests import task
from e2e.space import Space, count_runs, holds_for
from e2e.system import (
    OPERATOR,
    System,
    ask_pod,
    is_leading,
    is_ready,
    kill_process,
    name_of,
    pause_process,
    restarts_of,
    resume_process,
    stop_process,
)

pytestmark = pytest.mark.own_operator

PROGRAM = "taskqueue_operator"
FAILOVER_SECONDS = 15.0
HANDOVER_SECONDS = 8.0
"""Kopf takes some of it to stop. Less than the Lease is good for: it was not waited out."""


@pytest.fixture
def leader(space: Space) -> Object:
    """Give the one of two operators that leads."""
    space.system.scale_operator(2)
    return space.system.operator_pod()


def test_a_standby_is_ready_and_does_nothing(space: Space, leader: Object) -> None:
    space.apply(space.scenario_queue("quiet"))
    space.wait_queue("quiet")
    space.apply(task("one", "quiet", "record"))
    space.wait_task("one", "Succeeded")
    first = space.system.api.log(space.system.namespace, name_of(leader))
    assert "taking the Lease: nobody holds it" in first  # it did not wait for anybody
    (standby,) = others(space.system, leader)
    assert is_ready(standby)
    for path in ("/livez", "/healthz", "/readyz"):
        assert ask_pod(standby, path).status_code == 200
    text = ask_pod(standby, "/metrics").text
    assert "taskqueue_leader 0.0" in text
    assert "taskqueue_dispatches_total{" not in text
    assert name_of(leader) in space.system.api.log(space.system.namespace, name_of(standby))


def others(system: System, leader: Object) -> list[Object]:
    """Return the operator's pods but for one."""
    return [pod for pod in system.operator_pods() if name_of(pod) != name_of(leader)]


def kill(_: System, pod: Object) -> None:
    """End an operator by SIGKILL; the kubelet starts it again at once."""
    kill_process(pod, PROGRAM)


def delete_by_force(system: System, pod: Object) -> None:
    """Delete an operator's pod without waiting for its process."""
    system.api.delete("Pod", system.namespace, name_of(pod), grace=0)


@pytest.mark.parametrize("end", [kill, delete_by_force], ids=lambda one: str(one.__name__))
def test_leader_ended_while_tasks_are_created(
    space: Space, leader: Object, end: Callable[[System, Object], None]
) -> None:
    space.apply(space.scenario_queue("work", {"concurrency": 4}))
    space.wait_queue("work")
    tasks = [task(f"task-{n:03}", "work", "record") for n in range(200)]
    space.create_all(tasks[:80])
    end(space.system, leader)
    begun = time.monotonic()
    space.create_all(tasks[80:])
    space.wait("somebody leads", lambda: any(map(is_leading, space.system.operator_pods())))
    assert time.monotonic() - begun < FAILOVER_SECONDS
    space.wait_tasks(200)
    assert count_runs(space.runs()) == {name_of(one): 1 for one in tasks}
    space.wait_depth("work", 0)


def test_leader_that_was_stopped_publishes_nothing_when_it_goes_on(
    space: Space, leader: Object
) -> None:
    system = space.system
    space.apply(space.scenario_queue("stalled", {"replicas": 0, "concurrency": 4}))
    space.wait_queue("stalled")
    early = [task(f"early-{n:02}", "stalled", "record") for n in range(20)]
    late = [task(f"late-{n:02}", "stalled", "record") for n in range(40)]
    space.create_all(early)
    space.wait_depth("stalled", len(early))
    pause_process(leader, PROGRAM)
    try:
        begun = time.monotonic()
        system.wait_leader(leader, FAILOVER_SECONDS)
        assert time.monotonic() - begun < FAILOVER_SECONDS
        # It hears of these too, as soon as it goes on.
        space.create_all(late)
    finally:
        resume_process(leader, PROGRAM)
    space.wait("it ends itself", partial(is_restarted, system, leader))
    text = system.api.log(system.namespace, name_of(leader), previous=True)
    assert "ending at once: the Lease is lost" in text
    # One message of each, and a second one of those that the new leader could not be sure of.
    expected = len(early) * 2 + len(late)
    space.wait_depth("stalled", expected)
    work = space.work_queue("stalled")
    assert holds_for(lambda: ready_in(space, work) == expected, 5)
    space.edit_queue("stalled", workers={"replicas": 2})
    space.wait_tasks(len(early) + len(late))
    assert count_runs(space.runs()) == {name_of(one): 1 for one in early + late}
    space.wait_depth("stalled", 0)


def ready_in(space: Space, queue: str) -> int | None:
    """Return how many messages a queue of RabbitMQ holds."""
    depth = space.system.rabbit.depth(queue)
    return depth.ready if depth else None


def is_restarted(system: System, pod: Object) -> bool:
    """Return whether the container of a pod was restarted since."""
    now = system.api.get("Pod", system.namespace, name_of(pod))
    return restarts_of(now) > restarts_of(pod)


def test_leader_that_is_told_to_end_hands_over_at_once(space: Space, leader: Object) -> None:
    system = space.system
    space.apply(space.scenario_queue("handed", {"concurrency": 4}))
    space.wait_queue("handed")
    tasks = [task(f"task-{n:03}", "handed", "record") for n in range(200)]
    space.create_all(tasks[:80])
    stop_process(leader, PROGRAM)
    begun = time.monotonic()
    system.wait_leader(leader, HANDOVER_SECONDS)
    assert time.monotonic() - begun < HANDOVER_SECONDS
    space.create_all(tasks[80:])
    space.wait_tasks(200)
    assert count_runs(space.runs()) == {name_of(one): 1 for one in tasks}
    space.wait("it has ended", partial(is_restarted, system, leader))
    text = system.api.log(system.namespace, name_of(leader), previous=True)
    assert "the Lease is released" in text
    space.wait_depth("handed", 0)


def test_one_operator_is_replaced_while_tasks_are_created(space: Space) -> None:
    """The new pod stands by beside the old one, and publishes only after it."""
    system = space.system
    space.apply(space.scenario_queue("rolled", {"concurrency": 4}))
    space.wait_queue("rolled")
    before = system.operator_pod()
    tasks = [task(f"task-{n:03}", "rolled", "record") for n in range(200)]
    space.create_all(tasks[:60])
    system.kubectl.run("rollout", "restart", f"deployment/{OPERATOR}")
    space.create_all(tasks[60:140])
    system.wait_leader(before, 60)
    space.create_all(tasks[140:])
    system.kubectl.wait_rollout(f"deployment/{OPERATOR}", timeout_seconds=60)
    system.wait_operator()
    space.wait_tasks(200)
    assert count_runs(space.runs()) == {name_of(one): 1 for one in tasks}
    space.wait_depth("rolled", 0)
