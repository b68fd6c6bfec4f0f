"""RabbitMQ dies by SIGKILL, with its data: it goes on where it was."""

from dataclasses import replace

from e2e.manifests import secret, task
from e2e.rabbit import Rabbit
from e2e.rabbit_pod import kill_rabbit, start_rabbit
from e2e.space import Space, count_runs
from e2e.system import name_of, restarts_of

PLACE = "broker"
USER = "admin"
PASSWORD = "the password"
CONFIG = f"""
default_user = {USER}
default_pass = {PASSWORD}
"""
PORTS = {"amqp": 5672, "management": 15672}


def test_it_is_killed_while_tasks_run(space: Space) -> None:
    start_rabbit(space, PLACE, CONFIG, PORTS)
    rabbit = Rabbit(space.get("Service", PLACE)["spec"]["clusterIP"], USER, PASSWORD)
    space = replace(space, system=replace(space.system, rabbit=rabbit))
    fields = {"username": USER, "password": PASSWORD, "host": f"{PLACE}.{space.name}.svc"}
    space.apply(secret("address", fields))
    broker = {"secretRef": {"name": "address"}}
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
