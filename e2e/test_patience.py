"""What the operator notices by looking again every half minute, or gives up after a minute.

The scenarios are begun together and then looked at one by one, since each is mostly waiting.
"""

from dataclasses import dataclass
from functools import partial

import pytest

from e2e.conftest import MakeSpace
from e2e.kubectl import Kubectl
from e2e.manifests import secret, task
from e2e.rest import wait_rest
from e2e.space import Space, count_runs, message_of
from e2e.system import name_of

# The operator gives an unreachable broker up after a minute.
GIVE_UP_SECONDS = 110
LOST_TASKS = tuple(f"task-{n:02}" for n in range(20))
BAD_IMAGE = "localhost/no-such-image:1"
UNREACHABLE = {"uri": "amqp://user:password@nowhere.invalid"}


@dataclass(frozen=True)
class Begun:
    """What has been begun.

    lost: its TaskQueue's queues were deleted in RabbitMQ.
    image: its TaskQueue's image was changed to one that is not there; `worker` runs the old one.
    calm: its two Tasks have finished.
    broken: its TaskQueues are deleted whose broker cannot be reached, and whose Secret is gone.
    doomed: namespaces being deleted, with a TaskQueue that works, and one that never did.
    """

    lost: Space
    image: Space
    worker: str
    calm: Space
    broken: Space
    doomed: tuple[Space, Space]


@pytest.fixture(scope="module")
def begun(make_space: MakeSpace) -> Begun:
    """Begin everything."""
    lost, image, calm, broken, working, unborn = (make_space() for _ in range(6))
    lost.apply(lost.scenario_queue("lost", {"replicas": 0, "concurrency": 4}))
    image.apply(image.scenario_queue("image"))
    calm.apply(calm.scenario_queue("calm"))
    calm.apply(task("good", "calm", "record"), task("bad", "calm", "raise"))
    working.apply(working.scenario_queue("working"), task("done", "working", "record"))
    begin_broken(broken, unborn)
    lost.create_all(task(name, "lost", "record") for name in LOST_TASKS)
    working.wait_task("done", "Succeeded")
    for doomed in (working, unborn):
        Kubectl().run("delete", "namespace", doomed.name, "--wait=false")
    lost.wait_depth("lost", len(LOST_TASKS))
    with lost.system.rabbit.channel() as channel:
        channel.queue_delete(lost.work_queue("lost"))
        channel.queue_delete(lost.dead_letters("lost"))
    image.wait_queue("image")
    (worker,) = image.pods("image")
    image.edit_queue(
        "image", workers={"template": {"image": BAD_IMAGE, "imagePullPolicy": "Never"}}
    )
    return Begun(lost, image, name_of(worker), calm, broken, (working, unborn))


def begin_broken(broken: Space, unborn: Space) -> None:
    """Create TaskQueues that never get to their broker, and delete those of `broken`."""
    unborn.apply(secret("nowhere", UNREACHABLE))
    broken.apply(secret("nowhere", UNREACHABLE), secret("deleted", UNREACHABLE))
    queues = {("no-broker", broken): "nowhere", ("no-secret", broken): "deleted"}
    for (name, space), reference in (queues | {("unborn", unborn): "nowhere"}).items():
        space.apply(space.scenario_queue(name, broker={"secretRef": {"name": reference}}))
        space.wait_queue(name, "BrokerUnreachable")
    broken.kubectl.run("delete", "secret", "deleted")
    broken.kubectl.run("delete", "tq", "no-broker", "no-secret", "--wait=false")


def test_queue_deleted_in_rabbitmq_comes_back_and_its_tasks_run(begun: Begun) -> None:
    space = begun.lost
    space.wait_depth("lost", len(LOST_TASKS))
    assert space.system.rabbit.depth(space.dead_letters("lost")) == (0, 0)
    space.edit_queue("lost", workers={"replicas": 1})
    space.wait_tasks(len(LOST_TASKS))
    space.wait_depth("lost", 0)
    assert count_runs(space.runs()) == dict.fromkeys(LOST_TASKS, 1)


def test_image_that_is_not_there_is_said_and_stops_nobody(begun: Begun) -> None:
    space = begun.image
    body = space.wait_queue("image", "ErrImageNeverPull")
    assert BAD_IMAGE in message_of(body)
    assert begun.worker in map(name_of, space.pods("image"))
    space.apply(task("meanwhile", "image", "record"))
    assert space.wait_task("meanwhile", "Succeeded")["status"]["worker"]["pod"] == begun.worker
    space.edit_queue("image", workers={"template": {"image": None}})
    space.wait_queue("image")
    space.wait_workers("image", 1)
    space.apply(task("afterwards", "image", "record"))
    space.wait_task("afterwards", "Succeeded")


def test_nothing_is_written_at_rest(begun: Begun) -> None:
    for name in ("good", "bad"):
        begun.calm.wait_task(name)
    wait_rest(begun.calm)


def test_deletion_never_hangs(begun: Begun) -> None:
    space = begun.broken
    space.wait_gone("TaskQueue", "no-secret", GIVE_UP_SECONDS)
    space.wait_gone("TaskQueue", "no-broker", GIVE_UP_SECONDS)
    events = space.events("BrokerObjectsLeft")
    (event,) = (one for one in events if one["involvedObject"]["name"] == "no-broker")
    assert f"'{space.work_queue('no-broker')}'" in event["message"]
    assert "password" not in event["message"]


def test_deleted_namespace_goes(begun: Begun) -> None:
    for space in begun.doomed:
        space.wait("the namespace is gone", partial(is_gone, space.name), GIVE_UP_SECONDS)
    working, _ = begun.doomed
    assert working.system.rabbit.depth(working.work_queue("working")) is None


def is_gone(namespace: str) -> bool:
    """Return whether a namespace is there no more."""
    return not Kubectl().run("get", "namespace", namespace, "--ignore-not-found", "-o", "name")
