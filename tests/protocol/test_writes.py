"""Every write of operator and worker to a Task, against the rules of the definition."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskqueue_api.messages import TaskUid
from taskqueue_api.retries import ATTEMPTS_MOST
from taskqueue_api.status_rules import DEADLINE_EXCEEDED
from taskqueue_api.task import DISPATCHES_MOST
from taskqueue_operator.domain.dispatching import Refusal, read_task
from taskqueue_operator.domain.rerunning import decide_rerun
from taskqueue_operator.domain.task_status import (
    patch_announcement,
    patch_cancelled,
    patch_dispatched,
    patch_refused,
    patch_rerun,
)
from taskqueue_worker.outcomes import Cancelled, Outcome, Success, failure, final
from taskqueue_worker.retrying import Again
from taskqueue_worker.statuses import (
    Attempt,
    Ended,
    Identity,
    Progress,
    conclude_patch,
    ended_patch,
    lost_with_worker,
    progress_patch,
    running_patch,
    view_task,
)
from tests.protocol.api_server import apply_patch, build_task, load

Body = Mapping[str, Any]
Write = Callable[[Body], list[dict[str, Any]]]

UID = TaskUid("u")
NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
ME, OTHER = (Identity(name, f"{name}-uid", "node", name) for name in ("me", "other"))
BOOM = failure("Boom", "why")
WON = Success(b'{"sum": 1}')
HALF = Progress(50, "halfway")
LATE = Refusal(DEADLINE_EXCEEDED, "too late")


def attempt(number: int, who: Identity = ME, run: int = 0) -> Attempt:
    return Attempt(UID, run, number, NOW, who)


def running(number: int, who: Identity = ME) -> Write:
    """A claim that rests on what was read."""

    def write(body: Body) -> list[dict[str, Any]]:
        view = view_task(body)
        return running_patch(attempt(number, who, view.run), view, NOW)

    return write


def shown(number: int) -> Write:
    """A handler that runs already."""
    return lambda _: running_patch(attempt(number), None, NOW, HALF)


def progress(number: int) -> Write:
    return lambda _: progress_patch(attempt(number), HALF)


def ends(number: int, outcome: Outcome, who: Identity = ME) -> Write:
    return lambda _: ended_patch(Ended(attempt(number, who), outcome, None, 1.0, NOW, HALF))


def fails(number: int) -> Write:
    """An attempt that is followed by another."""
    again = Again(BOOM, timedelta(seconds=1))
    return lambda _: ended_patch(Ended(attempt(number), BOOM, again, 1.0, NOW))


def concludes(outcome: Outcome) -> Write:
    return lambda body: conclude_patch(view_task(body), outcome, NOW)


def gives_up(body: Body) -> list[dict[str, Any]]:
    view = view_task(body)
    return conclude_patch(view, lost_with_worker(view), NOW)


def announces(body: Body) -> list[dict[str, Any]]:
    return patch_announcement(read_task(body, listed=True))


def holds(body: Body) -> list[dict[str, Any]]:
    task = read_task(body, listed=True)
    return patch_dispatched(task, ok=False, reason="QueueNotFound", message="why", now=NOW)


def cancels(body: Body) -> list[dict[str, Any]]:
    return patch_cancelled(read_task(body, listed=True), NOW)


def refuses(body: Body) -> list[dict[str, Any]]:
    return patch_refused(read_task(body, listed=True), LATE, NOW)


def reruns(body: Body) -> list[dict[str, Any]]:
    wanted = decide_rerun({**body, "spec": {**body["spec"], "rerun": 1}})
    assert wanted
    return patch_rerun(wanted)


@pytest.mark.parametrize(
    "writes",
    [
        pytest.param([ends(1, WON)], id="short success"),
        pytest.param([ends(1, BOOM)], id="short failure"),
        pytest.param([ends(1, Cancelled())], id="stopped in its first second"),
        pytest.param([shown(1), progress(1), ends(1, WON)], id="success"),
        pytest.param([shown(1), ends(1, BOOM)], id="failure"),
        pytest.param([shown(1), ends(1, Cancelled())], id="stopped"),
        pytest.param([fails(1), running(2), ends(2, WON)], id="success of the second"),
        pytest.param([shown(1), fails(1), running(2), fails(2)], id="failure of the second"),
        pytest.param([fails(1), holds, cancels], id="cancelled between two attempts"),
        pytest.param([fails(1), refuses], id="too late for another"),
        pytest.param([fails(1), concludes(Cancelled())], id="cancelled, said by a worker"),
        pytest.param([fails(1), concludes(final(*LATE))], id="too late, said by a worker"),
        pytest.param([announces, announces, running(1), ends(1, WON)], id="published three times"),
        pytest.param([holds, running(1), ends(1, WON)], id="held for a while"),
        pytest.param([holds, refuses], id="refused"),
        pytest.param([holds, cancels], id="cancelled before its first attempt"),
        pytest.param([concludes(Cancelled())], id="cancelled, said by the first worker"),
        pytest.param([concludes(final(*LATE))], id="too late, said by the first worker"),
        pytest.param([running(1), running(2, OTHER), ends(2, WON, OTHER)], id="taken over"),
        pytest.param([running(1), announces, running(2)], id="taken over from itself"),
        pytest.param([running(1), gives_up], id="given up"),
        pytest.param([running(1), concludes(Cancelled())], id="lost and cancelled"),
        pytest.param([ends(1, BOOM), reruns, holds, running(1)], id="run again"),
    ],
)
def test_a_write_of_ours_is_never_refused(writes: list[Write]) -> None:
    stored: str | None = build_task("a", UID, NOW)
    for write in writes:
        body = json.loads(stored or "")
        # Somebody has asked for whatever is to be done.
        body["spec"]["cancel"] = '"Cancelled"' in json.dumps(write(body))
        body["spec"]["rerun"] = 1 if write is reruns else body["status"]["run"]
        answer = apply_patch(json.dumps(body), json.dumps(write(body)))
        assert answer.words == ""
        stored = answer.body


def at(**status: Any) -> str:
    """Return a Task with a status that somebody has forged."""
    body = json.loads(build_task("a", UID, NOW))
    body["status"] |= status
    return json.dumps(body)


def test_the_last_number_of_a_publication_holds_up_no_announcement() -> None:
    body = load(at(dispatches=DISPATCHES_MOST))
    answer = apply_patch(json.dumps(body), json.dumps(announces(body)))
    assert answer.words == ""
    assert load(answer.body or "")["status"]["dispatches"] == DISPATCHES_MOST


def test_the_last_attempt_can_be_started_and_end() -> None:
    error = {"type": "Boom", "message": "why"}
    last = {
        "attempts": ATTEMPTS_MOST - 1,
        "error": error,
        "nextAttemptTime": "2026-01-02T12:00:00Z",
    }
    body = at(phase="Retrying", **last)
    for write in (running(ATTEMPTS_MOST), ends(ATTEMPTS_MOST, BOOM)):
        answer = apply_patch(body, json.dumps(write(load(body))))
        assert answer.words == ""
        body = answer.body or ""
