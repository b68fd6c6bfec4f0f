"""Tasks from `kubectl apply` to their end: each is run, once, in the right order, or not at all."""

from collections import Counter
from datetime import timedelta

import pytest

from e2e.demo import image_builds
from e2e.examples import find_unexpected, is_finished, read_examples
from e2e.manifests import task
from e2e.space import Space, condition_of, count_runs
from e2e.system import name_of
from taskqueue_api.conditions import parse_time

FRESH = timedelta(seconds=5)


def test_examples_end_as_they_say(space: Space) -> None:
    documents = read_examples(image_builds()["worker"])
    space.apply(*documents)
    expected = sum(one["kind"] == "Task" for one in documents)
    space.wait(
        "all examples are finished",
        lambda: sum(is_finished(one) for one in space.tasks()) == expected,
    )
    tasks = {name_of(one): one for one in space.tasks()}
    assert not find_unexpected(list(tasks.values()))
    assert tasks["echo"]["status"]["result"] == tasks["echo"]["spec"]["payload"]
    assert tasks["word-count"]["status"]["result"]["words"] == 9
    assert tasks["word-count-configmap"]["status"]["result"]["words"] == 18
    assert len(tasks["checksum"]["status"]["result"]["sha256"]) == 64
    assert tasks["reverse"]["status"]["result"] == {"text": "lanac a ,nalp a ,nam A"}
    assert tasks["sleep"]["status"]["result"] == {"slept": 1}
    assert tasks["greet"]["status"]["result"] == {"greeting": "Hello, Ada!"}
    assert tasks["fails-on-purpose"]["status"]["error"]["type"] == "RuntimeError"


@pytest.mark.long
def test_500_tasks_at_once_each_run_exactly_once(space: Space) -> None:
    space.apply(space.scenario_queue("many", {"replicas": 2, "concurrency": 8}))
    space.create_all(task(f"task-{n:03}", "many", "record", payload=n) for n in range(500))
    space.wait_tasks(500)
    runs = space.runs()
    assert sorted(run.payload for run in runs) == list(range(500))
    tasks = space.tasks()
    assert {run.uid for run in runs} == {one["metadata"]["uid"] for one in tasks}
    assert Counter(one["status"]["attempts"] for one in tasks) == {1: 500}
    assert Counter(one["status"]["dispatches"] for one in tasks) == {1: 500}
    assert len({run.pod for run in runs}) == 2
    space.wait_depth("many", 0)
    assert space.system.rabbit.depth(space.dead_letters("many")) == (0, 0)
    space.wait(
        "the TaskQueue counts them",
        lambda: (
            space.get("TaskQueue", "many")["status"]["tasks"]
            == {
                "pending": 0,
                "running": 0,
                "retrying": 0,
                "succeeded": 500,
                "failed": 0,
                "cancelled": 0,
            }
        ),
    )


def test_finished_task_says_how_it_went(space: Space) -> None:
    space.apply(space.scenario_queue("one"))
    space.wait_queue("one")
    space.apply(task("good", "one", "record"), task("bad", "one", "raise"))
    for name, succeeded, reason in (("good", "True", "Succeeded"), ("bad", "False", "LookupError")):
        body = space.wait_task(name)
        conditions = {
            one["type"]: (one["status"], one["reason"]) for one in body["status"]["conditions"]
        }
        stalled = {} if name == "good" else {"Stalled": ("True", reason)}
        assert conditions == {
            "Succeeded": (succeeded, reason),
            "Finished": ("True", reason),
            **stalled,
        }
        status = body["status"]
        (pod,) = space.pods("one")
        assert status["worker"]["pod"] == name_of(pod)
        assert status["worker"]["node"] == pod["spec"]["nodeName"]
        assert status["attempts"] == 1
        assert parse_time(status["completionTime"]) >= parse_time(status["startTime"])
        assert status["duration"]
    # `kubectl wait` is the client library.
    space.kubectl.run("wait", "--for=condition=Succeeded", "tqt/good", "--timeout=5s")
    space.kubectl.run("wait", "--for=condition=Finished", "tqt/bad", "--timeout=5s")


def test_long_task_is_shown_running(space: Space) -> None:
    space.apply(space.scenario_queue("long", timeout="2m"))
    space.apply(task("long", "long", "hold"))
    body = space.wait_task("long", "Running")
    assert body["status"]["attempts"] == 1
    assert condition_of(body, "Succeeded")["status"] == "Unknown"
    space.wait(
        "the TaskQueue counts it",
        lambda: space.get("TaskQueue", "long")["status"]["tasks"]["running"] == 1,
    )
    space.let_go()
    assert space.wait_task("long")["status"]["result"] == {"attempt": 1}
    assert len(space.runs("start")) == len(space.runs("end")) == 1


def test_task_waits_for_its_taskqueue_and_says_so(space: Space) -> None:
    space.apply(task("early", "later", "record"))
    body = space.wait_dispatched("early", "False", "QueueNotFound")
    message = condition_of(body, "Dispatched")["message"]
    assert message == f"there is no TaskQueue 'later' in namespace '{space.name}'"
    assert body["status"]["phase"] == "Pending"
    space.apply(space.scenario_queue("later"))
    body = space.wait_task("early", "Succeeded")
    assert not condition_of(body, "Dispatched")
    assert count_runs(space.runs()) == {"early": 1}


def test_edit_of_a_waiting_task_publishes_nothing_twice(space: Space) -> None:
    space.apply(space.scenario_queue("edits", {"replicas": 0}))
    space.apply(*(task(f"task-{n}", "edits", "record") for n in range(3)))
    space.wait_depth("edits", 3)
    for n in range(3):
        space.kubectl.run("label", "tqt", "--all", "--overwrite", f"edit=label-{n}")
        space.kubectl.run("annotate", "tqt", "--all", "--overwrite", f"edit=annotation-{n}")
    # The operator has seen all edits before it publishes this one.
    space.apply(task("task-3", "edits", "record"))
    space.wait("the fourth is published", lambda: space.dispatched("edits") >= 4)
    space.wait_depth("edits", 4)
    assert space.dispatched("edits") == 4
    space.edit_queue("edits", workers={"replicas": 1})
    space.wait_tasks(4)
    assert count_runs(space.runs()) == {f"task-{n}": 1 for n in range(4)}


@pytest.mark.parametrize("queue_type", ["Classic", "Quorum"])
def test_higher_priority_runs_first(space: Space, queue_type: str) -> None:
    queue = space.scenario_queue(
        "ranks", {"replicas": 0, "concurrency": 1}, queue={"type": queue_type}
    )
    space.apply(queue)
    for priority in (0, 4, 9):
        names = [f"p{priority}-{n}" for n in range(4)]
        space.apply(*(task(name, "ranks", "record", priority=priority) for name in names))
    space.wait_depth("ranks", 12)
    space.edit_queue("ranks", workers={"replicas": 1})
    space.wait_tasks(12)
    order = [run.name.partition("-")[0] for run in space.runs()]
    if queue_type == "Classic":
        assert order == ["p9"] * 4 + ["p4"] * 4 + ["p0"] * 4
    else:
        # RabbitMQ 4.0 to 4.2: two levels, up to 4 and above, delivered 2 to 1.
        assert order[:2] == ["p9", "p9"]
        assert set(order[6:]) == {"p0", "p4"}


def test_task_deleted_while_it_waits_is_not_run(space: Space) -> None:
    space.apply(space.scenario_queue("gone", {"replicas": 0}))
    names = ("deleted", "replaced", "kept")
    space.apply(*(task(name, "gone", "record", payload="first") for name in names))
    space.wait_depth("gone", 3)
    # A worker starts a younger Task without reading it first.
    space.wait_older(space.get("Task", "kept"), FRESH)
    space.kubectl.run("delete", "tqt", "deleted", "replaced")
    space.apply(task("replaced", "gone", "record", payload="second"))
    space.wait_depth("gone", 4)
    space.edit_queue("gone", workers={"replicas": 1})
    space.wait_tasks(2)
    space.wait_depth("gone", 0)
    runs = {run.name: run.payload for run in space.runs()}
    assert runs == {"replaced": "second", "kept": "first"}
    assert len(space.runs()) == 2


def test_timeout_of_the_taskqueue_is_that_of_its_tasks(space: Space) -> None:
    space.apply(space.scenario_queue("short", timeout="1s"))
    space.wait_queue("short")
    space.apply(task("over", "short", "slow", payload={"seconds": 30}))
    body = space.wait_task("over", "Failed")
    assert body["status"]["error"]["type"] == "Timeout"
    assert not space.runs("end")
    # The pod has time for its longest Task, and a margin.
    grace = space.pods("short")[0]["spec"]["terminationGracePeriodSeconds"]
    assert timedelta(seconds=grace) > timedelta(seconds=1)


def test_drained_worker_finishes_what_it_runs(space: Space) -> None:
    space.apply(space.scenario_queue("drain", {"concurrency": 1}))
    space.wait_queue("drain")
    space.apply(task("running", "drain", "hold"))
    (pod,) = space.pods("drain")
    space.wait_task("running", "Running")
    space.apply(task("waiting", "drain", "record"))
    space.kubectl.run("delete", "pod", name_of(pod), "--wait=false")
    # Given back by the worker that drains, and run by its successor.
    space.wait_task("waiting", "Succeeded")
    space.let_go()
    space.wait_task("running", "Succeeded")
    (start,), (end,), (run,) = space.runs("start"), space.runs("end"), space.runs()
    assert start.pod == end.pod == name_of(pod)
    assert run.pod != name_of(pod)


def test_a_command_reaches_the_shell_as_it_is_written(space: Space) -> None:
    """The kubelet would expand what looks like its own variables."""
    command = ["sh", "-c", """printf '["%s", "%s"]' $$ $(echo hello)"""]
    space.apply(space.scenario_queue("shell", {"handlers": {"exec": {"command": command}}}))
    space.apply(task("literal", "shell", "any"))
    number, word = space.wait_task("literal", "Succeeded")["status"]["result"]
    assert number.isdigit()
    assert word == "hello"
