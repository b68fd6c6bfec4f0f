"""Whether a message's Task may be started."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskqueue_api.holder import is_alive
from taskqueue_api.messages import TaskHeaders, TaskUid
from taskqueue_worker.claim import (
    MAX_ATTEMPTS,
    AskPod,
    Conclude,
    Concluded,
    Drop,
    Park,
    Path,
    Start,
    Verdict,
    choose_path,
    is_wanted,
    judge,
    judge_holder,
    next_attempt,
)
from taskqueue_worker.outcomes import Cancelled, failure, final
from taskqueue_worker.statuses import Identity, TaskView
from tests.worker.views import PENDING, UID

CREATED = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
NOW = CREATED.timestamp()
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
    always = choose_path(headers, redelivered=redelivered, server_now=server_now, always=True)
    assert always is Path.CAREFUL


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
            Conclude(
                failure(
                    "WorkerLost", f"attempt {MAX_ATTEMPTS} was lost with its worker, pod '{ME.pod}'"
                )
            ),
            id="lost too often",
        ),
    ],
)
def test_what_a_read_means(view: TaskView, path: Path, verdict: Verdict) -> None:
    assert judge(view, UID, HEADERS, path, ME, ONCE, NOW) == verdict


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
    assert judge(view, UID, headers, path, ME, 9, NOW) == verdict


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
        assert judge(view, UID, headers, Path.CAREFUL, ME, 9, NOW) == Concluded()


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_a_message_of_any_attempt_of_a_running_task_asks_for_its_worker(attempt: int) -> None:
    headers = replace(HEADERS, attempt=attempt)
    view = replace(RUNNING, attempts=2)
    assert judge(view, UID, headers, Path.CAREFUL, ME, 9, NOW) == AskPod("tq-q-2")


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
    verdict = judge(view, UID, HEADERS, Path.CAREFUL, ME, ONCE, NOW)
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
    assert is_alive(OTHER["podUid"], RUNNING.start_time, holder, now) is alive
    expected = Park() if alive else Start(2, write=True)
    assert judge_holder(RUNNING, HEADERS, holder, now, ONCE) == expected


def test_lost_workers_end_at_the_last_attempt() -> None:
    before = replace(RUNNING, attempts=MAX_ATTEMPTS - 1)
    assert next_attempt(before, HEADERS, NOW, ONCE) == Start(MAX_ATTEMPTS, write=True)
    assert isinstance(
        next_attempt(replace(RUNNING, attempts=MAX_ATTEMPTS), HEADERS, NOW, ONCE), Conclude
    )


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
    assert next_attempt(view, HEADERS, NOW, most) == Start(last, write=True)
    assert isinstance(next_attempt(replace(view, attempts=last), HEADERS, NOW, most), Conclude)
    assert isinstance(
        judge_holder(replace(view, attempts=last), HEADERS, None, NOW, most), Conclude
    )


LATE = replace(HEADERS, deadline=CREATED - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("headers", "suspect"),
    [
        pytest.param(replace(HEADERS, delayed=True), False, id="came over the ladder"),
        pytest.param(HEADERS, True, id="the operator hinted at it"),
        pytest.param(LATE, False, id="too late"),
    ],
)
def test_what_is_not_plain_is_read_before_it_starts(headers: TaskHeaders, suspect: bool) -> None:
    path = choose_path(headers, redelivered=False, server_now=NOW + 1, suspect=suspect)
    assert path is Path.CAREFUL


def test_a_deadline_ahead_changes_nothing() -> None:
    headers = replace(HEADERS, deadline=CREATED + timedelta(seconds=9))
    assert choose_path(headers, redelivered=False, server_now=NOW + 1) is Path.FRESH
    assert judge(PENDING, UID, headers, Path.PLAIN, ME, ONCE, NOW + 1) == Start(1, write=False)


@pytest.mark.parametrize("path", [Path.PLAIN, Path.CAREFUL])
@pytest.mark.parametrize("before", [PENDING, RETRYING], ids=["waits", "waits for another"])
def test_a_cancelled_task_is_ended_instead_of_started(before: TaskView, path: Path) -> None:
    view = replace(before, cancel=True)
    headers = replace(HEADERS, attempt=before.attempts + 1)
    assert judge(view, UID, headers, path, ME, 9, NOW) == Conclude(Cancelled())


def test_a_cancelled_task_that_runs_is_its_living_workers_to_end() -> None:
    view = replace(RUNNING, cancel=True)
    assert judge(view, UID, HEADERS, Path.CAREFUL, ME, 9, NOW) == AskPod("tq-q-2")
    assert judge_holder(view, HEADERS, pod(), NOW + 60, 9) == Park()
    assert judge_holder(view, HEADERS, None, NOW + 60, 9) == Conclude(Cancelled())


@pytest.mark.parametrize("before", [PENDING, RETRYING], ids=["waits", "waits for another"])
def test_what_comes_after_its_deadline_is_failed(before: TaskView) -> None:
    headers = replace(LATE, attempt=before.attempts + 1)
    words = (
        f"attempt {before.attempts + 1} was not started before the deadline, 2026-01-01T11:59:59Z"
    )
    expected = Conclude(final("DeadlineExceeded", words))
    assert judge(before, UID, headers, Path.CAREFUL, ME, 9, NOW) == expected


def test_after_the_deadline_a_lost_attempt_is_the_last() -> None:
    lost = judge_holder(RUNNING, LATE, None, NOW, 9)
    words = "attempt 1 was lost with its worker, pod 'tq-q-2'"
    assert lost == Conclude(failure("WorkerLost", words))
    assert judge_holder(RUNNING, LATE, pod(), NOW + 60, 9) == Park()


MINE = replace(RUNNING, worker=ME.to_status())


@pytest.mark.parametrize(
    ("view", "wanted"),
    [
        pytest.param(PENDING, True, id="nobody was told yet"),
        pytest.param(MINE, True, id="it says that we run it"),
        pytest.param(None, False, id="gone"),
        pytest.param(replace(MINE, uid=TaskUid("uid-2")), False, id="created again"),
        pytest.param(replace(MINE, run=1), False, id="run again"),
        pytest.param(replace(PENDING, cancel=True), False, id="cancelled, and it does not know"),
        pytest.param(replace(MINE, cancel=True), False, id="cancelled"),
        pytest.param(replace(PENDING, phase="Cancelled"), False, id="ended as cancelled"),
        pytest.param(replace(MINE, phase="Failed"), False, id="given up"),
        pytest.param(RUNNING, False, id="taken over by another"),
        pytest.param(replace(MINE, attempts=2), False, id="a later attempt runs here too"),
        pytest.param(replace(RETRYING, attempts=0), True, id="what another did before our attempt"),
    ],
)
def test_is_wanted(view: TaskView | None, wanted: bool) -> None:
    assert is_wanted(view, UID, 0, 1, ME) is wanted
