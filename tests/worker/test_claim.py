"""Whether a message's Task may be started."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskqueue_api.messages import TaskHeaders, TaskUid
from taskqueue_worker.claim import (
    MAX_ATTEMPTS,
    AskPod,
    Concluded,
    Drop,
    GiveUp,
    Park,
    Path,
    Start,
    Verdict,
    choose_path,
    is_alive,
    judge,
    judge_holder,
    next_attempt,
)
from taskqueue_worker.statuses import Identity, TaskView

CREATED = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
NOW = CREATED.timestamp()
UID = TaskUid("uid-1")
ONCE = 1
"""Attempts in all, without a retry policy."""
ME = Identity(pod="tq-q-1", pod_uid="pod-1", node="n", instance="mine")
HEADERS = TaskHeaders(
    cluster="c",
    namespace="ns",
    name="t",
    created=CREATED,
    run=0,
    attempt=1,
    dispatches=1,
    timeout=timedelta(seconds=30),
)
OTHER = {"pod": "tq-q-2", "podUid": "pod-2", "node": "n", "instance": "other"}
PENDING = TaskView(
    uid=UID,
    resource_version="7",
    phase="Pending",
    run=0,
    attempts=0,
    dispatches=1,
    start_time=None,
    worker={},
    error_type="",
    error_message="",
)
RUNNING = replace(
    PENDING, phase="Running", attempts=1, start_time="2026-01-01T12:00:10Z", worker=OTHER
)

RETRYING = replace(
    RUNNING,
    phase="Retrying",
    error_type="Boom",
    error_message="why",
    next_attempt_time="2026-01-01T12:01:00.000Z",
)


@pytest.mark.parametrize(
    ("changes", "redelivered", "server_now", "path"),
    [
        pytest.param({}, False, NOW + 1, Path.FRESH, id="new"),
        pytest.param({}, False, NOW - 0.5, Path.FRESH, id="clock a little behind"),
        pytest.param({}, False, NOW - 2, Path.PLAIN, id="from the future"),
        pytest.param({}, False, NOW + 5, Path.PLAIN, id="five seconds old"),
        pytest.param({}, False, None, Path.PLAIN, id="clock unknown"),
        pytest.param({}, True, NOW + 1, Path.CAREFUL, id="redelivered"),
        pytest.param({"attempt": 2}, False, NOW + 1, Path.CAREFUL, id="second attempt"),
        pytest.param({"run": 1}, False, NOW + 1, Path.CAREFUL, id="a rerun"),
        pytest.param({"dispatches": 2}, False, NOW + 1, Path.CAREFUL, id="republished"),
    ],
)
def test_the_fast_path_is_for_new_tasks_only(
    changes: dict[str, Any], redelivered: bool, server_now: float | None, path: Path
) -> None:
    headers = replace(HEADERS, **changes)
    assert choose_path(headers, redelivered=redelivered, server_now=server_now) is path


@pytest.mark.parametrize(
    ("view", "path", "verdict"),
    [
        pytest.param(PENDING, Path.PLAIN, Start(1, write=False), id="plain needs no write"),
        pytest.param(PENDING, Path.CAREFUL, Start(1, write=True), id="careful writes"),
        pytest.param(
            replace(PENDING, dispatches=2), Path.PLAIN, Start(1, write=True), id="republished since"
        ),
        pytest.param(
            replace(PENDING, phase="Succeeded", attempts=1), Path.PLAIN, Concluded(), id="succeeded"
        ),
        pytest.param(
            replace(PENDING, phase="Failed", attempts=1), Path.CAREFUL, Concluded(), id="failed"
        ),
        pytest.param(RUNNING, Path.CAREFUL, AskPod("tq-q-2"), id="another runs it"),
        pytest.param(RUNNING, Path.PLAIN, AskPod("tq-q-2"), id="another runs it, plain"),
        pytest.param(
            replace(RUNNING, worker=ME.to_status()),
            Path.CAREFUL,
            Start(2, write=True),
            id="claimed by this process and lost before its start",
        ),
        pytest.param(
            replace(RUNNING, worker=ME.to_status(), attempts=MAX_ATTEMPTS),
            Path.CAREFUL,
            GiveUp(f"attempt {MAX_ATTEMPTS} was lost with its worker, pod 'tq-q-1'"),
            id="lost too often",
        ),
    ],
)
def test_what_a_read_means(view: TaskView, path: Path, verdict: Verdict) -> None:
    assert judge(view, UID, HEADERS, path, ME, ONCE) == verdict


@pytest.mark.parametrize(
    ("attempts", "attempt", "path", "verdict"),
    [
        pytest.param(1, 2, Path.CAREFUL, Start(2, write=True), id="the next attempt"),
        pytest.param(4, 5, Path.CAREFUL, Start(5, write=True), id="the fifth"),
        pytest.param(1, 3, Path.CAREFUL, Start(2, write=True), id="a number ahead"),
        pytest.param(1, 1, Path.CAREFUL, Concluded(), id="the attempt that failed"),
        pytest.param(1, 1, Path.PLAIN, Concluded(), id="the attempt that failed, plain"),
        pytest.param(3, 1, Path.CAREFUL, Concluded(), id="an attempt long over"),
        pytest.param(2, 2, Path.CAREFUL, Concluded(), id="the second failed"),
    ],
)
def test_what_a_read_of_a_task_that_is_retried_means(
    attempts: int, attempt: int, path: Path, verdict: Verdict
) -> None:
    headers = replace(HEADERS, attempt=attempt)
    view = replace(RETRYING, attempts=attempts)
    assert judge(view, UID, headers, path, ME, 9) == verdict


@pytest.mark.parametrize(
    ("attempts", "phase"),
    [
        pytest.param(2, "Succeeded", id="succeeded"),
        pytest.param(2, "Failed", id="failed"),
    ],
)
def test_a_message_of_any_attempt_of_a_finished_task_is_settled(attempts: int, phase: str) -> None:
    view = replace(PENDING, phase=phase, attempts=attempts)
    for attempt in (1, 2, 3):
        headers = replace(HEADERS, attempt=attempt)
        assert judge(view, UID, headers, Path.CAREFUL, ME, 9) == Concluded()


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_a_message_of_any_attempt_of_a_running_task_asks_for_its_worker(attempt: int) -> None:
    headers = replace(HEADERS, attempt=attempt)
    view = replace(RUNNING, attempts=2)
    assert judge(view, UID, headers, Path.CAREFUL, ME, 9) == AskPod("tq-q-2")


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        pytest.param(None, "gone", id="deleted"),
        pytest.param(replace(PENDING, uid=TaskUid("uid-2")), "created again", id="another uid"),
        pytest.param(replace(PENDING, run=1), "in run 1", id="another run"),
    ],
)
def test_a_message_of_another_life_of_the_task_is_dropped(
    view: TaskView | None, reason: str
) -> None:
    verdict = judge(view, UID, HEADERS, Path.CAREFUL, ME, ONCE)
    assert isinstance(verdict, Drop)
    assert reason in verdict.reason


def pod(
    *,
    uid: str = "pod-2",
    ready: bool = True,
    container_ready: bool = True,
    started: str | None = "2026-01-01T12:00:00Z",
    deletion: str | None = None,
    name: str = "worker",
    sidecar_ready: bool | None = None,
) -> dict[str, Any]:
    metadata = {"uid": uid} | ({"deletionTimestamp": deletion} if deletion else {})
    state = {"running": {"startedAt": started}} if started else {"terminated": {"exitCode": 137}}
    sidecar = {"name": "server", "ready": sidecar_ready, "state": state}
    return {
        "metadata": metadata,
        "status": {
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "initContainerStatuses": [] if sidecar_ready is None else [sidecar],
            "containerStatuses": [{"name": name, "ready": container_ready, "state": state}],
        },
    }


@pytest.mark.parametrize(
    ("holder", "alive"),
    [
        pytest.param(pod(), True, id="alive"),
        pytest.param(None, False, id="pod gone"),
        pytest.param(pod(uid="pod-3"), False, id="another pod of that name"),
        pytest.param(pod(started=None), False, id="container ended"),
        pytest.param(pod(name="sidecar"), False, id="no such container"),
        pytest.param(
            pod(started="2026-01-01T12:00:09Z"), True, id="started a second before the attempt"
        ),
        pytest.param(
            pod(started="2026-01-01T12:00:10Z"), False, id="started in the second of the attempt"
        ),
        pytest.param(pod(started="2026-01-01T12:00:11Z"), False, id="started after the attempt"),
        pytest.param(pod(ready=False), False, id="node lost: Ready taken away from outside"),
        pytest.param(
            pod(ready=False, container_ready=False), True, id="its own probe fails: it drains"
        ),
        pytest.param(
            pod(ready=False, sidecar_ready=False), True, id="the probe of its sidecar fails"
        ),
        pytest.param(pod(ready=False, sidecar_ready=True), False, id="node lost, with a sidecar"),
        pytest.param(pod(deletion="2026-01-01T12:01:01Z"), True, id="terminating, in its grace"),
        pytest.param(pod(deletion="2026-01-01T12:00:59Z"), False, id="its grace is over"),
    ],
)
def test_alive_means_the_very_process_that_made_the_attempt(
    holder: dict[str, Any] | None, alive: bool
) -> None:
    now = NOW + 60
    assert is_alive(RUNNING, holder, now) is alive
    expected = Park() if alive else Start(2, write=True)
    assert judge_holder(RUNNING, holder, now, ONCE) == expected


def test_lost_workers_end_at_the_last_attempt() -> None:
    before = replace(RUNNING, attempts=MAX_ATTEMPTS - 1)
    assert next_attempt(before, ONCE) == Start(MAX_ATTEMPTS, write=True)
    assert isinstance(next_attempt(replace(RUNNING, attempts=MAX_ATTEMPTS), ONCE), GiveUp)


@pytest.mark.parametrize(
    ("most", "last"),
    [
        pytest.param(1, MAX_ATTEMPTS, id="no retries"),
        pytest.param(MAX_ATTEMPTS - 1, MAX_ATTEMPTS, id="fewer"),
        pytest.param(MAX_ATTEMPTS + 1, MAX_ATTEMPTS + 1, id="more"),
        pytest.param(100, 100, id="as many as can be"),
    ],
)
def test_a_policy_with_more_attempts_allows_more_lost_workers(most: int, last: int) -> None:
    view = replace(RUNNING, attempts=last - 1)
    assert next_attempt(view, most) == Start(last, write=True)
    assert isinstance(next_attempt(replace(view, attempts=last), most), GiveUp)
    assert isinstance(judge_holder(replace(view, attempts=last), None, NOW, most), GiveUp)
