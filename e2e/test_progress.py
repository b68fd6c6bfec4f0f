"""What handlers say of their progress is shown while they run, by few writes."""

from typing import Any

import pytest

from e2e.api import Object
from e2e.conftest import MakeSpace
from e2e.manifests import task
from e2e.space import Space, error_of
from e2e.system import ask_pod, read_metric

RETRY = {"maxAttempts": 2, "backoff": {"type": "Fixed", "initial": "5s"}}
STEPS = 500
PAUSE_SECONDS = 0.01


@pytest.fixture(scope="module")
def shared(make_space: MakeSpace) -> Space:
    """Give a namespace with a queue."""
    space = make_space()
    space.apply(space.scenario_queue("one", {"concurrency": 4}, timeout="2m"))
    space.wait_queue("one")
    return space


def progress_of(body: Object) -> dict[str, Any] | None:
    """Return what a Task shows of its progress."""
    found: dict[str, Any] | None = body["status"].get("progress")
    return found


def wait_progress(space: Space, name: str, progress: dict[str, Any]) -> Object:
    """Return a Task as soon as it shows this progress."""

    def found() -> Object | None:
        body = space.get("Task", name)
        return body if progress_of(body) == progress else None

    return space.wait(f"Task '{name}' shows {progress}", found)


def writes(space: Space, queue: str, kind: str) -> int:
    """Return how many status writes of a kind a queue's only worker has made."""
    (pod,) = space.pods(queue)
    name = f'taskqueue_worker_status_writes_total{{kind="{kind}",result="written"}}'
    return int(read_metric(ask_pod(pod, "/metrics").text, name) or 0)


def test_progress_is_shown_while_a_task_runs_and_stays(space: Space) -> None:
    space.apply(space.scenario_queue("held", timeout="2m"))
    space.wait_queue("held")
    payload = {"say": [[0.1, "begun"], [0.4, "halfway"]], "hold": True}
    space.apply(task("held", "held", "report", payload=payload))
    shown = {"percent": 40, "message": "halfway"}
    body = wait_progress(space, "held", shown)
    assert body["status"]["phase"] == "Running"
    row = space.kubectl.run("get", "task", "held", "--no-headers").split()
    assert row[:5] == ["held", "held", "report", "Running", "40"]
    # What was said in the first second came with the write that the Task needs anyway.
    assert writes(space, "held", "progress") == 0
    assert writes(space, "held", "running") == 1
    space.let_go()
    assert progress_of(space.wait_task("held", "Succeeded")) == shown


def test_many_reports_are_few_writes(space: Space) -> None:
    space.apply(space.scenario_queue("busy", timeout="2m"))
    space.wait_queue("busy")
    say = [[n / STEPS, f"{n} of {STEPS}"] for n in range(1, STEPS + 1)]
    payload = {"say": say, "pause": PAUSE_SECONDS}
    space.apply(task("busy", "busy", "report", payload=payload))
    body = space.wait_task("busy", "Succeeded")
    assert progress_of(body) == {"percent": 100, "message": f"{STEPS} of {STEPS}"}
    # Five seconds or more, of which the first is silent; one write in two.
    seconds = float(body["status"]["duration"].removesuffix("s"))
    assert 1 <= writes(space, "busy", "progress") <= seconds / 2


def test_a_short_task_shows_its_last_progress_by_its_only_write(shared: Space) -> None:
    before = writes(shared, "one", "progress")
    shared.apply(task("short", "one", "report", payload={"say": [[0.5, "half"], [1]]}))
    assert progress_of(shared.wait_task("short", "Succeeded")) == {"percent": 100, "message": ""}
    assert writes(shared, "one", "progress") == before


def test_what_cannot_be_meant_fails_the_attempt(shared: Space) -> None:
    shared.apply(task("percent", "one", "report", payload={"say": [[40]]}))
    body = shared.wait_task("percent", "Failed")
    assert error_of(body) == ("ValueError", "progress must be from 0 to 1, not 40.0")


def test_any_message_is_taken(shared: Space) -> None:
    text = "\x1b[1m żółć\r" + "x" * 2000
    shared.apply(task("odd", "one", "report", payload={"say": [[0.5, text]]}))
    progress = progress_of(shared.wait_task("odd", "Succeeded"))
    assert progress is not None
    assert progress["message"].startswith("\ufffd[1m żółć\nx")
    assert len(progress["message"]) == 1024


def test_the_next_attempt_starts_without_the_progress_of_the_one_before(space: Space) -> None:
    space.apply(space.scenario_queue("again", timeout="2m", retry=RETRY))
    space.wait_queue("again")
    payload = {"say": [[0.8]], "failures": 1, "hold": True}
    space.apply(task("again", "again", "report", payload=payload))
    between = space.wait("it shows its first attempt", lambda: seen(space, "again", 1))
    assert progress_of(between) == {"percent": 80, "message": ""}
    second = space.wait("it shows its second attempt", lambda: seen(space, "again", 2))
    assert progress_of(second) is None
    space.let_go()
    space.wait_task("again", "Succeeded")


def seen(space: Space, name: str, attempt: int) -> Object | None:
    """Return a Task that shows this attempt."""
    body = space.get("Task", name)
    return body if body["status"]["attempts"] == attempt else None
