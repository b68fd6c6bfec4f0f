"""The real claim and finish of `taskqueue_worker.attempts`, taken one API call at a time.

A coroutine cannot be copied, as a search over all orders needs. But between two calls it is a
function of the answers it has got; so it is run again from its start with these, up to the next
call. Results are kept: the same beginning comes back in thousands of orders.
"""

import json
import types
from collections.abc import Coroutine, Generator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, cast

from taskqueue_api.retries import RetryPolicy
from taskqueue_worker.api import ApiServer, WriteAnswer
from taskqueue_worker.attempts import Attempts, Claim
from taskqueue_worker.clock import ServerClock
from taskqueue_worker.deliveries import Delivery, Tag, TaskMessage, read_message
from taskqueue_worker.outcomes import Outcome
from taskqueue_worker.settle import Settlement
from taskqueue_worker.statuses import Attempt, Identity, Patch, TaskView, running_patch, view_task
from tests.protocol.api_server import HANDLER, NAMESPACE, load
from tests.protocol.world import CLUSTER, EPOCH, Log, Message, to_datetime

TAG = Tag(0, 0)
"""Which delivery a message came by makes no difference to what is judged of it."""


@dataclass(frozen=True)
class GetTask:
    """The worker reads a Task."""

    name: str

    def __str__(self) -> str:
        return "reads its Task"


@dataclass(frozen=True)
class GetPod:
    """The worker reads a pod."""

    name: str

    def __str__(self) -> str:
        return f"reads pod {self.name}"


@dataclass(frozen=True)
class PatchStatus:
    """The worker writes a status. patch: JSON."""

    name: str
    patch: str

    def __str__(self) -> str:
        values = {step["path"]: step.get("value") for step in json.loads(self.patch)}
        return f"writes {values['/status/phase']}"


@dataclass(frozen=True)
class Pause:
    """The worker waits before it tries again."""

    def __str__(self) -> str:
        return "waits"


Call = GetTask | GetPod | PatchStatus | Pause


class Turn(NamedTuple):
    """Where a coroutine stands.

    call: what it waits for; None: it has returned `result`. asked: whether it ever waited.
    """

    call: Call | None
    asked: bool
    result: Any
    live: frozenset[tuple[str, int, int]]


@types.coroutine
def _ask(call: Call) -> Generator[Call, Any, Any]:
    answer = yield call
    return answer


class _Moment:
    """The clock of the worker, and what it knows of the server's: the same."""

    def __init__(self) -> None:
        self.millis = 0
        self.server = ServerClock(lambda: to_datetime(self.millis).timestamp())
        self.server.observe(EPOCH.strftime("%a, %d %b %Y %H:%M:%S GMT"))


class _Api:
    """Passes each call on to the model."""

    def __init__(self, moment: _Moment) -> None:
        self.clock = moment.server

    async def get_task(self, name: str) -> TaskView | None:
        body: str | None = await _ask(GetTask(name))
        return None if body is None else view_task(load(body))

    async def get_pod(self, name: str) -> Mapping[str, Any] | None:
        found: str | None = await _ask(GetPod(name))
        return None if found is None else load(found)

    async def patch_status(self, name: str, patch: Patch) -> WriteAnswer:
        answer: WriteAnswer = await _ask(PatchStatus(name, dump(patch)))
        return answer


async def _pause(_seconds: float) -> None:
    await _ask(Pause())


def dump(patch: Patch) -> str:
    """Return a patch as text."""
    return json.dumps(patch)


def read(message: Message, tag: Tag = TAG) -> TaskMessage:
    """Return a message as a worker reads it."""
    delivery = Delivery(
        tag=tag,
        redelivered=message.redelivered,
        message_id=message.uid,
        type=HANDLER,
        headers=dict(message.headers),
        body=b"null",
        properties=None,
    )
    found = read_message(delivery, cluster=CLUSTER, namespace=NAMESPACE)
    if not isinstance(found, TaskMessage):
        raise TypeError(f"not the message of a Task: {found}")
    return found


@cache
def claim(
    me: Identity, policy: RetryPolicy, message: Message, log: Log, *, always: bool = False
) -> Turn:
    """Return where the claim of a message stands after these answers."""
    moment, attempts = _attempts(me, policy, always=always)
    return _replay(moment, attempts, attempts.claim(read(message)), log)


@cache
def finish(
    me: Identity,
    policy: RetryPolicy,
    message: Message,
    ended: tuple[Attempt, Outcome, float],
    log: Log,
) -> Turn:
    """Return where the writing of an outcome stands after these answers."""
    moment, attempts = _attempts(me, policy)
    return _replay(moment, attempts, attempts.finish(read(message), *ended), log)


@cache
def announcement(attempt: Attempt, now: int) -> str:
    """Return the patch that shows a handler as running."""
    return dump(running_patch(attempt, None, to_datetime(now)))


def forget_calls() -> None:
    """Forget what was computed before, as the code is another now."""
    for kept in (claim, finish, announcement):
        kept.cache_clear()


def _attempts(
    me: Identity, policy: RetryPolicy, *, always: bool = False
) -> tuple[_Moment, Attempts]:
    moment = _Moment()
    attempts = Attempts(
        cast(ApiServer, _Api(moment)),
        me,
        policy,
        now=lambda: to_datetime(moment.millis),
        jitter=lambda: 0.5,
        sleep=_pause,
        always=always,
    )
    return moment, attempts


def _replay(
    moment: _Moment,
    attempts: Attempts,
    work: Coroutine[Any, Any, Claim | Settlement],
    log: Log,
) -> Turn:
    call: Call | None = None
    result: Claim | Settlement | None = None
    for seen in log:
        moment.millis = seen.now
        # Shared by the slots of a worker: others may have changed it since.
        attempts._live = set(cast(Any, seen.live))
        try:
            call = work.send(seen.answer)
        except StopIteration as end:
            call, result = None, end.value
    turn = Turn(call, len(log) > 1, result, frozenset(attempts._live))
    work.close()  # after that: it takes its attempt out of what lives
    return turn
