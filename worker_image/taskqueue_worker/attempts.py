"""One Task, from its message to its written outcome: claim, run, finish."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from taskqueue_api.messages import TaskHeaders, TaskUid, is_dead_letter
from taskqueue_api.retries import RetryPolicy, read_policy
from taskqueue_worker import metrics, statuses
from taskqueue_worker.api import ApiServer, Gone, Refused, WriteAnswer, Written, backoff_seconds
from taskqueue_worker.claim import (
    AskPod,
    Conclude,
    Concluded,
    Drop,
    Park,
    Path,
    Start,
    Verdict,
    choose_path,
    is_late,
    is_wanted,
    judge,
    judge_holder,
)
from taskqueue_worker.deliveries import TaskMessage
from taskqueue_worker.outcomes import Outcome, final
from taskqueue_worker.retrying import Again, decide_retry
from taskqueue_worker.settle import DeadLetter, Settlement, settle
from taskqueue_worker.statuses import Attempt, Ended, Identity, Progress, TaskView

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claimed:
    """Ours to run. announced: whether Running is written. path: how it was claimed."""

    attempt: Attempt
    announced: bool
    path: Path


@dataclass(frozen=True)
class Settled:
    """Nothing to run: only this is left to do."""

    settlement: Settlement


@dataclass(frozen=True)
class Held:
    """A living worker runs it."""


Claim = Claimed | Settled | Held


class Attempts:
    """Claims, announces and finishes this worker's attempts at the API server.

    policy: the TaskQueue's, for Tasks that bring none.
    always: whether Running is written before every start.
    """

    def __init__(
        self,
        api: ApiServer,
        me: Identity,
        policy: RetryPolicy,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        always: bool = False,
    ) -> None:
        self._api = api
        self._me = me
        self._policy = policy
        self._now = now
        self._jitter = jitter
        self._sleep = sleep
        self._always = always
        self._live: set[tuple[TaskUid, int, int]] = set()

    def server_now(self) -> float | None:
        """Return the API server's time in seconds since 1970; None: unknown."""
        return self._api.clock.now()

    async def claim(
        self, message: TaskMessage, *, suspect: bool = False, unheard: bool = False
    ) -> Claim:
        """Return whether a message's Task is ours to start. Raises UnauthorizedError.

        What is claimed counts as running here until it is finished or released.
        suspect: whether the operator hinted at the Task. unheard: whether it may have.
        """
        delivery = message.delivery
        path = choose_path(
            message.headers,
            redelivered=delivery.redelivered or is_dead_letter(delivery.headers),
            # Without the time nothing is fresh, and the Task is read.
            server_now=None if unheard else self.server_now(),
            suspect=suspect,
            always=self._always,
        )
        metrics.CLAIMS.labels(path.value).inc()
        if path is Path.FRESH:
            self._reserve(message, 1)
            return Claimed(self._attempt(message, 1), announced=False, path=path)
        tried = 0
        refusals = 0
        while True:
            view = await self._api.get_task(message.headers.name)
            if tried and view is not None and self._is_mine(view, message, tried):
                # Our write was stored, and its answer lost on the way; or another slot's was.
                if not self._reserve(message, tried):
                    return Held()
                return Claimed(self._attempt(message, tried), announced=True, path=path)
            verdict = await self._judge(view, message, path)
            if isinstance(verdict, Start):
                tried = verdict.attempt
            result = await self._act(view, verdict, message, path)
            if result is not None:
                return result
            refusals += 1
            if refusals > 1:
                pause = backoff_seconds(refusals, 0.1, 15.0, self._jitter())
                _log.warning("claim refused again", extra=fields_of(message))
                await self._sleep(pause)

    def release(self, claimed: Claimed) -> None:
        """Take note that what was claimed is not started after all."""
        self._live.discard(_key(claimed.attempt))

    async def is_wanted(self, message: TaskMessage, attempt: Attempt) -> bool:
        """Return whether an attempt that runs here is to go on. Raises UnauthorizedError."""
        view = await self._api.get_task(message.headers.name)
        return is_wanted(view, message.uid, attempt.run, attempt.number, self._me)

    async def announce(
        self, claimed: Claimed, message: TaskMessage, progress: Progress | None = None
    ) -> bool:
        """Write Running for a handler that runs already; False: it is refused.

        progress: what it has said of it so far. Raises UnauthorizedError.
        """
        patch = statuses.running_patch(claimed.attempt, None, self._now(), progress)
        answer = await self._write("running", message, patch)
        if not isinstance(answer, Written):
            words = answer.message if isinstance(answer, Refused) else "the Task is gone"
            # The write of the outcome meets the same, and settles it.
            _log.warning("Running not written: %s", words, extra=fields_of(message))
        return isinstance(answer, Written)

    async def show(
        self, message: TaskMessage, attempt: Attempt, progress: Progress
    ) -> WriteAnswer | None:
        """Write how far an attempt has come; None: the API server is away."""
        patch = statuses.progress_patch(attempt, progress)
        answer = await self._api.offer_status(message.headers.name, patch)
        result = "away" if answer is None else type(answer).__name__.lower()
        metrics.STATUS_WRITES.labels("progress", result).inc()
        return answer

    async def finish(
        self,
        message: TaskMessage,
        attempt: Attempt,
        outcome: Outcome,
        seconds: float,
        progress: Progress | None = None,
    ) -> Settlement:
        """Write an outcome and return what is left to do. Raises UnauthorizedError.

        progress: what the handler said last of it.
        """
        try:
            again = self._retry(message, attempt, outcome)
            ended = Ended(attempt, outcome, again, seconds, self._now(), progress)
            return await self._finish(message, ended)
        finally:
            self._live.discard(_key(attempt))

    async def _finish(self, message: TaskMessage, ended: Ended) -> Settlement:
        settlement, words = await self._conclude(message, ended)
        if settlement is None:
            refused = final("StatusRefused", f"the API server refused the outcome: {words}")
            ended = replace(ended, outcome=refused, again=None)
            settlement, words = await self._conclude(message, ended)
        if settlement is None:
            _log.error("outcome cannot be written: %s", words, extra=fields_of(message))
            settlement = DeadLetter(final("StatusRefused", words))
        return settlement

    def policy_of(self, headers: TaskHeaders) -> RetryPolicy:
        """Return the retry policy of a message's Task."""
        return self._policy if headers.retry is None else read_policy(headers.retry)

    def _retry(self, message: TaskMessage, attempt: Attempt, outcome: Outcome) -> Again | None:
        policy = self.policy_of(message.headers)
        again = decide_retry(outcome, attempt.number, policy, self._jitter)
        now = self._api.clock.now() or self._now().timestamp()
        if again is None or not is_late(message.headers, now + again.delay.total_seconds()):
            return again
        _log.info("no other attempt: it would be too late", extra=fields_of(message))
        return None

    async def _conclude(self, message: TaskMessage, ended: Ended) -> tuple[Settlement | None, str]:
        """Write an outcome once. None, with the words of the API server: it does not like it."""
        attempt = ended.attempt
        kind = "retrying" if ended.again else "finished"
        answer = await self._write(kind, message, statuses.ended_patch(ended))
        if isinstance(answer, Written):
            return settle(statuses.ended_view(ended), message.uid, attempt.run), ""
        if isinstance(answer, Gone):
            return settle(None, message.uid, attempt.run), ""
        current = await self._api.get_task(message.headers.name)
        if current is not None and self._awaits(current, attempt):
            return None, answer.message
        _log.warning("outcome refused: %s", answer.message, extra=fields_of(message))
        return settle(current, message.uid, attempt.run), ""

    async def _judge(self, view: TaskView | None, message: TaskMessage, path: Path) -> Verdict:
        if view is not None and self._runs_here(view):
            # By the message of another attempt: after a lost worker their numbers differ.
            return Park()
        headers = message.headers
        most = self.policy_of(headers).max_attempts
        server_now = self._api.clock.now() or time.time()
        verdict = judge(view, message.uid, headers, path, self._me, most, server_now)
        if isinstance(verdict, AskPod) and view is not None:
            pod = await self._api.get_pod(verdict.pod) if verdict.pod else None
            verdict = judge_holder(view, headers, pod, server_now, most)
        if isinstance(verdict, Start) and view is not None and view.phase == "Running":
            words = f"{statuses.lost_with_worker(view).message}: attempt {verdict.attempt} follows"
            _log.warning("%s", words, extra=fields_of(message))
        return verdict

    async def _act(
        self, view: TaskView | None, verdict: Verdict, message: TaskMessage, path: Path
    ) -> Claim | None:
        """Do what a verdict says; None: a write was refused, so the Task is to be read again."""
        if isinstance(verdict, Drop):
            _log.info("dropped: %s", verdict.reason, extra=fields_of(message))
            return Settled(settle(None, message.uid, message.headers.run))
        if isinstance(verdict, Park):
            return Held()
        if isinstance(verdict, Start):
            return await self._start(view, verdict, message, path)
        assert view is not None  # noqa: S101 - the other verdicts come from a view
        if isinstance(verdict, Conclude):
            patch = statuses.conclude_patch(view, verdict.outcome, self._now())
            answer = await self._write("concluded", message, patch)
            if isinstance(answer, Refused):
                return None
            if isinstance(answer, Gone):
                return Settled(settle(None, message.uid, message.headers.run))
            view = statuses.concluded_view(view, verdict.outcome)
        put_back = isinstance(verdict, Concluded) and is_dead_letter(message.delivery.headers)
        return Settled(settle(view, message.uid, message.headers.run, put_back=put_back))

    async def _start(
        self, view: TaskView | None, verdict: Start, message: TaskMessage, path: Path
    ) -> Claim | None:
        attempt = self._attempt(message, verdict.attempt)
        # Before the write: the other slot's answer may still be on its way.
        if not self._reserve(message, verdict.attempt):
            return Held()
        if not verdict.write:
            return Claimed(attempt, announced=False, path=path)
        patch = statuses.running_patch(attempt, view, self._now())
        answer = await self._write("running", message, patch)
        if isinstance(answer, Written):
            return Claimed(attempt, announced=True, path=path)
        self._live.discard(_key(attempt))
        if isinstance(answer, Gone):
            return Settled(settle(None, message.uid, message.headers.run))
        return None

    async def _write(self, kind: str, message: TaskMessage, patch: statuses.Patch) -> WriteAnswer:
        answer = await self._api.patch_status(message.headers.name, patch)
        metrics.STATUS_WRITES.labels(kind, type(answer).__name__.lower()).inc()
        return answer

    def _attempt(self, message: TaskMessage, number: int) -> Attempt:
        return Attempt(message.uid, message.headers.run, number, self._now(), self._me)

    def _reserve(self, message: TaskMessage, number: int) -> bool:
        """Take an attempt for one slot; False when another slot has it."""
        key = (message.uid, message.headers.run, number)
        if key in self._live:
            return False
        self._live.add(key)
        return True

    def _runs_here(self, view: TaskView) -> bool:
        mine = view.phase == "Running" and view.worker.get("instance") == self._me.instance
        return mine and (view.uid, view.run, view.attempts) in self._live

    def _is_mine(self, view: TaskView, message: TaskMessage, attempt: int) -> bool:
        return (
            view.uid == message.uid
            and view.phase == "Running"
            and view.run == message.headers.run
            and view.attempts == attempt
            and view.worker.get("instance") == self._me.instance
        )

    def _awaits(self, view: TaskView, attempt: Attempt) -> bool:
        """Return whether a Task still waits for the outcome of this very attempt."""
        if view.uid != attempt.uid or view.run != attempt.run:
            return False
        if view.phase == "Pending":
            return view.attempts < attempt.number
        mine = view.worker.get("instance") == self._me.instance
        return view.phase == "Running" and mine and view.attempts == attempt.number


def _key(attempt: Attempt) -> tuple[TaskUid, int, int]:
    return attempt.uid, attempt.run, attempt.number


def fields_of(message: TaskMessage) -> dict[str, Any]:
    """Return the log fields of a Task's message."""
    headers = message.headers
    return {"namespace": headers.namespace, "task": headers.name, "uid": message.uid}
