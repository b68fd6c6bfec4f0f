"""Finished Tasks are deleted as their queue or they themselves say, and nothing else ever is."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from e2e.api import Object
from e2e.conftest import MakeSpace
from e2e.kubectl import Kubectl
from e2e.manifests import edited, task, taskqueue
from e2e.refusals import Refusal, refusal
from e2e.space import Space, holds_for
from e2e.stage import ERROR, ILL, ME, WELL
from e2e.test_retries import MINUTE
from taskqueue_api.conditions import rfc3339

__all__ = ["refusal"]

AT_ONCE = {"succeeded": "0s", "failed": "0s"}
LOOKED_SECONDS = 15.0
"""By then the operator has listed a namespace in which something happened, and more than once."""

TRACKING = {"argocd.argoproj.io/tracking-id": "shop:taskqueue.dev/Task:shop/tracked"}


@pytest.fixture(scope="module")
def shared(make_space: MakeSpace) -> Space:
    """Give a namespace for queues without workers: what has finished there is said by us."""
    return make_space()


def make_queue(space: Space, name: str, history: Mapping[str, Any] | None) -> None:
    """Create a TaskQueue that runs nothing, so that its Tasks become what a test says."""
    spec = {} if history is None else {"history": history}
    space.apply(space.scenario_queue(name, {"replicas": 0}, deletionPolicy="Delete", **spec))


def finish(
    space: Space,
    name: str,
    queue: str,
    phase: str = "Succeeded",
    *,
    seconds_ago: float = 0,
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> Object:
    """Create a Task and say that it has finished, and when."""
    document = task(name, queue, "record", **spec)
    document["metadata"] |= {"namespace": space.name, "annotations": dict(annotations or {})}
    space.system.api.create(document)
    ended = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    status = {
        "phase": phase,
        "attempts": 1,
        "worker": ME,
        "completionTime": rfc3339(ended),
        "conditions": WELL if phase == "Succeeded" else ILL,
        **({"error": ERROR} if phase == "Failed" else {}),
    }
    return space.system.api.merge("Task", space.name, name, {"status": status}, sub="status")


def names_of(space: Space, queue: str) -> list[str]:
    """Return the names of a TaskQueue's Tasks."""
    return sorted(one["metadata"]["name"] for one in space.tasks(f"spec.queue={queue}"))


def stays(space: Space, *names: str) -> bool:
    """Return whether Tasks are still there after the operator must have looked at them."""
    return holds_for(lambda: all(space.find("Task", name) for name in names), LOOKED_SECONDS)


def deleted(space: Space, queue: str, reason: str) -> float:
    """Return how many Tasks of a queue the operator says that it has deleted."""
    labels = f'namespace="{space.name}",queue="{queue}",reason="{reason}"'
    return space.system.metric(f"taskqueue_tasks_deleted_total{{{labels}}}") or 0


@pytest.mark.long
def test_each_outcome_has_its_own_age(space: Space) -> None:
    space.apply(space.scenario_queue("aged", history={"succeeded": "0s"}))
    space.wait_queue("aged")
    space.apply(task("good", "aged", "record"), task("bad", "aged", "raise"))
    space.wait_gone("Task", "good")
    assert [run.name for run in space.runs() if run.name == "good"] == ["good"]
    space.wait_task("bad", "Failed")
    assert stays(space, "bad")
    space.edit_queue("aged", history={"failed": "1s"})
    space.wait_gone("Task", "bad")
    assert deleted(space, "aged", "age") == 2
    counts = {"pending": 0, "running": 0, "retrying": 0, "succeeded": 0, "failed": 0}
    counts["cancelled"] = 0
    space.wait(
        "the counts are right again",
        lambda: space.get("TaskQueue", "aged")["status"]["tasks"] == counts,
    )
    space.wait_depth("aged", 0)


def test_its_age_is_reached_while_nothing_happens(space: Space) -> None:
    make_queue(space, "rests", {"succeeded": "25s"})
    finish(space, "waits", "rests")
    # Created and finished within whole seconds: a second or two less than 25 are left.
    assert holds_for(lambda: space.find("Task", "waits") is not None, 20)
    space.wait_gone("Task", "waits", seconds=25)


@pytest.mark.parametrize(
    ("queue", "history", "ttl", "goes"),
    [
        pytest.param("no-history", None, "0s", True, id="no history"),
        pytest.param("long-history", {"succeeded": "8760h"}, "1s", True, id="shorter"),
        pytest.param("short-history", AT_ONCE, "1h", False, id="longer"),
    ],
)
def test_a_task_s_own_ttl_goes_before_its_queue_s(
    shared: Space, queue: str, history: dict[str, Any] | None, ttl: str, goes: bool
) -> None:
    make_queue(shared, queue, history)
    finish(shared, f"own-{queue}", queue, ttlAfterFinished=ttl)
    if goes:
        shared.wait_gone("Task", f"own-{queue}")
    else:
        assert stays(shared, f"own-{queue}")


def test_without_a_taskqueue_only_an_own_ttl_deletes(space: Space) -> None:
    finish(space, "plain", "nowhere", "Failed", seconds_ago=3600)
    finish(space, "own", "nowhere", "Failed", ttlAfterFinished="0s")
    space.wait_gone("Task", "own")
    assert stays(space, "plain")


def test_the_limit_keeps_the_newest(shared: Space) -> None:
    make_queue(shared, "limited", None)
    # By the end of each, not by its creation or its name.
    ages = {"a": 50, "b": 10, "c": 40, "d": 20, "e": 30}
    for name, age in ages.items():
        phase = "Failed" if name == "d" else "Succeeded"
        finish(shared, f"limited-{name}", "limited", phase, seconds_ago=age)
    shared.edit_queue("limited", history={"limit": 2})
    kept = ["limited-b", "limited-d"]
    shared.wait("two are left", lambda: names_of(shared, "limited") == kept)
    finish(shared, "limited-f", "limited")
    kept = ["limited-b", "limited-f"]
    shared.wait("the newest two are left", lambda: names_of(shared, "limited") == kept)
    assert stays(shared, *kept)
    assert deleted(shared, "limited", "limit") == 4


def test_what_a_gitops_tool_tracks_stays_unless_asked_for(shared: Space) -> None:
    make_queue(shared, "tracked", {**AT_ONCE, "limit": 0})
    finish(shared, "tracked", "tracked", annotations=TRACKING)
    finish(shared, "tracked-own", "tracked", annotations=TRACKING, ttlAfterFinished="0s")
    finish(shared, "untracked", "tracked")
    shared.wait_gone("Task", "untracked")
    assert stays(shared, "tracked", "tracked-own")
    shared.edit_queue("tracked", history={"gitOps": True})
    for name in ("tracked", "tracked-own"):
        shared.wait_gone("Task", name)


@pytest.mark.long
def test_what_has_not_finished_is_never_deleted(space: Space) -> None:
    strict = {**AT_ONCE, "limit": 0}
    space.apply(space.scenario_queue("busy", {"concurrency": 3}, history=strict, retry=MINUTE))
    make_queue(space, "idle", strict)
    space.wait_queue("busy")
    space.apply(
        task("running", "busy", "hold", ttlAfterFinished="0s"),
        task("retrying", "busy", "flaky", payload={"failures": 1}, ttlAfterFinished="0s"),
        task("pending", "idle", "record", ttlAfterFinished="0s"),
    )
    space.wait_task("running", "Running")
    space.wait_task("retrying", "Retrying")
    space.apply(task("done", "busy", "record"))
    space.wait_gone("Task", "done")
    assert stays(space, "running", "retrying", "pending")
    space.let_go()
    space.wait_gone("Task", "running")
    assert len(space.runs("end")) == 1


def test_a_namesake_of_a_deleted_task_is_another_task(shared: Space) -> None:
    make_queue(shared, "again", AT_ONCE)
    for _ in range(3):
        uid = finish(shared, "again", "again")["metadata"]["uid"]
        shared.wait_gone("Task", "again")
    shared.apply(task("again", "again", "record"))
    assert stays(shared, "again")
    assert shared.get("Task", "again")["metadata"]["uid"] != uid


def test_many_are_cleaned_up(space: Space) -> None:
    space.apply(space.scenario_queue("many", {"concurrency": 8}, history={"limit": 10}))
    space.wait_queue("many")
    names = [f"task-{n:03}" for n in range(300)]
    space.create_all(task(name, "many", "record") for name in names)
    space.wait("all have run", lambda: len({run.name for run in space.runs()}) == len(names))
    space.wait("ten are left", lambda: len(space.tasks()) == 10)
    space.wait_depth("many", 0)
    assert sorted(run.name for run in space.runs()) == names
    space.wait("290 are counted", partial(has_deleted, space, "many", "limit", 290))
    assert {one["status"]["phase"] for one in space.tasks()} == {"Succeeded"}


def has_deleted(space: Space, queue: str, reason: str, count: int) -> bool:
    """Return whether the operator says that it has deleted so many Tasks."""
    return deleted(space, queue, reason) == count


# The schema


@pytest.mark.parametrize(
    ("history", "field", "must"),
    [
        pytest.param(
            {}, "", "at least one of succeeded, failed and limit must be set", id="nothing"
        ),
        pytest.param(
            {"gitOps": True},
            "",
            "at least one of succeeded, failed and limit must be set",
            id="nothing, of what is tracked",
        ),
        pytest.param(
            {"succeeded": "1d"},
            "succeeded",
            "must be a duration such as '30s', '5m' or '1h30m', not '1d'",
            id="no duration",
        ),
        pytest.param(
            {"failed": "8761h"},
            "failed",
            "must be between '0s' and '8760h', not '8761h'",
            id="too long",
        ),
        pytest.param({"limit": -1}, "limit", "greater than or equal to 0", id="less than nothing"),
        pytest.param({"limit": 100001}, "limit", "less than or equal to 100000", id="too many"),
        pytest.param({"limit": "ten"}, "limit", "integer", id="no number"),
        pytest.param({"limit": 1, "cancelled": "1h"}, "cancelled", "unknown field", id="unknown"),
    ],
)
def test_history_cannot(refusal: Refusal, history: dict[str, Any], field: str, must: str) -> None:
    said = refusal(edited(taskqueue("good"), {"spec.history": history}))
    assert ".".join(part for part in ("spec.history", field) if part) in said
    assert must in said


@pytest.mark.parametrize(
    ("ttl", "must"),
    [
        pytest.param("soon", "must be a duration such as", id="no duration"),
        pytest.param("8761h", "must be between '0s' and '8760h', not '8761h'", id="too long"),
        pytest.param(60, "must be of type string", id="a number"),
    ],
)
def test_ttl_cannot(refusal: Refusal, ttl: Any, must: str) -> None:
    said = refusal(edited(task("good", "emails"), {"spec.ttlAfterFinished": ttl}))
    assert "spec.ttlAfterFinished" in said
    assert must in said


@pytest.mark.parametrize(
    "history",
    [
        pytest.param({"succeeded": "0s"}, id="at once"),
        pytest.param({"failed": "8760h"}, id="a year"),
        pytest.param({"limit": 0}, id="none is kept"),
        pytest.param(
            {"succeeded": "1h30m", "failed": "24h", "limit": 100000, "gitOps": True}, id="all"
        ),
    ],
)
def test_history_can(kubectl: Kubectl, history: dict[str, Any]) -> None:
    kubectl.apply([edited(taskqueue("tidy"), {"spec.history": history})])
    stored = kubectl.get_json("tq", "tidy")["spec"]["history"]
    assert stored["gitOps"] == history.get("gitOps", False)


def test_ttl_is_shown(kubectl: Kubectl) -> None:
    kubectl.apply([task("fixed", "emails", ttlAfterFinished="1h")])
    row = kubectl.run("get", "tqt", "fixed", "-o", "wide", "--no-headers").split()
    assert "1h" in row
