"""Workers that are replaced under load, and Tasks that take their workers with them."""

from functools import partial

from e2e.manifests import task
from e2e.space import Space, count_runs, error_of
from e2e.system import name_of

ATTEMPTS = 5
"""As many as a Task has at least that loses its workers, whatever its retry policy."""


def test_a_task_that_takes_every_worker_with_it_is_given_up(space: Space) -> None:
    """Each loss is an attempt, so that it ends as a dead letter, not as a loop for ever."""
    space.apply(space.scenario_queue("poisoned", {"concurrency": 1}, timeout="5m"))
    space.wait_queue("poisoned")
    space.apply(task("poison", "poisoned", "hold"), task("behind", "poisoned", "record"))
    for attempt in range(1, ATTEMPTS + 1):
        space.wait("it runs", partial(has_started, space, attempt))
        space.wait_task("poison", "Running")
        (pod,) = space.pods("poisoned")
        space.kubectl.run("delete", "pod", name_of(pod), "--force", "--grace-period=0")
    body = space.wait_task("poison", "Failed")
    kind, message = error_of(body)
    assert kind == "WorkerLost"
    assert name_of(pod) in message
    assert body["status"]["attempts"] == ATTEMPTS
    assert [one.attempt for one in space.runs("start")] == list(range(1, ATTEMPTS + 1))
    (letter,) = space.system.rabbit.take(space.dead_letters("poisoned"))
    assert letter.properties.message_id == body["metadata"]["uid"]
    space.wait_task("behind", "Succeeded")


def has_started(space: Space, times: int) -> bool:
    """Return whether handlers were started so often."""
    return len(space.runs("start")) == times


def test_workers_are_replaced_while_tasks_are_run(space: Space) -> None:
    workers = {"replicas": 2, "concurrency": 4}
    queue = space.scenario_queue("busy", workers)
    space.apply(queue)
    space.wait_workers("busy", 2)
    before = {name_of(one) for one in space.pods("busy")}
    names = [f"task-{n:03}" for n in range(120)]
    tasks = [task(name, "busy", "slow", payload={"seconds": 0.3}) for name in names]
    space.create_all(tasks[:60])
    queue["spec"]["workers"]["template"]["env"].append({"name": "COLOUR", "value": "green"})
    space.apply(queue)
    space.create_all(tasks[60:])
    space.wait_tasks(len(names))
    assert count_runs(space.runs("start")) == dict.fromkeys(names, 1)
    assert count_runs(space.runs("end")) == dict.fromkeys(names, 1)
    assert {one["status"]["attempts"] for one in space.tasks()} == {1}
    space.wait("all are new", lambda: not before & {name_of(one) for one in space.pods("busy")})
    space.wait_depth("busy", 0)
