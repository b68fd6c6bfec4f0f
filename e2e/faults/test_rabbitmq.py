"""RabbitMQ dies by SIGKILL, with its data: it goes on where it was."""

from e2e.manifests import task
from e2e.rabbit_pod import PLACE, SECRET, kill_rabbit, with_own_rabbit
from e2e.space import Space, count_runs
from e2e.system import name_of, restarts_of


def test_it_is_killed_while_tasks_run(space: Space) -> None:
    space = with_own_rabbit(space)
    broker = {"secretRef": {"name": SECRET}}
    space.apply(space.scenario_queue("work", {"concurrency": 2}, broker=broker, timeout="2m"))
    space.wait_queue("work")
    (worker,), pod = space.pods("work"), space.get("Pod", PLACE)
    names = [f"task-{n:02}" for n in range(60)]
    tasks = [task(name, "work", "slow", payload={"seconds": 0.2}) for name in names]
    space.create_all(tasks[:40])
    space.wait("some have run", lambda: len(space.runs("end")) > 4)
    kill_rabbit(pod)
    space.create_all(tasks[40:])
    space.wait("it is back", lambda: restarts_of(space.get("Pod", PLACE)) > restarts_of(pod))
    space.wait_tasks(len(names))
    assert count_runs(space.runs("start")) == dict.fromkeys(names, 1)
    assert count_runs(space.runs("end")) == dict.fromkeys(names, 1)
    assert {one["status"]["attempts"] for one in space.tasks()} == {1}
    space.wait_queue("work")
    space.wait_depth("work", 0)
    now = space.get("Pod", name_of(worker))
    assert restarts_of(now) == restarts_of(worker)
    space.kubectl.run("delete", "tq", "--all", "--timeout=60s", timeout_seconds=70)
