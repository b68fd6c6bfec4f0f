"""With `claim: Always` a Task is shown as Running before its handler starts."""

from itertools import count

import pytest

from e2e.api import ApiError, Object
from e2e.manifests import task
from e2e.space import Space, count_runs
from e2e.system import ask_pod, name_of, read_metric

METRICS = {
    "fresh": 'taskqueue_worker_claims_total{path="fresh"}',
    "careful": 'taskqueue_worker_claims_total{path="careful"}',
    "running": 'taskqueue_worker_status_writes_total{kind="running",result="written"}',
    "finished": 'taskqueue_worker_status_writes_total{kind="finished",result="written"}',
}


def counted(pod: Object) -> dict[str, int]:
    """Return what a worker has counted of its claims and writes."""
    text = ask_pod(pod, "/metrics").text
    return {name: int(read_metric(text, metric) or 0) for name, metric in METRICS.items()}


def run_unread(space: Space, pod: Object, name: str) -> int:
    """Run a Task. Return how many the worker has run; 0 while it reads each before its start."""
    space.apply(task(name, "short", "record"))
    space.wait_task(name, "Succeeded")
    counts = counted(pod)
    return counts["finished"] if counts["fresh"] else 0


def test_a_change_of_claim_reaches_the_workers(space: Space) -> None:
    space.apply(space.scenario_queue("short"))
    space.wait_queue("short")
    (before,) = space.pods("short")
    names = (f"adaptive-{number}" for number in count())
    # Tasks that are as young as the worker are read first: it may not have heard of their end.
    ran = space.wait("a Task is started unread", lambda: run_unread(space, before, next(names)))
    assert counted(before) == {"fresh": 1, "careful": 0, "running": 0, "finished": ran}
    generation = space.edit_queue("short", workers={"claim": "Always"})
    space.wait_queue("short", generation=generation)
    space.wait("there is another pod", lambda: name_of(space.pods("short")[0]) != name_of(before))
    (after,) = space.wait_workers("short", 1)
    space.apply(task("always", "short", "record"))
    space.wait_task("always", "Succeeded")
    assert counted(after) == {"fresh": 0, "careful": 1, "running": 1, "finished": 1}
    adaptive = {f"adaptive-{number}": 1 for number in range(ran)}
    assert count_runs(space.runs()) == adaptive | {"always": 1}


def test_no_attempt_is_started_twice_when_its_worker_is_killed_at_once(space: Space) -> None:
    space.apply(space.scenario_queue("killed", {"claim": "Always"}, timeout="2m"))
    space.wait_queue("killed")
    (pod,) = space.pods("killed")
    space.apply(task("held", "killed", "hold"))
    space.wait("it has started", lambda: space.runs("start"))
    assert space.get("Task", "held")["status"]["phase"] == "Running"
    space.kubectl.run("delete", "pod", name_of(pod), "--force", "--grace-period=0")
    space.wait("it is started again", lambda: len(space.runs("start")) >= 2)
    space.let_go()
    body = space.wait_task("held", "Succeeded")
    assert body["status"]["attempts"] == 2
    assert sorted(run.attempt for run in space.runs("start")) == [1, 2]


def test_another_claim_is_refused(space: Space) -> None:
    queue = space.scenario_queue("odd", {"claim": "Never"})
    with pytest.raises(ApiError, match='supported values: "Adaptive", "Always"'):
        space.apply(queue)
