"""The worker: from deliveries to acknowledgements, over a fixed number of slots."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from taskqueue_api.retries import Random
from taskqueue_worker import metrics
from taskqueue_worker.attempts import Attempts, Claimed, Held
from taskqueue_worker.broker import Broker
from taskqueue_worker.deliveries import (
    BadMessage,
    Delivery,
    ForeignMessage,
    OutsideMessage,
    TaskMessage,
    read_message,
)
from taskqueue_worker.ended import report_end
from taskqueue_worker.executing import Executor
from taskqueue_worker.inflight import Entry, Inflight, State
from taskqueue_worker.limits import Limits, Permit
from taskqueue_worker.outcomes import Failure, Outcome
from taskqueue_worker.pace import Pace, ample_messages
from taskqueue_worker.payloads import Payloads
from taskqueue_worker.place import Place
from taskqueue_worker.publications import Publications
from taskqueue_worker.retrying import decide_retry
from taskqueue_worker.runners import Job, Runner
from taskqueue_worker.settle import Acknowledge, DeadLetter, PublishNext, Settlement
from taskqueue_worker.showing import shown
from taskqueue_worker.statuses import Progress
from taskqueue_worker.stopping import Running
from taskqueue_worker.waiting import WaitingRoom, park_seconds, spare_messages

_log = logging.getLogger(__name__)

_CLAIM_SECONDS = 2.0
"""A claim on its way when the drain begins is an attempt that counts, once it is written."""
LIMITED_SECONDS = 900.0
"""A message that has waited so long for a token is given back, and comes anew: RabbitMQ lets us
hold it for the longest timeout of a Task and half an hour."""


class _Ended(NamedTuple):
    """What the writing of an outcome needs to know. progress: the last one reported."""

    outcome: Outcome
    seconds: float
    progress: Progress | None


class Worker:
    """Takes deliveries, runs them in its slots and settles them.

    handlers: names registered; None: any.
    """

    def __init__(
        self,
        place: Place,
        broker: Broker,
        attempts: Attempts,
        payloads: Payloads,
        limits: Limits,
        runner: Runner,
        handlers: frozenset[str] | None,
        random: Random = random.random,
    ) -> None:
        self._random = random
        self._place = place
        self._broker = broker
        self._attempts = attempts
        self._payloads = payloads
        self._limits = limits
        self._labels = metrics.HandlerLabels(handlers)
        self._executor = Executor(runner, handlers, self._labels)
        self._publications = Publications(broker, place.namespace, place.taskqueue, self._labels)
        self._inflight = Inflight()
        self._waiting = WaitingRoom(self._give_up)
        self._pace = Pace(limited=limits.exist)
        self._group = asyncio.TaskGroup()
        self._background: set[asyncio.Task[None]] = set()
        self._draining = False
        self._running = Running()

    def deliver(self, delivery: Delivery) -> None:
        """Take a message from the broker."""
        message = read_message(
            delivery, cluster=self._place.cluster, namespace=self._place.namespace
        )
        if isinstance(message, ForeignMessage):
            self._spawn(self._unroute(message))
        elif isinstance(message, BadMessage):
            self._spawn(self._reject(message))
        else:
            self._admit(message)

    def lost(self, session: int) -> None:
        """Forget what a lost connection had brought, but for what is being run."""
        _log.debug("session %d is over", session)
        metrics.RECONNECTS.inc()
        self._running.hear(hearing=False)
        self._inflight.lose(self._broker.is_current)

    def hint(self, body: bytes) -> None:
        """Take a hint of the operator."""
        self._spawn(self._running.hint(body))

    def opened(self) -> None:
        """Take note that hints are heard from now on; some may have been missed."""
        self._running.hear(hearing=True)
        self._spawn(self._running.look_at_all())

    async def run(self) -> None:
        """Serve the slots until cancelled. Raises an ExceptionGroup when one of them fails."""
        metrics.SLOTS.set(self._place.slots)
        async with self._group:
            self._group.create_task(self._running.watch())
            for _ in range(self._place.slots):
                self._group.create_task(self._serve())

    async def drain(self, seconds: float) -> None:
        """Give back what has not started and finish the rest, within the time given."""
        self._draining = True
        await self._broker.stop_consuming()
        for entry in self._inflight.held(State.WAITING, State.LIMITED, State.PARKED):
            self._give_back(entry)
        deadline = time.monotonic() + seconds
        await self._wait_while(
            lambda: self._inflight.held(State.CLAIMING), min(_CLAIM_SECONDS, seconds / 2)
        )
        # A claim that waits for the API server could outlast the grace; what it would have
        # started can start elsewhere.
        for entry in self._inflight.held(State.CLAIMING):
            self._give_back(entry)
        _log.info("draining", extra={"active": len(self._inflight.held(State.ACTIVE))})
        await self._wait_while(
            lambda: self._inflight.held(State.ACTIVE) or self._background,
            deadline - time.monotonic(),
        )
        unfinished = len(self._inflight.held(State.ACTIVE))
        _log.info("drained", extra={"unfinished": unfinished})

    async def _wait_while(self, condition: Callable[[], object], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while condition():
            left = deadline - time.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(min(0.05, left))

    # From a delivery to a slot

    def _admit(self, message: TaskMessage | OutsideMessage) -> None:
        if self._inflight.is_done(message):
            metrics.DUPLICATES.inc()
            self._broker.ack(message.delivery.tag)
            return
        entry = self._inflight.admit(message)
        if entry is None:
            metrics.DUPLICATES.inc()
        elif self._draining:
            self._give_back(entry)
        else:
            self._waiting.put(entry)

    async def _serve(self) -> None:
        while True:
            entry = await self._waiting.take()
            permit = await self._permit(entry)
            if permit is None:
                continue
            metrics.BUSY.inc()
            try:
                if isinstance(entry.message, TaskMessage):
                    self._follow_pace(changed=self._pace.end())
                    entry.state = State.CLAIMING
                    await self._serve_task(entry, entry.message, permit)
                else:
                    entry.state = State.ACTIVE
                    await self._limits.start(permit)
                    await self._run_outside([entry, *self._take_more()])
            finally:
                permit.give_back()
                metrics.BUSY.dec()

    def _follow_pace(self, *, changed: bool) -> None:
        """Have as many messages at hand as suits the time that handlers take."""
        if changed:
            ample = ample_messages(self._place.slots) if self._pace.quick else 0
            self._spawn(self._broker.ask_more(ample))

    async def _permit(self, entry: Entry) -> Permit | None:
        """Wait until the limits let an entry start; None: it was given back meanwhile."""
        entry.state = State.LIMITED
        if not self._limits.exist:
            return Permit()
        timer = asyncio.get_running_loop().call_later(LIMITED_SECONDS, self._put_off, entry)
        try:
            return await self._limits.permit(lambda: entry.state is State.LIMITED)
        finally:
            timer.cancel()

    def _put_off(self, entry: Entry) -> None:
        if entry.state is State.LIMITED:
            self._give_back(entry)

    async def _serve_task(self, entry: Entry, message: TaskMessage, permit: Permit) -> None:
        # Before the claim: what is claimed without a write must start at once.
        message = await self._payloads.fill(message)
        if entry.state is not State.FORGOTTEN:  # given back meanwhile
            await self._run_task(entry, message, permit)

    async def _run_task(self, entry: Entry, message: TaskMessage, permit: Permit) -> None:
        begun = self._running.moment()
        suspect = self._running.is_suspect(message.uid)
        now = self._attempts.server_now()
        heard = self._broker.hears and self._running.has_heard_all(message.headers.created, now)
        claim = await self._attempts.claim(message, suspect=suspect, unheard=not heard)
        if entry.state is State.FORGOTTEN:  # given back meanwhile
            if isinstance(claim, Claimed):
                self._attempts.release(claim)
            return
        entry.state = State.ACTIVE
        if isinstance(claim, Held):
            self._park(entry)
            return
        if not isinstance(claim, Claimed):
            self._spawn(self._settle(entry, claim.settlement))
            return
        ours = message.delivery.tag in entry.tags and permit.is_held
        if not claim.announced and (self._draining or not ours):
            # Nothing says yet that it is ours, and without the message that was judged it may be
            # another's, or have been: also when that came back to us meanwhile. And it would have
            # to wait for other tokens.
            self._attempts.release(claim)
            self._give_back(entry)
            return
        await self._limits.start(permit)
        if self._running.may_have_missed(message.uid, begun):
            # While the claim was decided, by what was read before. The Task is run by the time
            # of this look: nothing comes between.
            self._spawn(self._running.look(message.uid))
        await self._run_claimed(entry, message, claim)

    async def _run_claimed(self, entry: Entry, message: TaskMessage, claim: Claimed) -> None:
        job = self._place.task_job(message, claim.attempt.number)
        begun = time.monotonic()

        def look() -> None:
            self._spawn(self._running.look(message.uid))

        async with shown(self._attempts, claim, message, look) as reports:
            told = replace(job, report=reports.take)
            outcome = await self._running.run(
                message.uid,
                self._executor.execute(told, message.bad),
                lambda: self._attempts.is_wanted(message, claim.attempt),
            )
        seconds = time.monotonic() - begun
        report_end(job, outcome, seconds, self._labels.label(job.handler))
        ended = _Ended(outcome, seconds, reports.latest)
        self._spawn(self._finish_task(entry, message, claim, ended))

    def _take_more(self) -> list[Entry]:
        """Return what a slot may have beside an entry, while all are quick."""
        if not self._pace.quick:
            return []
        share = len(self._waiting) // self._place.slots
        return self._waiting.take_more(min(share, self._executor.ahead))

    async def _run_outside(self, entries: list[Entry]) -> None:
        """Run messages without a Task in one slot: the first, and others while they are quick."""
        jobs = [self._outside_job(entry) for entry in entries]
        await self._executor.execute_some(
            jobs,
            ended=lambda place, *end: self._end_outside(entries[place], jobs[place], *end),
            put_back=lambda place: self._wait_again(entries[place]),
        )

    def _outside_job(self, entry: Entry) -> Job:
        message = entry.message
        assert isinstance(message, OutsideMessage)  # noqa: S101 - nothing else is taken for it
        entry.state = State.ACTIVE
        return self._place.outside_job(message)

    def _end_outside(self, entry: Entry, job: Job, outcome: Outcome, seconds: float) -> None:
        self._follow_pace(changed=self._pace.note(seconds))
        report_end(job, outcome, seconds, self._labels.label(job.handler))
        settlement = self._settlement(outcome, job.attempt)
        if settlement == Acknowledge():
            self._acknowledge(entry)
        else:
            self._spawn(self._settle(entry, settlement))

    def _wait_again(self, entry: Entry) -> None:
        """Let an entry wait that a slot was given, and did not begin."""
        if not entry.tags:  # lost with its connection: it comes again
            self._inflight.forget(entry)
        elif self._draining:
            self._give_back(entry)
        else:
            entry.state = State.WAITING
            self._waiting.put(entry)

    def _settlement(self, outcome: Outcome, attempt: int) -> Settlement:
        """Return what is left to do for a message that no Task remembers."""
        again = decide_retry(outcome, attempt, self._place.retry, self._random)
        if again is not None:
            return PublishNext(attempt + 1, datetime.now(UTC) + again.delay)
        return DeadLetter(outcome) if isinstance(outcome, Failure) else Acknowledge()

    # From an outcome to the acknowledgement

    async def _finish_task(
        self,
        entry: Entry,
        message: TaskMessage,
        claim: Claimed,
        ended: _Ended,
    ) -> None:
        settlement = await self._attempts.finish(message, claim.attempt, *ended)
        await self._settle(entry, settlement)

    async def _settle(self, entry: Entry, settlement: Settlement) -> None:
        if not await self._publications.follow(entry.message, settlement):
            self._inflight.forget(entry)
            return
        if isinstance(settlement, Acknowledge) and not settlement.ended:
            # The worker that runs it now may have lost this very message with its connection, or
            # its life: then it came back here, and nobody else will ever take the Task over.
            self._give_back(entry)
            return
        self._acknowledge(entry)

    def _acknowledge(self, entry: Entry) -> None:
        for tag in entry.tags:
            self._broker.ack(tag)
        self._inflight.finish(entry)

    async def _reject(self, message: BadMessage) -> None:
        delivery = message.delivery
        fields = {"uid": delivery.message_id, "queue": self._place.taskqueue}
        _log.warning("bad message: %s", message.error.message, extra=fields)
        label = self._labels.label(delivery.type)
        metrics.FINISHED.labels(label, message.error.type).inc()
        if await self._publications.dead_letter(delivery, message.error):
            self._broker.ack(delivery.tag)

    async def _unroute(self, message: ForeignMessage) -> None:
        delivery = message.delivery
        metrics.UNROUTED.inc()
        _log.warning("message of another cluster", extra={"uid": delivery.message_id})
        if await self._publications.unroute(delivery):
            self._broker.ack(delivery.tag)

    # Waiting for another worker

    def _park(self, entry: Entry) -> None:
        if self._draining:
            self._give_back(entry)
            return
        parked = len(self._inflight.held(State.PARKED))
        entry.state = State.PARKED
        entry.parkings += 1
        full = parked >= spare_messages(self._place.slots)
        delay = park_seconds(1 if full else entry.parkings)
        release = self._give_back if full else self._judge_again
        fields = {"uid": entry.message.delivery.message_id, "seconds": delay}
        _log.info("a living worker runs it: judged again later", extra=fields)
        asyncio.get_running_loop().call_later(delay, release, entry)

    def _judge_again(self, entry: Entry) -> None:
        if entry.state is State.PARKED:
            entry.state = State.WAITING
            self._waiting.put(entry)

    def _give_up(self, entry: Entry) -> None:
        """Give back what no slot took in time."""
        self._follow_pace(changed=self._pace.end())
        self._give_back(entry)

    def _give_back(self, entry: Entry) -> None:
        if entry.state is State.FORGOTTEN:
            return
        for tag in entry.tags:
            self._broker.give_back(tag)
        self._inflight.forget(entry)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the slots; its failure ends the worker as theirs does."""
        task = self._group.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
