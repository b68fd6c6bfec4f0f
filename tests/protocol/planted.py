"""Bugs put into the real functions, each of which the search has to find.

A bug is a name to replace, where it is used, by what is worse.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from taskqueue_api import status_rules
from taskqueue_api.messages import TaskHeaders
from taskqueue_operator.domain.dispatching import Publication, WaitingTask
from taskqueue_worker import claim, settle, statuses
from taskqueue_worker.claim import AskPod, Concluded, Drop, Path, Start, Verdict
from taskqueue_worker.settle import Acknowledge, PublishNext, Settlement
from taskqueue_worker.statuses import Patch, TaskView
from tests.protocol.scenarios import AGAIN, ANY_END, SCENARIOS, TWICE
from tests.protocol.world import FAILURE, Scenario


@dataclass(frozen=True)
class Bug:
    """A planted bug. changes: what replaces what. scenario: in which it shows."""

    changes: Mapping[str, Any]
    scenario: Scenario


def _one(*faults: str, budget: int = 1, **changes: Any) -> Scenario:
    scenario = Scenario(faults=frozenset(faults), budget=budget, prompt=True)
    return replace(scenario, **changes)


def _judge(change: Callable[..., Verdict]) -> Mapping[str, Any]:
    def judge(view: TaskView | None, *rest: Any) -> Verdict:
        return change(claim.judge(view, *rest), view, *rest)

    return {"taskqueue_worker.attempts.judge": judge}


def _ask_nobody(verdict: Verdict, view: TaskView, *_: Any) -> Verdict:
    return Start(view.attempts + 1, write=True) if isinstance(verdict, AskPod) else verdict


def _drop_concluded(verdict: Verdict, *_: Any) -> Verdict:
    return Drop("it is over") if isinstance(verdict, Concluded) else verdict


def _start_plain(verdict: Verdict, _view: Any, _uid: Any, _h: Any, path: Path, *_: Any) -> Verdict:
    plain = isinstance(verdict, Start) and path is Path.PLAIN
    return replace(verdict, write=False) if plain and isinstance(verdict, Start) else verdict


def _choose_fresh(headers: TaskHeaders, *, redelivered: bool, **rest: Any) -> Path:
    del redelivered
    return claim.choose_path(headers, redelivered=False, **rest)


def _is_alive(
    pod_uid: str | None, _start_time: Any, pod: Mapping[str, Any] | None, _now: float
) -> bool:
    return pod is not None and pod_uid == pod["metadata"]["uid"]


def _settle(change: Callable[[Settlement], Settlement]) -> Mapping[str, Any]:
    def worse(*arguments: Any, **more: Any) -> Settlement:
        return change(settle.settle(*arguments, **more))

    return {"taskqueue_worker.attempts.settle": worse}


def _end_always(settlement: Settlement) -> Settlement:
    return Acknowledge() if isinstance(settlement, Acknowledge) else settlement


def _never_publish(settlement: Settlement) -> Settlement:
    return Acknowledge() if isinstance(settlement, PublishNext) else settlement


def _same_attempt(original: Mapping[str, Any], attempt: int) -> dict[str, Any]:
    del attempt
    return settle.next_attempt_headers(original, original["x-tq-attempt"])


def _untested(uid: Any, version: str | None, values: Mapping[str, Any]) -> Patch:
    return _patch(uid, version, values)[1:]


_patch = statuses._patch


def _silently(task: WaitingTask) -> list[dict[str, Any]]:
    return [{"op": "test", "path": "/metadata/uid", "value": task.uid}]


def _first_always(task: WaitingTask, **_: Any) -> Publication:
    del task
    return Publication.FIRST


def _known_when_listed(task: WaitingTask, **_: Any) -> Publication:
    return Publication.KNOWN if task.listed else Publication.FIRST


def _newest(
    *, oldest_unconfirmed: datetime | None, newest_seen: datetime | None
) -> datetime | None:
    del oldest_unconfirmed
    return newest_seen + timedelta(minutes=1) if newest_seen else None


def _without(text: str) -> Mapping[str, Any]:
    """Take the rules away in whose message this stands."""
    return {
        f"taskqueue_api.status_rules.{name}": tuple(
            rule for rule in getattr(status_rules, name) if text not in rule.message
        )
        for name in ("STATES", "CHANGES")
    }


_OPERATORS = "tests.protocol.operators"
_FAILING: Mapping[str, Any] = {"policy": TWICE, "outcomes": (FAILURE,)}
_OPERATOR = Scenario(faults=frozenset({"operator", "unconfirmed"}), budget=1, patience=1)

BUGS: Mapping[str, Bug] = {
    "a running Task is claimed without asking who has it": Bug(
        _judge(_ask_nobody), _one("connection")
    ),
    "a redelivery takes the fast path": Bug(
        {"taskqueue_worker.attempts.choose_path": _choose_fresh}, _one("connection")
    ),
    "a copy beside the original takes the fast path": Bug(
        _judge(_start_plain), replace(_OPERATOR, faults=frozenset({"unconfirmed"}), patience=3)
    ),
    "another process in the same pod is taken for the old one": Bug(
        {"taskqueue_worker.claim.is_alive": _is_alive}, _one("container", workers=1)
    ),
    "a redelivery of what is over is dropped": Bug(
        _judge(_drop_concluded), _one("container", outcomes=(FAILURE,))
    ),
    "the next attempt is not published": Bug(
        _settle(_never_publish), _one(**{**_FAILING, "blind": True})
    ),
    "a message that may be needed is acknowledged": Bug(
        _settle(_end_always), SCENARIOS["two lost connections or containers"]
    ),
    "a retry keeps its number": Bug(
        {"tests.protocol.workers.next_attempt_headers": _same_attempt}, _one(**_FAILING)
    ),
    "acknowledged before the outcome": Bug({}, _one("container", ack_first=True)),
    "a status is written without a test of the UID": Bug(
        {"taskqueue_worker.statuses._patch": _untested}, _one(script=AGAIN, workers=1)
    ),
    "a copy is published without a word": Bug(
        {f"{_OPERATORS}.patch_announcement": _silently, f"{_OPERATORS}.REPUBLISH": 0}, _OPERATOR
    ),
    "a new operator publishes all again": Bug(
        {f"{_OPERATORS}.decide_publication": _first_always}, _OPERATOR
    ),
    "a new operator takes all for published": Bug(
        {f"{_OPERATORS}.decide_publication": _known_when_listed}, _OPERATOR
    ),
    "dispatchedThrough covers what is not confirmed": Bug(
        {f"{_OPERATORS}.decide_dispatched_through": _newest},
        replace(_OPERATOR, patience=0, notes=True),
    ),
    "nobody looks for what is overdue": Bug(
        {f"{_OPERATORS}.is_overdue": lambda *_: False}, _one("message", **_FAILING)
    ),
    "the API server lets a late outcome through": Bug(
        _without("must"),
        _one("node", outcomes=ANY_END),
    ),
}
