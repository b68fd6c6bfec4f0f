"""What handlers say is seen: their progress while they run, their last lines when they fail."""

from typing import Any

import pytest

from e2e.api import Object
from e2e.conftest import MakeSpace
from e2e.manifests import mounted_template, task, taskqueue
from e2e.space import Space, error_of
from e2e.system import ask_pod, name_of, read_metric
from taskqueue_api.task import ERROR_LOG_MAX_BYTES

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


# The last lines of a failed attempt


SAID = ["printed line 0", "logged", "by a child"]


def log_of(body: Object) -> list[str]:
    """Return the lines of a Task's error."""
    return str(body["status"]["error"].get("log", "")).splitlines()


@pytest.mark.parametrize(
    ("end", "error_type"),
    [
        pytest.param("raise", "LookupError", id="an exception"),
        pytest.param("hang", "Timeout", id="the timeout"),
        pytest.param("kill", "Killed", id="a signal"),
    ],
)
def test_a_failed_attempt_leaves_its_last_lines(shared: Space, end: str, error_type: str) -> None:
    name = f"says-{end}"
    shared.apply(task(name, "one", "say", payload={"end": end}, timeout="2s"))
    body = shared.wait_task(name, "Failed")
    assert error_of(body)[0] == error_type
    # What was logged comes by another way than what was printed.
    assert sorted(log_of(body)) == sorted(SAID)


def test_one_that_uses_up_the_memory_leaves_its_last_lines(space: Space) -> None:
    workers = space.scenario_queue("small")["spec"]["workers"]
    workers["template"]["resources"] = {"limits": {"memory": "160Mi"}}
    space.apply(taskqueue("small", workers))
    space.wait_queue("small")
    space.apply(task("eats", "small", "say", payload={"end": "eat"}))
    body = space.wait_task("eats", "Failed")
    assert error_of(body)[0] == "OOMKilled"
    assert sorted(log_of(body)) == sorted(SAID)


def test_of_much_only_the_end_is_kept_and_the_pod_has_it_all(space: Space) -> None:
    space.apply(space.scenario_queue("much", timeout="1m"))
    space.wait_queue("much")
    lines = 20_000
    space.apply(task("much", "much", "say", payload={"lines": lines, "end": "raise"}))
    body = space.wait_task("much", "Failed")
    assert len(body["status"]["error"]["log"].encode()) <= ERROR_LOG_MAX_BYTES
    printed = [line for line in log_of(body) if line.startswith("printed")]
    assert len(printed) > 50
    assert printed == [f"printed line {n}" for n in range(lines - len(printed), lines)]
    (pod,) = space.pods("much")
    text = space.kubectl.run("logs", name_of(pod), "--tail=-1")
    # The container's runtime may have begun another file.
    assert f"printed line {lines - 1}\n" in text


def test_a_program_leaves_the_end_of_its_standard_error(space: Space) -> None:
    script = "seq 1000 >&2; echo waiting >&2; sleep 60"
    program = {"exec": {"command": ["/bin/sh", "-c", script]}}
    template = mounted_template(space.recorder.url)
    space.apply(taskqueue("program", {"handlers": program, "template": template}))
    space.wait_queue("program")
    space.apply(task("waits", "program", timeout="2s"))
    body = space.wait_task("waits", "Failed")
    assert error_of(body)[0] == "Timeout"
    assert log_of(body)[-3:] == ["999", "1000", "waiting"]


def test_an_attempt_that_succeeds_takes_the_error_away(space: Space) -> None:
    space.apply(space.scenario_queue("again", timeout="1m", retry=RETRY))
    space.wait_queue("again")
    space.apply(task("again", "again", "say", payload={"end": "raise"}))
    between = space.wait_task("again", "Retrying")
    assert sorted(log_of(between)) == sorted(SAID)
    assert "error" not in space.wait_task("again", "Succeeded")["status"]
